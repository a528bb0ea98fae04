//! Reads an image back from flash, once: is it the signed one, and what does it say about itself?

use alloc::boxed::Box;

use waxwing_esp_image::app::{App, Checker, ImageError};
use waxwing_tuf::ContentCheck;

use crate::journal::Deployment;
use crate::ports::{FlashError, SECTOR_BYTES, SlotFlash};

/// Memory for one sector.
type Sector = [u8; 4096];

/// An image on its way through the checks, one sector at a time.
#[derive(Debug)]
pub struct Scan {
    at: u32,
    length: u32,
    content: ContentCheck,
    checker: Option<Checker>,
    sector: Box<Sector>,
}

impl Scan {
    /// Starts at the beginning of the slot that should hold `image`; asks it about itself, or only
    /// whether it is the signed one.
    pub(super) fn new(image: &Deployment, with_checker: bool) -> Self {
        let (content, checker) = (image.content(), with_checker.then(Checker::new));
        Self { at: 0, length: image.length, content, checker, sector: Box::new([0; 4096]) }
    }

    /// Reads the next sector; true when there is nothing left to read.
    pub(super) fn advance(&mut self, flash: &mut impl SlotFlash) -> Result<bool, FlashError> {
        let bytes = self.length.saturating_sub(self.at).min(SECTOR_BYTES);
        let wanted = usize::try_from(bytes).unwrap_or(0);
        let Some(piece) = self.sector.get_mut(..wanted) else { return Ok(true) };
        flash.read(self.at, piece)?;
        // Both keep what is wrong until they are asked at the end.
        let _ = self.content.update(piece);
        if let Some(checker) = &mut self.checker {
            let _ = checker.update(piece);
        }
        self.at = self.at.saturating_add(bytes);
        Ok(self.at >= self.length)
    }

    pub(super) fn finish(self) -> (bool, Option<Result<App, ImageError>>) {
        let image = self.checker.map(Checker::finish);
        (self.content.finish().is_ok(), image)
    }
}
