//! CRC-32 (IEEE 802.3, as in zlib): the checksum of boot records and signature blocks.

/// Reflected polynomial of CRC-32.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Returns the CRC-32 of `bytes`, with the register starting at `start` and inverted at the end.
pub(crate) fn crc32(start: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(start, |register, byte| {
        (0..u8::BITS).fold(register ^ u32::from(*byte), |register, _| {
            let shifted = register >> 1;
            if register & 1 == 1 { shifted ^ POLYNOMIAL } else { shifted }
        })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_crc_32_comes_out() {
        assert_eq!(super::crc32(u32::MAX, b"123456789"), 0xcbf4_3926);
    }
}
