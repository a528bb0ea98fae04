//! The sectors of a chip and what they have endured, shared with all chips that have the same.

use std::sync::Arc;

use super::FlashFault;
use crate::shared::{Bytes, Shared};

/// Length of a sector in memory.
pub(super) const SECTOR_LEN: usize = 4096;
/// A sector after an erase.
pub(super) const ERASED: [u8; SECTOR_LEN] = [0xff; SECTOR_LEN];
/// Bytes that are compared at once.
const BLOCK_LEN: usize = 32;
/// Sectors that are copied together once one of them changes: few enough for those that change in
/// an update, and enough for a short table.
const GROUP: usize = 32;

/// Sectors, without the erased bytes at their ends: a journal is mostly those.
#[derive(Clone, Debug)]
pub(super) struct Sectors {
    groups: Vec<Arc<Group>>,
    count: usize,
    erased: Arc<Bytes>,
    shared: Shared,
}

#[derive(Clone, Debug)]
struct Group {
    content: [Arc<Bytes>; GROUP],
    /// How often each was erased.
    erases: [u16; GROUP],
}

impl Sectors {
    /// Makes so many erased ones.
    pub(super) fn erased(count: usize, shared: &Shared) -> Self {
        let erased = shared.get(&[]);
        let content = std::array::from_fn(|_| Arc::clone(&erased));
        let group = Arc::new(Group { content, erases: [0; GROUP] });
        let groups = vec![group; count.div_ceil(GROUP)];
        Self { groups, count, erased, shared: shared.clone() }
    }

    /// Returns a sector's content.
    pub(super) fn content(&self, index: usize) -> Result<[u8; SECTOR_LEN], FlashFault> {
        let mut content = ERASED;
        let written = self.written(index)?;
        if let Some(begin) = content.get_mut(..written.len()) {
            begin.copy_from_slice(written);
        }
        Ok(content)
    }

    /// Returns so many bytes of a sector from a place on, in two pieces: what was written, and what is
    /// erased.
    pub(super) fn pieces(
        &self,
        index: usize,
        at: usize,
        count: usize,
    ) -> Result<[&[u8]; 2], FlashFault> {
        let written = self.written(index)?;
        let end = written.len().min(at.saturating_add(count));
        let written = written.get(at..end).unwrap_or_default();
        let erased = ERASED.get(..count.saturating_sub(written.len()));
        Ok([written, erased.ok_or(FlashFault::OutOfRange)?])
    }

    /// Replaces a sector's content.
    pub(super) fn put(
        &mut self,
        index: usize,
        content: &[u8; SECTOR_LEN],
    ) -> Result<(), FlashFault> {
        let written = without_erased_end(content);
        let shared =
            if written.is_empty() { Arc::clone(&self.erased) } else { self.shared.get(written) };
        if let Some(place) = self.group_mut(index)?.content.get_mut(index % GROUP) {
            *place = shared;
        }
        Ok(())
    }

    /// Counts an erase.
    pub(super) fn count_erase(&mut self, index: usize) -> Result<(), FlashFault> {
        if let Some(count) = self.group_mut(index)?.erases.get_mut(index % GROUP) {
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    /// Returns how often each sector was erased.
    pub(super) fn erases(&self) -> Vec<u16> {
        self.groups.iter().flat_map(|group| group.erases).take(self.count).collect()
    }

    /// Returns the content of all.
    pub(super) fn all(&self) -> Vec<u8> {
        (0..self.count).flat_map(|index| self.content(index)).flatten().collect()
    }

    fn written(&self, index: usize) -> Result<&[u8], FlashFault> {
        let group = self.groups.get(index / GROUP).filter(|_| index < self.count);
        let content = group.and_then(|group| group.content.get(index % GROUP));
        content.map(|content| &***content).ok_or(FlashFault::OutOfRange)
    }

    fn group_mut(&mut self, index: usize) -> Result<&mut Group, FlashFault> {
        let group = self.groups.get_mut(index / GROUP).filter(|_| index < self.count);
        group.map(Arc::make_mut).ok_or(FlashFault::OutOfRange)
    }
}

/// Returns what was written, block by block: most sectors are full or have next to nothing in them.
fn without_erased_end(content: &[u8]) -> &[u8] {
    let blocks = content.as_chunks::<BLOCK_LEN>().0;
    let erased = blocks.iter().rev().take_while(|block| **block == [0xff; BLOCK_LEN]).count();
    let written = content.len().saturating_sub(erased * BLOCK_LEN);
    let written = content.get(..written).unwrap_or(content);
    let erased = written.iter().rev().take_while(|byte| **byte == 0xff).count();
    written.get(..written.len() - erased).unwrap_or(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_is_the_same_in_pieces_and_as_a_whole() {
        for written in [0, 1, 31, 4000, 4095, 4096] {
            let mut content = ERASED;
            content[..written].fill(0xa5);
            let mut sectors = Sectors::erased(40, &Shared::default());
            sectors.put(33, &content).unwrap();
            assert_eq!(sectors.content(33), Ok(content));
            for (at, count) in [(0, 4096), (0, 1), (20, 40), (3990, 106), (4095, 1), (4096, 0)] {
                let pieces = sectors.pieces(33, at, count).unwrap();
                assert_eq!(pieces.concat(), content[at..at + count], "{at}");
            }
        }
    }

    #[test]
    fn a_copy_has_sectors_of_its_own() {
        let mut chip = Sectors::erased(40, &Shared::default());
        let before = chip.clone();
        chip.put(39, &[7; SECTOR_LEN]).unwrap();
        chip.count_erase(39).unwrap();
        assert_eq!((before.content(39), chip.content(39)), (Ok(ERASED), Ok([7; SECTOR_LEN])));
        assert_eq!((before.erases()[39], chip.erases()[39]), (0, 1));
        assert!(Arc::ptr_eq(&before.groups[0], &chip.groups[0]), "what is the same is shared");
        assert_eq!(chip.content(40), Err(FlashFault::OutOfRange));
        assert_eq!(chip.put(40, &ERASED), Err(FlashFault::OutOfRange));
        assert_eq!(chip.all().len(), 40 * SECTOR_LEN);
    }
}
