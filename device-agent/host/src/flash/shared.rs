//! Sectors that many chips hold at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{ERASED, SECTOR_LEN};

/// How many entries may be dead before they are swept out.
const SWEEP_MIN: usize = 1024;
/// An odd number whose bits are as good as random: the golden ratio of 64 bits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The content of a sector, without the erased bytes at its end: a journal is mostly those.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Sector(Box<[u8]>);

impl Sector {
    /// Returns all bytes.
    pub(super) fn content(&self) -> [u8; SECTOR_LEN] {
        let mut content = ERASED;
        if let Some(begin) = content.get_mut(..self.0.len()) {
            begin.copy_from_slice(&self.0);
        }
        content
    }

    /// Returns so many bytes from a place on, in two pieces: what was written, what is erased.
    pub(super) fn pieces(&self, at: usize, count: usize) -> [&[u8]; 2] {
        let end = self.0.len().min(at.saturating_add(count));
        let written = self.0.get(at..end).unwrap_or_default();
        [written, ERASED.get(..count - written.len()).unwrap_or_default()]
    }
}

/// A pool of sectors: the same content is held once. Clones share the pool.
#[derive(Clone, Debug, Default)]
pub struct SharedSectors(Arc<Mutex<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    sectors: HashMap<u64, Weak<Sector>>,
    sweep_at: usize,
}

impl SharedSectors {
    /// Returns the sector with this content.
    pub(super) fn get(&self, content: &[u8; SECTOR_LEN]) -> Arc<Sector> {
        let erased = content.iter().rev().take_while(|byte| **byte == 0xff).count();
        let written = content.get(..SECTOR_LEN - erased).unwrap_or(content);
        // A panic elsewhere leaves the pool whole: every change is one insertion.
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.get(written)
    }

    /// Returns how many different sectors are held.
    pub fn distinct(&self) -> usize {
        let pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.sectors.values().filter(|sector| sector.strong_count() > 0).count()
    }
}

impl Pool {
    fn get(&mut self, written: &[u8]) -> Arc<Sector> {
        let key = fingerprint(written);
        if let Some(sector) = self.sectors.get(&key).and_then(Weak::upgrade)
            && *sector.0 == *written
        {
            return sector;
        }
        let sector = Arc::new(Sector(written.into()));
        self.sectors.insert(key, Arc::downgrade(&sector));
        if self.sectors.len() > self.sweep_at {
            self.sectors.retain(|_, sector| sector.strong_count() > 0);
            self.sweep_at = self.sectors.len().saturating_mul(2).max(SWEEP_MIN);
        }
        sector
    }
}

/// A number that tells content apart, fast. Should two be the same, the sectors are held twice.
fn fingerprint(bytes: &[u8]) -> u64 {
    let mix = |lane: u64, word: u64| (lane ^ word).wrapping_mul(MIX).rotate_left(29);
    // Four at a time: each waits for nothing but its own multiplication.
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut lanes = [0; 4];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = mix(*lane, u64::from_le_bytes(*word));
        }
    }
    let rest = rest.iter().map(|byte| u64::from(*byte));
    rest.chain(lanes).fold(MIX, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_is_the_same_in_pieces_and_as_a_whole() {
        for written in [0, 1, 31, 4000, 4095, 4096] {
            let mut content = ERASED;
            content[..written].fill(0xa5);
            let sector = SharedSectors::default().get(&content);
            assert_eq!((sector.0.len(), sector.content()), (written, content));
            for (at, count) in [(0, 4096), (0, 1), (20, 40), (3990, 106), (4095, 1), (4096, 0)] {
                assert_eq!(sector.pieces(at, count).concat(), content[at..at + count], "{at}");
            }
        }
    }

    #[test]
    fn every_byte_changes_the_fingerprint() {
        let all = |at: usize| {
            let mut bytes = vec![0; 100];
            bytes[at] = 1;
            fingerprint(&bytes)
        };
        let mut prints: Vec<_> = (0..100).map(all).chain([fingerprint(&[0; 100])]).collect();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), 101);
    }
}
