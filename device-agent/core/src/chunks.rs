//! What a download need not bring again after a reset, by the list of the image's chunks (D8).
//!
//! Only the Director names the list, so it proves nothing: it tells where to go on, and the hash of the
//! whole image, read back from flash, decides as if there were no list.

use alloc::boxed::Box;
use alloc::vec::Vec;

use waxwing_tuf::ContentCheck;
use waxwing_wire::Digest;
use waxwing_wire::chunks::{CHUNK_BYTES, LINE_BYTES};

use crate::ports::{FlashError, SECTOR_BYTES, SlotFlash};

/// The hashes of an image's chunks, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChunkList(Vec<[u8; LINE_BYTES]>);

impl ChunkList {
    /// Reads a list; `None` unless it is the one that the Director named.
    pub fn read(file: &[u8], named: &Digest) -> Option<Self> {
        let mut content = ContentCheck::sha256(u64::try_from(file.len()).ok()?, named.0);
        content.update(file).and_then(|()| content.finish()).ok()?;
        let (lines, rest) = file.as_chunks::<LINE_BYTES>();
        rest.is_empty().then(|| Self(lines.to_vec()))
    }
}

/// Finds out how much of an image is in the slot already, one sector at a time.
#[derive(Debug)]
pub struct Recall {
    list: ChunkList,
    length: u32,
    /// All chunks before this one are there.
    chunk: usize,
    /// Where that chunk begins.
    good: u32,
    at: u32,
    content: Option<ContentCheck>,
    sector: Box<[u8; 4096]>,
}

impl Recall {
    /// Begins for an image of `length` bytes.
    pub fn new(list: ChunkList, length: u32) -> Self {
        let sector = Box::new([0; 4096]);
        Self { list, length, chunk: 0, good: 0, at: 0, content: None, sector }
    }

    /// Reads the next sector; true when the first chunk that is not there was found, or none.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when flash reports a fault.
    pub fn advance(&mut self, flash: &mut impl SlotFlash) -> Result<bool, FlashError> {
        let Some(line) = self.list.0.get(self.chunk).filter(|_| self.good < self.length) else {
            return Ok(true);
        };
        let chunk_bytes = self.length.saturating_sub(self.good).min(CHUNK_BYTES);
        let chunk_end = self.good.saturating_add(chunk_bytes);
        let bytes = chunk_end.saturating_sub(self.at).min(SECTOR_BYTES);
        let Some(piece) = self.sector.get_mut(..usize::try_from(bytes).unwrap_or(0)) else {
            return Ok(true);
        };
        flash.read(self.at, piece)?;
        let content = self.content.get_or_insert_with(|| {
            // A line is no signed hash, but it is compared in the same place as those are.
            ContentCheck::sha256(chunk_bytes.into(), *line)
        });
        let _ = content.update(piece);
        self.at = self.at.saturating_add(bytes);
        if self.at < chunk_end {
            return Ok(false);
        }
        let is_there = self.content.take().is_some_and(|content| content.finish().is_ok());
        if is_there {
            (self.chunk, self.good) = (self.chunk.saturating_add(1), chunk_end);
        }
        Ok(!is_there || self.good >= self.length)
    }

    /// Returns how many bytes from the beginning are there: whole chunks, or the whole image.
    pub const fn good(&self) -> u32 {
        self.good
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// A slot that counts what is read of it.
    struct Slot {
        bytes: Vec<u8>,
        read: u32,
    }

    impl SlotFlash for Slot {
        fn slot_bytes(&self) -> u32 {
            u32::try_from(self.bytes.len()).unwrap()
        }

        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
            self.read += u32::try_from(bytes.len()).unwrap();
            let from = usize::try_from(offset).unwrap();
            bytes.copy_from_slice(&self.bytes[from..from + bytes.len()]);
            Ok(())
        }

        fn erase_sector(&mut self, _offset: u32) -> Result<(), FlashError> {
            Err(FlashError::OutOfSlot)
        }

        fn write(&mut self, _offset: u32, _bytes: &[u8]) -> Result<(), FlashError> {
            Err(FlashError::OutOfSlot)
        }
    }

    fn image(length: u32) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    fn file(image: &[u8]) -> Vec<u8> {
        let chunks = image.chunks(usize::try_from(CHUNK_BYTES).unwrap());
        chunks.flat_map(|chunk| <[u8; 32]>::from(Sha256::digest(chunk))).collect()
    }

    fn digest(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// Returns how much of the image is found in the slot, and how much was read for it.
    fn found(image: &[u8], slot: Vec<u8>) -> (u32, u32) {
        let file = file(image);
        let list = ChunkList::read(&file, &digest(&file)).unwrap();
        let mut recall = Recall::new(list, u32::try_from(image.len()).unwrap());
        let mut slot = Slot { bytes: slot, read: 0 };
        while !recall.advance(&mut slot).unwrap() {}
        (recall.good(), slot.read)
    }

    #[test]
    fn a_whole_image_is_found_whole() {
        for length in [1, 4095, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let image = image(length);
            assert_eq!(found(&image, image.clone()), (length, length));
        }
    }

    #[test]
    fn nothing_is_read_behind_the_first_chunk_that_is_not_there() {
        let image = image(3 * CHUNK_BYTES);
        let mut slot = image.clone();
        slot[usize::try_from(CHUNK_BYTES).unwrap() + 5] ^= 1;
        assert_eq!(found(&image, slot), (CHUNK_BYTES, 2 * CHUNK_BYTES));
        assert_eq!(found(&image, vec![0xff; image.len()]), (0, CHUNK_BYTES));
    }

    #[test]
    fn another_list_than_the_one_named_is_none() {
        let file = file(&image(2 * CHUNK_BYTES));
        let named = digest(&file);
        assert!(ChunkList::read(&file, &named).is_some());
        assert_eq!(ChunkList::read(&file[..32], &named), None);
        assert_eq!(ChunkList::read(&[&file[..], &[0]].concat(), &named), None);
        let odd = &file[..33];
        assert_eq!(ChunkList::read(odd, &digest(odd)), None, "no whole lines");
    }

    #[test]
    fn a_list_that_is_too_short_finds_less_and_one_that_is_too_long_no_more() {
        let image = image(2 * CHUNK_BYTES);
        for lines in [1, 3] {
            let mut file = file(&image);
            file.resize(32 * lines, 0);
            let list = ChunkList::read(&file, &digest(&file)).unwrap();
            let mut recall = Recall::new(list, 2 * CHUNK_BYTES);
            let mut slot = Slot { bytes: image.clone(), read: 0 };
            while !recall.advance(&mut slot).unwrap() {}
            assert_eq!(recall.good(), CHUNK_BYTES * u32::try_from(lines).unwrap().min(2));
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_there(length in 1..3 * CHUNK_BYTES, flipped in any::<prop::sample::Index>()) {
            let image = image(length);
            let mut slot = image.clone();
            let at = flipped.index(slot.len());
            slot[at] ^= 0x10;
            let (good, _) = found(&image, slot);
            let chunk = u32::try_from(at).unwrap() / CHUNK_BYTES * CHUNK_BYTES;
            prop_assert_eq!(good, chunk);
        }
    }
}
