//! Makes the list of an image's chunks while the image comes in (D8).
//!
//! Not here: where the list is kept.

use sha2::{Digest as _, Sha256};
use waxwing_wire::chunks::{CHUNK_BYTES, LIST_BYTES_MAX, list_bytes};

/// Hashes an image chunk by chunk.
#[derive(Clone, Debug, Default)]
pub struct ChunkHasher {
    hash: Sha256,
    /// Bytes of the present chunk so far.
    filled: usize,
    length: u64,
    list: Vec<u8>,
}

impl ChunkHasher {
    /// Takes the next bytes of the image.
    pub fn update(&mut self, bytes: &[u8]) {
        let chunk_bytes = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(chunk_bytes - self.filled));
            self.hash.update(piece);
            self.filled += piece.len();
            self.length += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if self.filled == chunk_bytes {
                self.end_chunk();
            }
            rest = behind;
        }
    }

    /// Returns the list; `None` of an image that is too large to have one.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.filled > 0 {
            self.end_chunk();
        }
        list_bytes(self.length).map(|_| self.list)
    }

    fn end_chunk(&mut self) {
        self.filled = 0;
        let line = std::mem::take(&mut self.hash).finalize();
        // No list will be longer; a Linux image may.
        if self.list.len() < LIST_BYTES_MAX {
            self.list.extend_from_slice(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_in_which_an_image_comes_do_not_matter() {
        let image: Vec<u8> =
            (0..150_000_u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        let expected: Vec<u8> =
            image.chunks(65_536).flat_map(|chunk| Sha256::digest(chunk).to_vec()).collect();
        assert_eq!(expected.len(), 3 * 32);
        for piece in [1, 1000, 65_536, 65_537, 150_000] {
            let mut hasher = ChunkHasher::default();
            image.chunks(piece).for_each(|piece| hasher.update(piece));
            assert_eq!(hasher.finish().as_ref(), Some(&expected), "{piece}");
        }
    }

    #[test]
    fn an_image_for_no_flash_has_no_list() {
        let mut hasher = ChunkHasher::default();
        let megabyte = vec![0; 1 << 20];
        (0..16).for_each(|_| hasher.update(&megabyte));
        assert_eq!(hasher.clone().finish().map(|list| list.len()), Some(256 * 32));
        hasher.update(&[0]);
        assert_eq!(hasher.finish(), None);
    }
}
