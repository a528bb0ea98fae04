//! A simulated ESP32 board: flash with a real partition table, boot records, a boot loader, a reset
//! line.
//!
//! The board knows hardware and boot loader only. What runs on it is `waxwing-agent`, which sees
//! the same ports that real hardware has (D21).

mod layout;
mod ports;
mod power;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use waxwing_agent::ports::{ResetReason, Slot};
use waxwing_esp_image::app::App;
use waxwing_esp_image::model::{Boot, BootError, BootLoader};
use waxwing_esp_image::partition::Partition;
use waxwing_esp_image::{Flash as _, SECTOR_BYTES};
use waxwing_wire::Digest;

pub use layout::{Layout, LayoutError};
pub use ports::{Application, BoardFlash, BootPort, JournalPort, Log, SlotPort, Switch};
pub use power::Power;

use crate::flash::{Flash, FlashFault};

/// A board with a chip, its flash and a boot loader. Clones are the same board.
#[derive(Clone, Debug)]
pub struct Board {
    flash: Arc<Mutex<Flash>>,
    layout: Layout,
    boot_loader: BootLoader,
    power: Power,
    efuses: Efuses,
}

/// The `secure_version` in the eFuses of a chip, which only rises.
#[derive(Clone, Debug, Default)]
struct Efuses(Arc<AtomicU32>);

impl Efuses {
    fn secure_version(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn burn(&self, secure_version: u32) {
        self.0.fetch_max(secure_version, Ordering::Relaxed);
    }
}

/// The image a board runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Where it is.
    pub slot: Slot,
    /// What it says about itself.
    pub app: App,
    /// How many bytes its file has.
    pub bytes: u32,
    /// Their SHA-256.
    pub sha256: Digest,
    /// Why the board restarted.
    pub reset: ResetReason,
}

impl Running {
    /// Returns the `secure_version` in its descriptor; 0 where there is none.
    pub fn secure_version(&self) -> u32 {
        self.app.descriptor.as_ref().map_or(0, |descriptor| descriptor.secure_version)
    }
}

impl Board {
    /// Puts a board together. The flash must have the layout's partition table.
    pub fn new(flash: Flash, layout: Layout, boot_loader: BootLoader) -> Self {
        let (flash, power) = (Arc::new(Mutex::new(flash)), Power::default());
        Self { flash, layout, boot_loader, power, efuses: Efuses::default() }
    }

    /// Lets the boot loader start an image.
    ///
    /// # Errors
    ///
    /// When the power is cut again meanwhile, or the board is a brick.
    pub fn start(&self, reset: ResetReason) -> Result<Running, BootError<FlashFault>> {
        let mut flash = self.flash();
        let Boot { slot, app, sha256 } = self.boot_loader.boot(&mut *flash)?;
        let partition = self.layout.partition_of(slot).ok_or(BootError::NoImage)?;
        let bytes = file_bytes(&mut flash, partition, &app)?;
        let sha256 = if bytes == app.image_bytes {
            sha256
        } else {
            let mut hash = Sha256::new();
            flash.each_piece(partition.offset, bytes, |piece| hash.update(piece))?;
            hash.finalize().into()
        };
        Ok(Running { slot, app, bytes, sha256: Digest(sha256), reset })
    }

    /// Reads the first bytes of an image that runs, at most so many.
    pub fn image(&self, running: &Running, bytes_max: u32) -> Vec<u8> {
        let mut image = Vec::new();
        if let Some(partition) = self.layout.partition_of(running.slot) {
            let bytes = running.bytes.min(bytes_max);
            let read = |piece: &[u8]| image.extend_from_slice(piece);
            // It was read a moment ago; what cannot be read now is not there.
            let _ = self.flash().each_piece(partition.offset, bytes, read);
        }
        image
    }

    /// Returns the lowest `secure_version` that the eFuses let boot.
    pub fn secure_version(&self) -> u32 {
        self.efuses.secure_version()
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

/// First byte of a signature sector (Secure Boot v2).
const SIGNATURE_MAGIC: u8 = 0xe7;

/// Finds out how long the file in a slot is: the image, and the sector with its signature if there is
/// one. Whether that is good is nobody's business here.
fn file_bytes(flash: &mut Flash, partition: Partition, app: &App) -> Result<u32, FlashFault> {
    let at = app.image_bytes.next_multiple_of(SECTOR_BYTES);
    let mut magic = [0xff];
    if at < partition.bytes {
        flash.read(partition.offset.saturating_add(at), &mut magic)?;
    }
    let is_signed = magic == [SIGNATURE_MAGIC];
    Ok(if is_signed { at.saturating_add(SECTOR_BYTES) } else { app.image_bytes })
}
