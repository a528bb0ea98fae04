//! The chunk list: a server's word about what is in flash already.

use sha2::{Digest as _, Sha256};
use waxwing_agent::chunks::{ChunkList, Recall};
use waxwing_agent::ports::{FlashError, SlotFlash};
use waxwing_wire::Digest;
use waxwing_wire::chunks::{CHUNK_BYTES, list_bytes};

/// Three bytes for the length of the image, then the list. Whatever it says: nothing behind the image
/// is read, no sector twice, and what it finds is whole chunks that have their hash.
pub fn check(bytes: &[u8]) {
    let Some((length, file)) = bytes.split_first_chunk::<3>() else { return };
    let length = u32::from_le_bytes([length[0], length[1], length[2], 0]);
    let named = Digest(Sha256::digest(file).into());
    let list = ChunkList::read(file, &named);
    assert_eq!(list.is_some(), file.len() % 32 == 0);
    assert_eq!(ChunkList::read(file, &Digest([7; 32])), None, "another list than named");
    let (Some(list), Some(_)) = (list, list_bytes(length.into())) else { return };
    let mut slot = Slot { length, at: 0 };
    let mut recall = Recall::new(list, length);
    while !recall.advance(&mut slot).expect("a slot that can be read") {}
    let good = recall.good();
    assert!(good <= slot.at && (good == length || good.is_multiple_of(CHUNK_BYTES)));
    for (chunk, from) in (0..good).step_by(65_536).enumerate() {
        let image: Vec<u8> = (from..good.min(from + CHUNK_BYTES)).map(content).collect();
        assert_eq!(Sha256::digest(&image)[..], file[32 * chunk..][..32], "not that chunk");
    }
}

/// Returns a chunk list that is right about its first chunk.
pub fn list() -> Vec<u8> {
    let image: Vec<u8> = (0..CHUNK_BYTES).map(content).collect();
    [&[0x10, 0, 1][..], &Sha256::digest(&image), &[0; 32]].concat()
}

const fn content(at: u32) -> u8 {
    let [byte, ..] = (at ^ at >> 8).to_le_bytes();
    byte
}

/// A slot that is read once, in order.
struct Slot {
    length: u32,
    at: u32,
}

impl SlotFlash for Slot {
    fn slot_bytes(&self) -> u32 {
        self.length
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        assert_eq!(offset, self.at, "read twice, or left out");
        self.at += u32::try_from(bytes.len()).expect("a sector");
        assert!(self.at <= self.length, "behind the image");
        for (at, byte) in (offset..).zip(bytes) {
            *byte = content(at);
        }
        Ok(())
    }

    fn erase_sector(&mut self, _offset: u32) -> Result<(), FlashError> {
        unreachable!("looking does not erase")
    }

    fn write(&mut self, _offset: u32, _bytes: &[u8]) -> Result<(), FlashError> {
        unreachable!("looking does not write")
    }
}
