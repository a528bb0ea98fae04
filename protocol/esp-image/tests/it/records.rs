//! Boot records, encoded without the code under test.

pub(crate) const BLANK: [u8; 32] = [0xff; 32];

/// A good record.
pub(crate) fn record(seq: u32, state: u32) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[..4].copy_from_slice(&seq.to_le_bytes());
    bytes[24..28].copy_from_slice(&state.to_le_bytes());
    bytes[28..].copy_from_slice(&crc32_le(seq).to_le_bytes());
    bytes
}

/// CRC-32 as the ROM computes it with start value `UINT32_MAX`.
fn crc32_le(seq: u32) -> u32 {
    let mut crc = 0;
    for byte in seq.to_le_bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

pub(crate) const NEW: u32 = 0;
pub(crate) const PENDING: u32 = 1;
pub(crate) const VALID: u32 = 2;
pub(crate) const INVALID: u32 = 3;
pub(crate) const ABORTED: u32 = 4;

/// The same with a checksum that does not fit.
pub(crate) fn torn(mut record: [u8; 32]) -> [u8; 32] {
    record[31] ^= 0x40;
    record
}
