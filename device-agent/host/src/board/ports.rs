//! What the board offers to the agent that runs on it.

use waxwing_agent::ports::{
    AppHooks, FlashError, Health, Permission, ResetReason, SelfTest, Slot, slot_after,
};
use waxwing_agent_flash::{Region, Restart, Started};
use waxwing_esp_image::Flash;
use waxwing_esp_image::otadata::Layout as Slots;

use super::{Board, Layout, Power, Running};
use crate::flash::FlashFault;

/// Number of OTA slots of every board here.
const OTA_SLOTS: u8 = 2;

/// The slot an update goes to.
pub type SlotPort = waxwing_agent_flash::SlotPort<BoardFlash>;
/// The boot records.
pub type BootPort = waxwing_agent_flash::BootPort<BoardFlash, Power>;
/// Storage for the journal: a partition of its own.
pub type JournalPort = waxwing_agent_flash::JournalPort<BoardFlash>;

impl Board {
    /// Opens the slot that does not run.
    ///
    /// # Errors
    ///
    /// When the board has no other slot.
    pub fn slot_port(&self, running: Slot) -> Result<SlotPort, FlashError> {
        let target = slot_after(running, OTA_SLOTS);
        let partition = self.layout.partition_of(target).ok_or(FlashError::OutOfSlot)?;
        Ok(SlotPort::new(Region::new(BoardFlash(self.clone()), &partition)))
    }

    /// Opens the boot records for an image that runs.
    ///
    /// # Errors
    ///
    /// When the board has no slots.
    pub fn boot_port(&self, running: &Running) -> Result<BootPort, FlashError> {
        let slots = Slots::new(OTA_SLOTS, false).ok_or(FlashError::OutOfSlot)?;
        let otadata = Region::new(BoardFlash(self.clone()), &Layout::otadata());
        let started = Started { running: running.slot, reset: running.reset, secure_version: 0 };
        Ok(BootPort::new(otadata, slots, started, self.power.clone()))
    }

    /// Opens the journal's partition.
    pub fn journal_port(&self) -> JournalPort {
        JournalPort::new(Region::new(BoardFlash(self.clone()), &self.layout.journal()))
    }
}

/// The board's flash, as the agent's ports take it.
#[derive(Clone, Debug)]
pub struct BoardFlash(Board);

impl Flash for BoardFlash {
    type Error = FlashError;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.0.flash().read(offset, bytes).map_err(fault)
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError> {
        self.0.flash().erase_sector(offset).map_err(fault)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.0.flash().write(offset, bytes).map_err(fault)
    }
}

impl Restart for Power {
    fn restart(&mut self) {
        self.reset(ResetReason::Requested);
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

/// What flash drivers answer: there are no numbers behind a simulated one.
const fn fault(fault: FlashFault) -> FlashError {
    match fault {
        FlashFault::File => FlashError::Device(2),
        FlashFault::OutOfRange => FlashError::OutOfSlot,
        FlashFault::PowerCut => FlashError::Device(1),
    }
}
