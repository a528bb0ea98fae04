//! Storage for the journal: whole sectors.

use waxwing_agent::ports::{FlashError, Journal, SECTOR_BYTES};

use crate::region::{Chip, Region};

/// Storage for the journal: each sector of a partition is a page.
#[derive(Clone, Debug)]
pub struct JournalPort<F>(Region<F>);

impl<F: Chip> JournalPort<F> {
    /// Opens the journal's partition.
    pub const fn new(partition: Region<F>) -> Self {
        Self(partition)
    }
}

impl<F: Chip> Journal for JournalPort<F> {
    fn pages(&self) -> u8 {
        u8::try_from(self.0.sectors()).unwrap_or(u8::MAX)
    }

    fn read_page(&mut self, page: u8, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.0.read(u32::from(page) * SECTOR_BYTES, bytes)
    }

    fn replace_page(&mut self, page: u8, bytes: &[u8]) -> Result<(), FlashError> {
        let at = u32::from(page) * SECTOR_BYTES;
        self.0.erase_sector(at)?;
        self.0.write(at, bytes)
    }
}
