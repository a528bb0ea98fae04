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

/// The code of a record that is not in flash as it was written: worn flash protects nothing.
const NOT_KEPT: i32 = -1;

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
        self.otadata.write(at, &write.bytes).map_err(fault)?;
        let mut kept = [0; ENTRY_BYTES];
        self.otadata.read(at, &mut kept).map_err(fault)?;
        if kept == write.bytes { Ok(()) } else { Err(BootError::Device(NOT_KEPT)) }
    }

    fn plan_protect(&mut self) -> Result<Option<Write>, BootError> {
        self.records()?.protect(self.started.running).map_err(refused)
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
            let Some(write) = self.plan_protect()? else { return Ok(()) };
            self.write(&write)?;
        }
        // What was written is looked at as the boot loader will: only then nothing is left to do.
        self.plan_protect()?.map_or(Ok(()), |_| Err(BootError::Device(NOT_KEPT)))
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

#[cfg(test)]
mod tests {
    use waxwing_esp_image::Flash;
    use waxwing_esp_image::partition::{Kind, Partition};

    use super::*;
    use crate::fake::FakeChip;

    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum Wear {
        None,
        /// The last byte of a write is not kept.
        LosesByte,
        /// A write can be read once.
        Forgets,
    }

    /// A chip at the end of its life, which reports no fault.
    #[derive(Clone)]
    struct Worn {
        chip: FakeChip,
        wear: Wear,
        reads_left: Option<u32>,
    }

    impl Flash for Worn {
        type Error = FlashError;

        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
            self.chip.read(offset, bytes)?;
            if self.reads_left == Some(0) {
                bytes.fill(0xff);
            }
            self.reads_left = self.reads_left.map(|left| left.saturating_sub(1));
            Ok(())
        }

        fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError> {
            self.chip.erase_sector(offset)
        }

        fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
            self.reads_left = (self.wear == Wear::Forgets).then_some(1);
            let kept = bytes.len() - usize::from(self.wear == Wear::LosesByte);
            self.chip.write(offset, &bytes[..kept])
        }
    }

    struct Nothing;

    impl Restart for Nothing {
        fn restart(&mut self) {}
    }

    /// A device that runs from a slot, on boot records that came about on a good chip.
    fn port(chip: &FakeChip, running: u8, wear: Wear) -> BootPort<Worn, Nothing> {
        let partition = Partition::new("otadata", Kind::OtaData, 0, 2 * SECTOR_BYTES);
        let worn = Worn { chip: chip.copy(), wear, reads_left: None };
        let started =
            Started { running: Slot::Ota(running), reset: ResetReason::PowerOn, secure_version: 0 };
        let slots = Layout::new(2, false).unwrap();
        BootPort::new(Region::new(worn, &partition), slots, started, Nothing)
    }

    #[test]
    fn a_boot_record_that_worn_flash_did_not_keep_is_no_success() {
        let blank = FakeChip::erased(2);
        let mut healthy = port(&blank, 0, Wear::None);
        healthy.activate(Slot::Ota(1), &Digest([0; 32])).unwrap();
        let on_trial = blank.copy();
        on_trial.fill(0, &healthy.otadata_bytes());
        let not_kept = Err(BootError::Device(NOT_KEPT));
        let worn = Wear::LosesByte;
        assert_eq!(port(&blank, 0, worn).protect(), not_kept);
        assert_eq!(port(&blank, 0, worn).activate(Slot::Ota(1), &Digest([0; 32])), not_kept);
        assert_eq!(port(&on_trial, 1, worn).confirm(), not_kept);
        assert_eq!(port(&on_trial, 1, worn).reject(), not_kept);
        assert_eq!(port(&on_trial, 1, Wear::None).confirm(), Ok(()));
    }

    #[test]
    fn an_image_is_not_protected_by_writes_alone() {
        let blank = FakeChip::erased(2);
        let protected = port(&blank, 0, Wear::Forgets).protect();
        assert_eq!(protected, Err(BootError::Device(NOT_KEPT)));
        assert_eq!(port(&blank, 0, Wear::None).protect(), Ok(()));
    }

    impl BootPort<Worn, Nothing> {
        fn otadata_bytes(&mut self) -> Vec<u8> {
            let mut bytes = std::vec![0; usize::try_from(2 * SECTOR_BYTES).unwrap()];
            self.otadata.read(0, &mut bytes).unwrap();
            bytes
        }
    }
}
