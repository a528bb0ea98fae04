//! What the agent needs from the device it runs on.
//!
//! A board support crate implements these traits; nothing in them decides anything. Flash and boot
//! control are plain functions because flash stops the CPU of an ESP32 anyway: one call touches at
//! most one sector, so whoever drives the agent can serve the network between calls.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

pub use waxwing_esp_image::SECTOR_BYTES;
pub use waxwing_esp_image::otadata::Slot;
use waxwing_wire::Digest;
pub use waxwing_wire::command::Outcome;

/// The slot an update goes to. The agent never writes outside of it.
pub trait SlotFlash {
    /// Returns how many bytes an image may have.
    fn slot_bytes(&self) -> u32;

    /// Reads from the target slot.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when the range leaves the slot or the flash chip reports a fault.
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError>;

    /// Erases the sector of the target slot that begins at `offset`.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when `offset` is no sector of the slot or the flash chip reports a fault.
    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError>;

    /// Programs bytes into an erased sector of the target slot.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when the range leaves the slot or the flash chip reports a fault.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError>;

    /// Tells whether an image can be gone on with in the middle, after a reset too. Where a driver only
    /// writes from the beginning, each download that was interrupted by one begins anew.
    fn goes_on(&self) -> bool {
        true
    }
}

/// Flash could not do what was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FlashError {
    /// The flash driver answered with this code.
    Device(i32),
    /// The range is not inside the target slot.
    OutOfSlot,
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(code) => write!(f, "flash driver answered {code}"),
            Self::OutOfSlot => f.write_str("range outside the target slot"),
        }
    }
}

impl core::error::Error for FlashError {}

/// Which image boots next, and whether it stays.
pub trait BootControl {
    /// Reads how this boot came about. Torn or foreign records are no error, they are
    /// [`SlotState::Blank`].
    ///
    /// # Errors
    ///
    /// [`BootError`] when the boot records cannot be read at all.
    fn view(&mut self) -> Result<BootView, BootError>;

    /// Makes sure that the running image boots again whatever happens to the target slot. Called
    /// before the first byte of an update is written; on a healthy device there is nothing to do.
    ///
    /// # Errors
    ///
    /// [`BootError`] when the running image is itself on trial, or a record cannot be written.
    fn protect(&mut self) -> Result<(), BootError>;

    /// Makes `slot` the one to boot, on trial (state NEW).
    ///
    /// Programs the 32-byte record in a single write, into the sector that does *not* hold the
    /// record of the running slot: a power cut at any point leaves the running slot bootable.
    /// `sha256` names the image the slot holds; an implementation may check it again.
    ///
    /// # Errors
    ///
    /// [`BootError`] when the slot holds no bootable image or its record cannot be written.
    fn activate(&mut self, slot: Slot, sha256: &Digest) -> Result<(), BootError>;

    /// Keeps the running image for good (state VALID).
    ///
    /// # Errors
    ///
    /// [`BootError`] when the record cannot be written.
    fn confirm(&mut self) -> Result<(), BootError>;

    /// Gives the running image up (state INVALID), so that the next boot takes the other one.
    ///
    /// # Errors
    ///
    /// [`BootError`] when there is no other image to boot, or the record cannot be written.
    fn reject(&mut self) -> Result<(), BootError>;

    /// Raises `secure_version` in the eFuses, where the product burns any: there is no way back, so
    /// it is asked for only when an image has soaked (D2). By default nothing is burned.
    ///
    /// # Errors
    ///
    /// [`BootError`] when the eFuses cannot be written.
    fn burn(&mut self, secure_version: u32) -> Result<(), BootError> {
        let _ = secure_version;
        Ok(())
    }

    /// Restarts the device. On hardware this does not return; a host returns and then stops
    /// driving the agent.
    fn reboot(&mut self);
}

/// How this boot came about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BootView {
    /// The slot whose code is running.
    pub running: Slot,
    /// What the boot records say about the running slot.
    pub running_state: SlotState,
    /// The slot the next update goes to: see [`slot_after`].
    pub target: Slot,
    /// What the boot records say about the target slot.
    pub target_state: SlotState,
    /// Why the device restarted.
    pub reset: ResetReason,
    /// Lowest `secure_version` the eFuses of this chip still let boot.
    pub secure_version: u32,
}

/// Returns where an update goes while `running` runs, on a device with `ota_slots` of them.
///
/// As `esp_ota_get_next_update_partition`: the next one in order, `ota_0` after the last and after
/// the factory image.
pub const fn slot_after(running: Slot, ota_slots: u8) -> Slot {
    match running {
        Slot::Ota(index) if index.saturating_add(1) < ota_slots => Slot::Ota(index + 1),
        Slot::Factory | Slot::Ota(_) => Slot::Ota(0),
    }
}

/// The state word of a slot's boot record (`esp_ota_img_states_t`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlotState {
    /// No record names the slot, or the one that did is torn.
    Blank,
    /// Activated, never booted; or booted by a boot loader that knows no rollback.
    New,
    /// Booted on trial: the next reset goes back unless it is confirmed.
    PendingVerify,
    /// Confirmed.
    Valid,
    /// Rejected by itself.
    Invalid,
    /// The device was reset during the trial.
    Aborted,
    /// Any other value; the boot loader treats it as bootable.
    Undefined,
}

/// Why the device restarted, as far as the agent cares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResetReason {
    /// Supply voltage dropped.
    Brownout,
    /// The application panicked, or the CPU took an exception.
    Crash,
    /// Somebody switched it on, or pressed reset.
    PowerOn,
    /// Software asked for it.
    Requested,
    /// Anything else.
    Unknown,
    /// A watchdog ran out.
    Watchdog,
}

impl ResetReason {
    /// Tells whether nobody asked for this restart (D19 counts those).
    pub const fn is_unexplained(self) -> bool {
        match self {
            Self::Brownout | Self::Crash | Self::Unknown | Self::Watchdog => true,
            Self::PowerOn | Self::Requested => false,
        }
    }
}

/// Boot records could not be read or written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BootError {
    /// The driver answered with this code.
    Device(i32),
    /// The platform looked at the image and will not boot it.
    ImageRefused,
    /// There is no such slot, or no other image to go back to.
    NoSlot,
    /// The running image is neither confirmed nor rejected yet.
    OnTrial,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(code) => write!(f, "boot control answered {code}"),
            Self::ImageRefused => f.write_str("platform refuses to boot the image"),
            Self::NoSlot => f.write_str("no slot to boot"),
            Self::OnTrial => f.write_str("running image is on trial"),
        }
    }
}

impl core::error::Error for BootError {}

/// A few pages of storage that outlive power cuts, for the record of the running update.
///
/// A page is replaced whole and need not survive a power cut while that happens: the agent always
/// replaces the page that does not hold the newest record.
pub trait Journal {
    /// Number of pages, at least 2. More spread the wear.
    fn pages(&self) -> u8;

    /// Reads the beginning of a page.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when the storage reports a fault; blank or torn pages are no error.
    fn read_page(&mut self, page: u8, bytes: &mut [u8]) -> Result<(), FlashError>;

    /// Replaces a page and returns when the bytes are safe.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when the storage reports a fault.
    fn replace_page(&mut self, page: u8, bytes: &[u8]) -> Result<(), FlashError>;
}

/// What the application has to say about updates.
pub trait AppHooks {
    /// Tells whether a download may begin.
    fn may_download(&mut self) -> Permission;

    /// Tells whether the device may restart into a new image. `deferrals` says how far its user may
    /// still put that off ([`Permission::Defer`]).
    fn may_reboot(&mut self, deferrals: Deferrals) -> Permission;

    /// Tests a new image on trial. Called again and again until it is decided.
    fn self_test(&mut self) -> SelfTest;

    /// Tells, while a confirmed image is being watched, whether it still works.
    fn health(&mut self) -> Health;

    /// Does what an operator asks for, with the names and arguments of the product: `arguments` is a JSON
    /// object that the server has checked against the product's schema. Each command comes once, also
    /// when the answer got lost; after a reset in the middle of it, not again.
    fn command(&mut self, name: &str, arguments: &str) -> Reply {
        let _ = (name, arguments);
        Reply::of(Outcome::Unknown)
    }

    /// Returns the newest lines of the log, if there is one. Only the last 2 KiB are sent.
    fn logs(&mut self) -> Option<String> {
        None
    }
}

/// What the application says to a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// What became of it.
    pub outcome: Outcome,
    /// What else there is to say; may be empty.
    pub detail: String,
}

impl Reply {
    /// Says nothing else.
    pub const fn of(outcome: Outcome) -> Self {
        Self { outcome, detail: String::new() }
    }
}

/// How far the user of a device may still put a restart off: what the plan of the rollout leaves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Deferrals {
    /// How often.
    pub left: u8,
    /// For how long at once.
    pub longest: Duration,
}

/// An answer of the application.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Permission {
    /// The user puts the restart off for this long. It is counted; where there is no deferral left, the
    /// device restarts. Before a download the same as [`Permission::Later`].
    Defer(Duration),
    /// The device itself is busy: ask again after this long. It is not counted, however urgent the
    /// release is; the server waits as long as the plan says.
    Later(Duration),
    /// Not this release.
    Never,
    /// Go on.
    Now,
}

/// How the application's self-test stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SelfTest {
    /// It failed, for a reason only the application knows.
    Failed(u16),
    /// It passed.
    Passed,
    /// It needs more time.
    Running,
}

/// Whether the application works.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// It does not, for a reason only the application knows.
    Bad(u16),
    /// It does.
    Good,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_never_goes_to_the_running_slot() {
        for ota_slots in 2..=16 {
            for running in (0..ota_slots).map(Slot::Ota).chain([Slot::Factory]) {
                let target = slot_after(running, ota_slots);
                assert_ne!(target, running);
                assert!(matches!(target, Slot::Ota(index) if index < ota_slots));
            }
        }
    }
}
