//! The checksum of a record: CRC-32 of its sequence number, as the ROM computes it.
//!
//! `esp_rom_crc32_le(UINT32_MAX, ..)` inverts its start value, so the register starts at zero.

/// Reflected polynomial of CRC-32 (IEEE 802.3).
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Returns the checksum that belongs to a sequence number.
pub(super) const fn of_seq(seq: u32) -> u32 {
    // Little-endian bytes, lowest bit first: the same as the bits of the word, lowest first.
    let mut register = seq;
    let mut bit = 0;
    while bit < u32::BITS {
        let carry = register & 1 == 1;
        register >>= 1;
        if carry {
            register ^= POLYNOMIAL;
        }
        bit += 1;
    }
    !register
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksums_are_those_that_esp_idf_writes() {
        assert_eq!(super::of_seq(1), 0x4743_989a);
        assert_eq!(super::of_seq(2), 0x55f6_3774);
    }
}
