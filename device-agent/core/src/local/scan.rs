//! Reads an image back from flash, once, for its hash and for what it says about itself.

use alloc::boxed::Box;

use sha2::{Digest as _, Sha256};
use waxwing_esp_image::app::{App, Checker, ImageError};
use waxwing_wire::Digest;

use crate::ports::{FlashError, SECTOR_BYTES, SlotFlash};

/// Memory for one sector.
type Sector = [u8; 4096];

/// An image on its way through the checks, one sector at a time.
#[derive(Debug)]
pub struct Scan {
    at: u32,
    length: u32,
    hash: Sha256,
    checker: Checker,
    sector: Box<Sector>,
}

impl Scan {
    /// Starts at the beginning of the slot.
    pub fn new(length: u32) -> Self {
        let (hash, checker) = (Sha256::new(), Checker::new());
        Self { at: 0, length, hash, checker, sector: Box::new([0; 4096]) }
    }

    /// Reads the next sector; true when there is nothing left to read.
    pub(super) fn advance(&mut self, flash: &mut impl SlotFlash) -> Result<bool, FlashError> {
        let bytes = self.length.saturating_sub(self.at).min(SECTOR_BYTES);
        let wanted = usize::try_from(bytes).unwrap_or(0);
        let Some(piece) = self.sector.get_mut(..wanted) else { return Ok(true) };
        flash.read(self.at, piece)?;
        self.hash.update(&piece);
        // The checker keeps what is wrong until it is asked at the end.
        let _ = self.checker.update(piece);
        self.at = self.at.saturating_add(bytes);
        Ok(self.at >= self.length)
    }

    pub(super) fn finish(self) -> (Digest, Result<App, ImageError>) {
        let image = self.checker.finish();
        (Digest(self.hash.finalize().into()), image)
    }
}
