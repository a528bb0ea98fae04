//! The slot an update goes to.

use waxwing_agent::ports::{FlashError, SlotFlash};

use crate::region::{Chip, Region};

/// The slot an update goes to.
#[derive(Clone, Debug)]
pub struct SlotPort<F>(Region<F>);

impl<F: Chip> SlotPort<F> {
    /// Opens a slot: never the one whose image runs.
    pub const fn new(slot: Region<F>) -> Self {
        Self(slot)
    }
}

impl<F: Chip> SlotFlash for SlotPort<F> {
    fn slot_bytes(&self) -> u32 {
        self.0.bytes()
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.0.read(offset, bytes)
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError> {
        self.0.erase_sector(offset)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.0.write(offset, bytes)
    }
}
