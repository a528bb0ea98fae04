//! What the board offers to the agent that runs on it.

use waxwing_agent::ports::{
    AppHooks, BootControl, BootError, BootView, FlashError, Health, Journal, Permission,
    ResetReason, SelfTest, Slot, SlotFlash, SlotState, slot_after,
};
use waxwing_esp_image::SECTOR_BYTES;
use waxwing_esp_image::model::Flash as _;
use waxwing_esp_image::otadata::{ENTRY_BYTES, Layout as Slots, OtaData, Refused, State, Write};
use waxwing_esp_image::partition::Partition;
use waxwing_wire::Digest;

use super::layout::JOURNAL_PAGES;
use super::{Board, Layout, Running};
use crate::flash::{Flash, FlashFault};

/// Most writes until the running image is protected: see [`OtaData::protect`].
const PROTECT_WRITES_MAX: usize = 3;
/// Number of OTA slots of every board here.
const OTA_SLOTS: u8 = 2;

/// The slot an update goes to.
#[derive(Debug)]
pub struct SlotPort {
    board: Board,
    partition: Partition,
}

impl SlotPort {
    /// Opens the slot that does not run.
    ///
    /// # Errors
    ///
    /// When the board has no other slot.
    pub fn new(board: &Board, running: Slot) -> Result<Self, FlashError> {
        let target = slot_after(running, OTA_SLOTS);
        let partition = board.layout.partition_of(target).ok_or(FlashError::OutOfSlot)?;
        Ok(Self { board: board.clone(), partition })
    }

    /// Does something within the slot.
    fn within(
        &self,
        offset: u32,
        bytes: usize,
        operation: impl FnOnce(&mut Flash, u32) -> Result<(), FlashFault>,
    ) -> Result<(), FlashError> {
        let bytes = u32::try_from(bytes).map_err(|_| FlashError::OutOfSlot)?;
        let end = offset.checked_add(bytes).ok_or(FlashError::OutOfSlot)?;
        if end > self.partition.bytes {
            return Err(FlashError::OutOfSlot);
        }
        operation(&mut self.board.flash(), self.partition.offset + offset).map_err(fault)
    }
}

impl SlotFlash for SlotPort {
    fn slot_bytes(&self) -> u32 {
        self.partition.bytes
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.within(offset, bytes.len(), |flash, at| flash.read(at, bytes))
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError> {
        self.within(offset, 1, Flash::erase_sector)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.within(offset, bytes.len(), |flash, at| flash.write(at, bytes))
    }
}

/// The boot records.
#[derive(Debug)]
pub struct BootPort {
    board: Board,
    running: Slot,
    reset: ResetReason,
}

impl BootPort {
    /// Opens the boot records for an image that runs.
    pub fn new(board: &Board, running: &Running) -> Self {
        Self { board: board.clone(), running: running.slot, reset: running.reset }
    }

    fn records(&self) -> Result<OtaData, BootError> {
        let at = Layout::otadata().offset;
        let (mut first, mut second) = ([0; ENTRY_BYTES], [0; ENTRY_BYTES]);
        let mut flash = self.board.flash();
        flash.read(at, &mut first).map_err(boot_fault)?;
        flash.read(at + SECTOR_BYTES, &mut second).map_err(boot_fault)?;
        let slots = Slots::new(OTA_SLOTS, false).ok_or(BootError::NoSlot)?;
        Ok(OtaData::read(&first, &second, slots))
    }

    fn write(&self, write: &Write) -> Result<(), BootError> {
        let at = Layout::otadata().offset + write.sector.offset();
        let mut flash = self.board.flash();
        flash.erase_sector(at).map_err(boot_fault)?;
        flash.write(at, &write.bytes).map_err(boot_fault)
    }
}

impl BootControl for BootPort {
    fn view(&mut self) -> Result<BootView, BootError> {
        let records = self.records()?;
        let state = |slot| {
            records.record_of(slot).map_or(SlotState::Blank, |record| state_of(record.state))
        };
        let target = slot_after(self.running, OTA_SLOTS);
        Ok(BootView {
            running: self.running,
            running_state: state(self.running),
            target,
            target_state: state(target),
            reset: self.reset,
            secure_version: 0,
        })
    }

    fn protect(&mut self) -> Result<(), BootError> {
        for _ in 0..PROTECT_WRITES_MAX {
            let Some(write) = self.records()?.protect(self.running).map_err(refused)? else {
                return Ok(());
            };
            self.write(&write)?;
        }
        Ok(())
    }

    fn activate(&mut self, slot: Slot, _sha256: &Digest) -> Result<(), BootError> {
        self.protect()?;
        let write = self.records()?.activate(self.running, slot).map_err(refused)?;
        self.write(&write)
    }

    fn confirm(&mut self) -> Result<(), BootError> {
        self.records()?.confirm(self.running).map_or(Ok(()), |write| self.write(&write))
    }

    fn reject(&mut self) -> Result<(), BootError> {
        let write = self.records()?.reject(self.running).map_err(refused)?;
        self.write(&write)
    }

    fn reboot(&mut self) {
        self.board.power.reset(ResetReason::Requested);
    }
}

/// Storage for the journal: a partition of its own.
#[derive(Debug)]
pub struct JournalPort {
    board: Board,
    partition: Partition,
}

impl JournalPort {
    /// Opens the journal's partition.
    pub fn new(board: &Board) -> Self {
        Self { board: board.clone(), partition: board.layout.journal() }
    }

    fn at(&self, page: u8) -> u32 {
        self.partition.offset + u32::from(page) * SECTOR_BYTES
    }
}

impl Journal for JournalPort {
    fn pages(&self) -> u8 {
        JOURNAL_PAGES
    }

    fn read_page(&mut self, page: u8, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.board.flash().read(self.at(page), bytes).map_err(fault)
    }

    fn replace_page(&mut self, page: u8, bytes: &[u8]) -> Result<(), FlashError> {
        let mut flash = self.board.flash();
        flash.erase_sector(self.at(page)).map_err(fault)?;
        flash.write(self.at(page), bytes).map_err(fault)
    }
}

/// An application that does what its own image says: a mark in the image makes it fail.
#[derive(Debug)]
pub struct Application {
    board: Board,
    behaviour: Behaviour,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Behaviour {
    Crashes,
    FailsItsSelfTest,
    Works,
}

/// An image with these bytes in it fails its self-test.
const FAILS_MARK: &[u8] = b"waxwing-sim:self-test=fail";
/// An image with these bytes in it crashes before it is confirmed.
const CRASHES_MARK: &[u8] = b"waxwing-sim:crash";
/// What a failed self-test says.
const FAILED: u16 = 1;

impl Application {
    /// Starts the application of an image.
    pub fn new(board: &Board, running: &Running) -> Self {
        let has = |mark: &[u8]| running.image.windows(mark.len()).any(|bytes| bytes == mark);
        let behaviour = if has(CRASHES_MARK) {
            Behaviour::Crashes
        } else if has(FAILS_MARK) {
            Behaviour::FailsItsSelfTest
        } else {
            Behaviour::Works
        };
        Self { board: board.clone(), behaviour }
    }
}

impl AppHooks for Application {
    fn may_download(&mut self) -> Permission {
        Permission::Now
    }

    fn may_reboot(&mut self) -> Permission {
        Permission::Now
    }

    fn self_test(&mut self) -> SelfTest {
        match self.behaviour {
            Behaviour::Crashes => {
                self.board.power.reset(ResetReason::Crash);
                SelfTest::Running
            }
            Behaviour::FailsItsSelfTest => SelfTest::Failed(FAILED),
            Behaviour::Works => SelfTest::Passed,
        }
    }

    fn health(&mut self) -> Health {
        match self.behaviour {
            Behaviour::Crashes | Behaviour::FailsItsSelfTest => Health::Bad(FAILED),
            Behaviour::Works => Health::Good,
        }
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

/// What flash drivers answer: there are no numbers behind a simulated one.
const fn fault(fault: FlashFault) -> FlashError {
    match fault {
        FlashFault::File => FlashError::Device(2),
        FlashFault::OutOfRange => FlashError::OutOfSlot,
        FlashFault::PowerCut => FlashError::Device(1),
    }
}

const fn boot_fault(fault: FlashFault) -> BootError {
    match fault {
        FlashFault::File => BootError::Device(2),
        FlashFault::OutOfRange => BootError::NoSlot,
        FlashFault::PowerCut => BootError::Device(1),
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
