//! What boots: ESP-IDF's functions where they are right, the record codec where they are not.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use waxwing_agent::ports::{BootControl, BootError, BootView, Slot, SlotState, slot_after};
use waxwing_esp_image::otadata::{OtaData, Refused, Sector, State};
use waxwing_wire::Digest;

use crate::ota::{Completed as _, Ota, OtaError, Update as _};
use crate::{Board, Shared, code};

/// Most writes until the running image is protected: see [`OtaData::protect`].
const PROTECT_WRITES_MAX: usize = 3;

/// The boot records.
pub struct BootPort<B, O: Ota> {
    shared: Rc<RefCell<Shared<B, O>>>,
}

impl<B: Board, O: Ota> BootPort<B, O> {
    pub(crate) const fn new(shared: Rc<RefCell<Shared<B, O>>>) -> Self {
        Self { shared }
    }

    fn shared(&self) -> RefMut<'_, Shared<B, O>> {
        self.shared.borrow_mut()
    }
}

impl<B: Board, O: Ota> BootControl for BootPort<B, O> {
    fn view(&mut self) -> Result<BootView, BootError> {
        let mut shared = self.shared();
        let records = shared.records()?;
        let running = shared.board.running();
        let target = slot_after(running, records.layout().ota_slots());
        Ok(BootView {
            running,
            running_state: state_of(&records, running),
            target,
            target_state: state_of(&records, target),
            reset: shared.board.reset_reason(),
            secure_version: shared.board.secure_version(),
        })
    }

    fn protect(&mut self) -> Result<(), BootError> {
        self.shared().protect()
    }

    /// Verifies the image by ESP-IDF, Secure Boot signature included, if it was written in this
    /// boot. Otherwise only the boot loader will, which then falls back.
    fn activate(&mut self, slot: Slot, _sha256: &Digest) -> Result<(), BootError> {
        let mut shared = self.shared();
        shared.protect()?;
        let running = shared.board.running();
        let records = shared.records()?;
        let write = records.activate(running, slot).map_err(refused)?;
        let is_target = slot == slot_after(running, records.layout().ota_slots());
        match shared.open.take() {
            Some(open) if is_target && open.written > 0 => {
                let mut image = open.update.finalize().map_err(failed)?;
                image.set_as_boot_partition().map_err(failed)?;
            }
            Some(_) | None => shared.board.write_record(&write).map_err(BootError::Device)?,
        }
        shared.expect(|records| records.active().is_some() && records.selected() == slot)
    }

    fn confirm(&mut self) -> Result<(), BootError> {
        let mut shared = self.shared();
        let running = shared.board.running();
        let records = shared.records()?;
        let Some(write) = records.confirm(running) else { return Ok(()) };
        // ESP-IDF marks the record that decides, and panics when there is none.
        if records.active().is_some() && records.selected() == running {
            shared.ota.mark_app_valid();
        } else {
            shared.board.write_record(&write).map_err(BootError::Device)?;
        }
        shared.expect(|records| records.confirm(running).is_none())
    }

    fn reject(&mut self) -> Result<(), BootError> {
        let mut shared = self.shared();
        let running = shared.board.running();
        // ESP-IDF's own rule is laxer: it accepts a record for the running slot as fallback.
        shared.records()?.reject(running).map_err(refused)?;
        shared.ota.rollback_and_reboot().map_err(failed)
    }

    fn reboot(&mut self) {
        self.shared().board.restart();
    }
}

impl<B: Board, O: Ota> Shared<B, O> {
    fn records(&mut self) -> Result<OtaData, BootError> {
        let first = self.board.read_record(Sector::First).map_err(BootError::Device)?;
        let second = self.board.read_record(Sector::Second).map_err(BootError::Device)?;
        Ok(OtaData::read(&first, &second, self.board.layout()))
    }

    fn protect(&mut self) -> Result<(), BootError> {
        let running = self.board.running();
        for _ in 0..PROTECT_WRITES_MAX {
            let Some(write) = self.records()?.protect(running).map_err(refused)? else {
                return Ok(());
            };
            self.board.write_record(&write).map_err(BootError::Device)?;
        }
        self.expect(|records| records.protect(running) == Ok(None))
    }

    /// Looks whether a change really is in the records.
    fn expect(&mut self, holds: impl FnOnce(&OtaData) -> bool) -> Result<(), BootError> {
        if holds(&self.records()?) { Ok(()) } else { Err(BootError::Device(code::NOT_RECORDED)) }
    }
}

fn state_of(records: &OtaData, slot: Slot) -> SlotState {
    records.record_of(slot).map_or(SlotState::Blank, |record| match record.state {
        State::Aborted => SlotState::Aborted,
        State::Invalid => SlotState::Invalid,
        State::New => SlotState::New,
        State::PendingVerify => SlotState::PendingVerify,
        State::Undefined(_) => SlotState::Undefined,
        State::Valid => SlotState::Valid,
    })
}

const fn refused(reason: Refused) -> BootError {
    match reason {
        Refused::OnTrial => BootError::OnTrial,
        Refused::NoFallback | Refused::NoSuchSlot | Refused::Running | Refused::Unprotected => {
            BootError::NoSlot
        }
    }
}

const fn failed(error: OtaError) -> BootError {
    match error {
        OtaError::Flash => BootError::Device(code::FLASH),
        OtaError::ImageRefused => BootError::ImageRefused,
        OtaError::Memory => BootError::Device(code::NO_MEMORY),
        OtaError::NoFallback | OtaError::NoSlot => BootError::NoSlot,
        OtaError::OnTrial => BootError::OnTrial,
        OtaError::Records => BootError::Device(code::RECORDS),
        OtaError::Unknown => BootError::Device(code::UNKNOWN),
    }
}
