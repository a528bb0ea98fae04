//! Reads an image back from flash, once: is it the signed one, and what does it say about itself?

use alloc::boxed::Box;

use waxwing_esp_image::app::{App, Checker, ImageError, RunningSha256};
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
    look: Look,
    sector: Box<Sector>,
}

/// What is asked of the bytes. Either way they are hashed once.
#[derive(Debug)]
enum Look {
    /// Are they the signed ones, and what does the image say about itself?
    Both(Box<Checker<Signed>>),
    /// Are they the signed ones?
    Signed(Box<Signed>),
}

/// The comparison with what was signed, whose hash an image's own one is the beginning of.
#[derive(Debug)]
struct Signed(ContentCheck);

impl RunningSha256 for Signed {
    fn take(&mut self, bytes: &[u8]) {
        // It keeps what is wrong until it is asked at the end.
        let _ = self.0.update(bytes);
    }

    fn so_far(&self) -> [u8; 32] {
        self.0.sha256_so_far().unwrap_or_default()
    }
}

impl Scan {
    /// Starts at the beginning of the slot that should hold `image`; asks it about itself, or only
    /// whether it is the signed one.
    pub(super) fn new(image: &Deployment, with_checker: bool) -> Self {
        let signed = Signed(image.content());
        let look = if with_checker {
            Look::Both(Box::new(Checker::over(signed)))
        } else {
            Look::Signed(Box::new(signed))
        };
        Self { at: 0, length: image.length, look, sector: Box::new([0; 4096]) }
    }

    /// Reads the next sector; true when there is nothing left to read.
    pub(super) fn advance(&mut self, flash: &mut impl SlotFlash) -> Result<bool, FlashError> {
        let bytes = self.length.saturating_sub(self.at).min(SECTOR_BYTES);
        let wanted = usize::try_from(bytes).unwrap_or(0);
        let Some(piece) = self.sector.get_mut(..wanted) else { return Ok(true) };
        flash.read(self.at, piece)?;
        match &mut self.look {
            Look::Both(checker) => {
                // As above.
                let _ = checker.update(piece);
            }
            Look::Signed(signed) => signed.take(piece),
        }
        self.at = self.at.saturating_add(bytes);
        Ok(self.at >= self.length)
    }

    pub(super) fn finish(self) -> (bool, Option<Result<App, ImageError>>) {
        let (image, signed) = match self.look {
            Look::Both(checker) => {
                let (image, signed) = checker.finish_both();
                (Some(image), signed)
            }
            Look::Signed(signed) => (None, *signed),
        };
        (signed.0.finish().is_ok(), image)
    }
}
