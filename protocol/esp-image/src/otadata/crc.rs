//! The checksum of a record: CRC-32 of its sequence number, as the ROM computes it.

use crate::crc::crc32;

/// Returns the checksum that belongs to a sequence number.
pub(super) fn of_seq(seq: u32) -> u32 {
    // `esp_rom_crc32_le(UINT32_MAX, ..)` inverts its start value, so the register starts at zero.
    crc32(0, &seq.to_le_bytes())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksums_are_those_that_esp_idf_writes() {
        assert_eq!(super::of_seq(1), 0x4743_989a);
        assert_eq!(super::of_seq(2), 0x55f6_3774);
    }
}
