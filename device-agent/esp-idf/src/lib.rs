//! The agent's ports on ESP-IDF: where an update is written, and what boots.
//!
//! ```text
//!  waxwing-agent ──SlotFlash──▶ SlotPort ──┐            ┌──▶ Ota:   the crate esp-ota
//!                ──BootControl▶ BootPort ──┴─▶ shared ──┴──▶ Board: what esp-ota lacks
//! ```
//!
//! Writing, switching, confirming and rejecting go through ESP-IDF, because only it checks Secure
//! Boot signatures before it switches and burns the eFuse version when an image is confirmed.
//! Reading the boot records, and the changes that ESP-IDF gets wrong after its boot loader fell
//! back, go through [`waxwing_esp_image::otadata`] and the product's [`Board`].
//!
//! What esp-ota 0.2 does not offer shapes the rest:
//!
//! * An update begins by erasing the whole slot, which blocks for seconds, and is written from
//!   the beginning: after a reset a download begins anew, chunk list or not.
//! * Rejecting restarts the device at once: [`BootPort`]'s `reject` does not come back.
//! * Some failures are panics: the ports look before they ask, so that none is to be expected.
//! * With `CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK`, ESP-IDF and its boot loader burn the version of an
//!   image as soon as it is confirmed, before it has soaked. There is nothing left for the agent to
//!   burn, and no way back to an image with a lower `secure_version`: raise it in a release that
//!   changes nothing else.
//!
//! The product brings the other ports: a journal of two flash sectors or more, best a partition of
//! its own, and the network, which `waxwing-agent-net` makes of any async sockets.
//!
//! `EspOta`, which only exists for ESP-IDF, is a translation without decisions; everything that
//! decides is tested on the host, against a stand-in that obeys ESP-IDF's rules.

mod board;
mod boot;
#[cfg(target_os = "espidf")]
mod esp;
mod ota;
mod slot;

use std::cell::RefCell;
use std::rc::Rc;

pub use board::Board;
pub use boot::BootPort;
#[cfg(target_os = "espidf")]
pub use esp::EspOta;
pub use ota::{Completed, Ota, OtaError, Update};
pub use slot::SlotPort;

/// Opens both ports of a device.
pub fn ports<B: Board, O: Ota>(board: B, ota: O) -> (SlotPort<B, O>, BootPort<B, O>) {
    let shared = Rc::new(RefCell::new(Shared { board, ota, open: None }));
    (SlotPort::new(Rc::clone(&shared)), BootPort::new(shared))
}

/// Codes in [`waxwing_agent::ports::FlashError::Device`] and
/// [`waxwing_agent::ports::BootError::Device`] that are not the driver's.
pub mod code {
    /// ESP-IDF reported success, but the boot records do not show it.
    pub const NOT_RECORDED: i32 = -1;
    /// Bytes did not come in order, or in another boot than those before them.
    pub const NOT_SEQUENTIAL: i32 = -2;
    /// ESP-IDF could not get memory.
    pub const NO_MEMORY: i32 = -3;
    /// ESP-IDF could not read or write flash.
    pub const FLASH: i32 = -4;
    /// ESP-IDF finds its boot records unusable.
    pub const RECORDS: i32 = -5;
    /// ESP-IDF answered something that esp-ota has no name for.
    pub const UNKNOWN: i32 = -6;
    /// ESP-IDF has no slot for an update, or refuses to touch it during a trial.
    pub const NO_SLOT: i32 = -7;
    /// The bytes are no image.
    pub const IMAGE: i32 = -8;
}

/// What both ports use.
struct Shared<B, O: Ota> {
    board: B,
    ota: O,
    open: Option<Open<O::Update>>,
}

/// An update that is being written.
struct Open<U> {
    update: U,
    /// Bytes so far.
    written: u32,
}
