//! The boot records.

use waxwing_agent::ports::{
    BootControl, BootError, BootView, FlashError, ResetReason, Slot, SlotState, slot_after,
};
use waxwing_esp_image::SECTOR_BYTES;
use waxwing_esp_image::otadata::{ENTRY_BYTES, Layout, OtaData, Refused, State, Write};
use waxwing_wire::Digest;

use crate::region::{Chip, Region};

/// Most writes until the running image is protected: see [`OtaData::protect`].
const PROTECT_WRITES_MAX: usize = 3;

/// How this boot came about, as far as hardware knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Started {
    /// The slot whose code is running.
    pub running: Slot,
    /// Why the device restarted.
    pub reset: ResetReason,
    /// Lowest `secure_version` the eFuses of this chip still let boot.
    pub secure_version: u32,
}

/// Restarts the device.
pub trait Restart {
    /// Restarts the device. On hardware this does not return.
    fn restart(&mut self);

    /// Raises `secure_version` in the eFuses, see [`BootControl::burn`]. By default nothing is burned.
    fn burn(&mut self, secure_version: u32) {
        let _ = secure_version;
    }
}

/// The boot records.
#[derive(Clone, Debug)]
pub struct BootPort<F, R> {
    otadata: Region<F>,
    slots: Layout,
    started: Started,
    restart: R,
}

impl<F: Chip, R: Restart> BootPort<F, R> {
    /// Opens the boot records of a device with these slots.
    pub const fn new(otadata: Region<F>, slots: Layout, started: Started, restart: R) -> Self {
        Self { otadata, slots, started, restart }
    }

    fn records(&mut self) -> Result<OtaData, BootError> {
        let (mut first, mut second) = ([0; ENTRY_BYTES], [0; ENTRY_BYTES]);
        self.otadata.read(0, &mut first).map_err(fault)?;
        self.otadata.read(SECTOR_BYTES, &mut second).map_err(fault)?;
        Ok(OtaData::read(&first, &second, self.slots))
    }

    fn write(&mut self, write: &Write) -> Result<(), BootError> {
        let at = write.sector.offset();
        self.otadata.erase_sector(at).map_err(fault)?;
        self.otadata.write(at, &write.bytes).map_err(fault)
    }
}

impl<F: Chip, R: Restart> BootControl for BootPort<F, R> {
    fn view(&mut self) -> Result<BootView, BootError> {
        let records = self.records()?;
        let state = |slot| {
            records.record_of(slot).map_or(SlotState::Blank, |record| state_of(record.state))
        };
        let Started { running, reset, secure_version } = self.started;
        let target = slot_after(running, self.slots.ota_slots());
        Ok(BootView {
            running,
            running_state: state(running),
            target,
            target_state: state(target),
            reset,
            secure_version,
        })
    }

    fn protect(&mut self) -> Result<(), BootError> {
        for _ in 0..PROTECT_WRITES_MAX {
            let write = self.records()?.protect(self.started.running).map_err(refused)?;
            let Some(write) = write else { return Ok(()) };
            self.write(&write)?;
        }
        Ok(())
    }

    fn activate(&mut self, slot: Slot, _sha256: &Digest) -> Result<(), BootError> {
        self.protect()?;
        let write = self.records()?.activate(self.started.running, slot).map_err(refused)?;
        self.write(&write)
    }

    fn confirm(&mut self) -> Result<(), BootError> {
        let write = self.records()?.confirm(self.started.running);
        write.map_or(Ok(()), |write| self.write(&write))
    }

    fn reject(&mut self) -> Result<(), BootError> {
        let write = self.records()?.reject(self.started.running).map_err(refused)?;
        self.write(&write)
    }

    fn burn(&mut self, secure_version: u32) -> Result<(), BootError> {
        self.restart.burn(secure_version);
        self.started.secure_version = self.started.secure_version.max(secure_version);
        Ok(())
    }

    fn reboot(&mut self) {
        self.restart.restart();
    }
}

const fn state_of(state: State) -> SlotState {
    match state {
        State::Aborted => SlotState::Aborted,
        State::Invalid => SlotState::Invalid,
        State::New => SlotState::New,
        State::PendingVerify => SlotState::PendingVerify,
        State::Undefined(_) => SlotState::Undefined,
        State::Valid => SlotState::Valid,
    }
}

const fn fault(fault: FlashError) -> BootError {
    match fault {
        FlashError::Device(code) => BootError::Device(code),
        FlashError::OutOfSlot => BootError::NoSlot,
    }
}

const fn refused(reason: Refused) -> BootError {
    match reason {
        Refused::OnTrial => BootError::OnTrial,
        Refused::NoFallback | Refused::NoSuchSlot | Refused::Running | Refused::Unprotected => {
            BootError::NoSlot
        }
    }
}
