//! A simulated ESP32 board: flash with a real partition table, boot records, a boot loader, a reset
//! line.
//!
//! The board knows hardware and boot loader only. What runs on it is `waxwing-agent`, which sees
//! the same ports that real hardware has (D21).

mod layout;
mod ports;
mod power;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use waxwing_agent::ports::{ResetReason, Slot};
use waxwing_esp_image::Flash as _;
use waxwing_esp_image::app::{App, Checker};
use waxwing_esp_image::model::{Boot, BootError, BootLoader};

pub use layout::{Layout, LayoutError};
pub use ports::{Application, BoardFlash, BootPort, JournalPort, SlotPort};
pub use power::Power;

use crate::flash::{Flash, FlashFault};

/// A board with a chip, its flash and a boot loader. Clones are the same board.
#[derive(Clone, Debug)]
pub struct Board {
    flash: Arc<Mutex<Flash>>,
    layout: Layout,
    boot_loader: BootLoader,
    power: Power,
}

/// The image a board runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Where it is.
    pub slot: Slot,
    /// What it says about itself.
    pub app: App,
    /// Its bytes.
    pub image: Vec<u8>,
    /// Why the board restarted.
    pub reset: ResetReason,
}

impl Board {
    /// Puts a board together. The flash must have the layout's partition table.
    pub fn new(flash: Flash, layout: Layout, boot_loader: BootLoader) -> Self {
        let (flash, power) = (Arc::new(Mutex::new(flash)), Power::default());
        Self { flash, layout, boot_loader, power }
    }

    /// Lets the boot loader start an image.
    ///
    /// # Errors
    ///
    /// When the power is cut again meanwhile, or the board is a brick.
    pub fn start(&self, reset: ResetReason) -> Result<Running, BootError<FlashFault>> {
        let mut flash = self.flash();
        let Boot { slot, app } = self.boot_loader.boot(&mut *flash)?;
        let partition = self.layout.partition_of(slot).ok_or(BootError::NoImage)?;
        let bytes = image_bytes(&mut flash, partition.offset)?;
        let mut image = vec![0; bytes];
        flash.read(partition.offset, &mut image)?;
        Ok(Running { slot, app, image, reset })
    }

    /// Returns the reset line.
    pub const fn power(&self) -> &Power {
        &self.power
    }

    /// Returns where things lie in flash.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the flash, to look at or to disturb.
    pub fn flash(&self) -> MutexGuard<'_, Flash> {
        // A panic between two operations leaves flash as a power cut would.
        self.flash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds out how long an image in flash is.
fn image_bytes(flash: &mut Flash, offset: u32) -> Result<usize, FlashFault> {
    let mut checker = Checker::new();
    let mut bytes = 0;
    while checker.missing_bytes() > 0 {
        let wanted = usize::try_from(checker.missing_bytes()).unwrap_or(usize::MAX);
        let mut piece = vec![0; wanted.min(64 * 1024)];
        let at = u32::try_from(bytes).map_err(|_| FlashFault::OutOfRange)?;
        flash.read(offset.saturating_add(at), &mut piece)?;
        // The boot loader has found it good.
        if checker.update(&piece).is_err() {
            break;
        }
        bytes += piece.len();
    }
    Ok(bytes)
}
