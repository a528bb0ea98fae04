//! A stretch of flash that nobody gets out of.

use waxwing_agent::ports::FlashError;
use waxwing_esp_image::partition::Partition;
use waxwing_esp_image::{Flash, SECTOR_BYTES};

/// A flash chip; clones are the same one.
pub trait Chip: Flash<Error = FlashError> + Clone {}

impl<F: Flash<Error = FlashError> + Clone> Chip for F {}

/// One partition of a chip: offsets are within it, and nothing reaches beyond it.
#[derive(Clone, Debug)]
pub struct Region<F> {
    flash: F,
    offset: u32,
    bytes: u32,
}

impl<F: Chip> Region<F> {
    /// Takes the partition's stretch of flash.
    pub const fn new(flash: F, partition: &Partition) -> Self {
        Self { flash, offset: partition.offset, bytes: partition.bytes }
    }

    /// Returns how long it is.
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Returns how many whole sectors it has.
    pub const fn sectors(&self) -> u32 {
        self.bytes / SECTOR_BYTES
    }

    /// Reads from it.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when the range leaves it or the chip reports a fault.
    pub fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let at = self.at(offset, bytes.len())?;
        self.flash.read(at, bytes)
    }

    /// Erases the sector that begins at `offset`.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when that is no sector of it or the chip reports a fault.
    pub fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError> {
        if !offset.is_multiple_of(SECTOR_BYTES) {
            return Err(FlashError::OutOfSlot);
        }
        let at = self.at(offset, usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX))?;
        self.flash.erase_sector(at)
    }

    /// Programs bytes.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when the range leaves it or the chip reports a fault.
    pub fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let at = self.at(offset, bytes.len())?;
        self.flash.write(at, bytes)
    }

    fn at(&self, offset: u32, bytes: usize) -> Result<u32, FlashError> {
        let end = u32::try_from(bytes).ok().and_then(|bytes| offset.checked_add(bytes));
        if end.is_none_or(|end| end > self.bytes) {
            return Err(FlashError::OutOfSlot);
        }
        self.offset.checked_add(offset).ok_or(FlashError::OutOfSlot)
    }
}

#[cfg(test)]
mod tests {
    use waxwing_esp_image::partition::Kind;

    use super::*;
    use crate::fake::FakeChip;

    #[test]
    fn nothing_reaches_beyond_a_partition() {
        let chip = FakeChip::erased(4);
        let partition = Partition::new("part", Kind::Nvs, SECTOR_BYTES, 2 * SECTOR_BYTES);
        let mut region = Region::new(chip.clone(), &partition);
        let end = 2 * SECTOR_BYTES;
        for offset in [end, end - 1, u32::MAX, SECTOR_BYTES.wrapping_neg()] {
            assert_eq!(region.write(offset, &[0; 2]), Err(FlashError::OutOfSlot));
            assert_eq!(region.read(offset, &mut [0; 2]), Err(FlashError::OutOfSlot));
            assert_eq!(region.erase_sector(offset), Err(FlashError::OutOfSlot));
        }
        assert_eq!(region.erase_sector(1), Err(FlashError::OutOfSlot));
        region.write(end - 2, &[1, 2]).unwrap();
        assert_eq!(chip.bytes()[3 * 4096 - 2..3 * 4096], [1, 2]);
        assert_eq!(chip.operations(), 1);
    }
}
