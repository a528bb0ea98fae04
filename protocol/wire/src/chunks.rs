//! The list of an image's chunks (D8): a file that lets a download go on where flash ends being right.
//!
//! A line of 32 bytes for each 64 KiB of the image, the SHA-256 of that chunk; the last chunk is as
//! short as the image is. The Director's targets name the list's own SHA-256. It proves nothing about
//! the image. Not here: who makes it, and what a device does with it.

/// Bytes of an image that share a line.
pub const CHUNK_BYTES: u32 = 64 * 1024;
/// Bytes of a line.
pub const LINE_BYTES: usize = 32;
/// Longest list, in bytes: of an image that fills 16 MiB of flash, as far as a boot loader looks.
pub const LIST_BYTES_MAX: usize = 256 * LINE_BYTES;

/// Returns how long the list of an image of `length` bytes is, in bytes; `None` for an image that
/// has none, because it would be longer than [`LIST_BYTES_MAX`].
pub fn list_bytes(length: u64) -> Option<usize> {
    let chunks = usize::try_from(length.div_ceil(CHUNK_BYTES.into())).ok()?;
    chunks.checked_mul(LINE_BYTES).filter(|bytes| *bytes <= LIST_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_begun_chunk_has_a_line_up_to_the_largest_image() {
        let lines = |length| list_bytes(length).map(|bytes| bytes / LINE_BYTES);
        assert_eq!([0, 1, 65_536, 65_537].map(lines), [Some(0), Some(1), Some(1), Some(2)]);
        assert_eq!(lines(16 << 20), Some(256));
        assert_eq!([(16 << 20) + 1, u64::MAX].map(lines), [None, None]);
    }
}
