//! What the board offers to the agent that runs on it.

use std::time::Duration;

use waxwing_agent::ports::{
    AppHooks, Deferrals, FlashError, Health, Permission, ResetReason, SelfTest, Slot, slot_after,
};
use waxwing_agent_flash::{Region, Restart, Started};
use waxwing_esp_image::Flash;
use waxwing_esp_image::otadata::Layout as Slots;

use super::{Board, Efuses, Layout, Power, Running};
use crate::flash::FlashFault;

/// Number of OTA slots of every board here.
const OTA_SLOTS: u8 = 2;

/// The slot an update goes to.
pub type SlotPort = waxwing_agent_flash::SlotPort<BoardFlash>;
/// The boot records.
pub type BootPort = waxwing_agent_flash::BootPort<BoardFlash, Switch>;
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
        let secure_version = self.secure_version();
        let started = Started { running: running.slot, reset: running.reset, secure_version };
        let switch = Switch { power: self.power.clone(), efuses: self.efuses.clone() };
        Ok(BootPort::new(otadata, slots, started, switch))
    }

    /// Opens the journal's partition.
    pub fn journal_port(&self) -> JournalPort {
        JournalPort::new(Region::new(BoardFlash(self.clone()), &self.layout.journal()))
    }
}

/// The board's flash, as the agent's ports take it. When the power goes during an operation, nothing
/// runs any more: the board restarts when it is back.
#[derive(Clone, Debug)]
pub struct BoardFlash(Board);

impl Flash for BoardFlash {
    type Error = FlashError;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.0.flash().read(offset, bytes).map_err(fault)
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError> {
        let outcome = self.0.flash().erase_sector(offset);
        self.powered(outcome)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let outcome = self.0.flash().write(offset, bytes);
        self.powered(outcome)
    }
}

impl BoardFlash {
    fn powered(&self, outcome: Result<(), FlashFault>) -> Result<(), FlashError> {
        if outcome == Err(FlashFault::PowerCut) {
            self.0.power.reset(ResetReason::PowerOn);
        }
        outcome.map_err(fault)
    }
}

/// What boot records cannot do: restart the board, burn its eFuses.
#[derive(Clone, Debug)]
pub struct Switch {
    power: Power,
    efuses: Efuses,
}

impl Restart for Switch {
    fn restart(&mut self) {
        self.power.reset(ResetReason::Requested);
    }

    fn burn(&mut self, secure_version: u32) {
        self.efuses.burn(secure_version);
    }
}

/// An application that does what its own image says: a mark in the image makes it fail.
#[derive(Debug)]
pub struct Application {
    board: Board,
    behaviour: Behaviour,
    /// For how long its user puts every restart off.
    puts_off: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Behaviour {
    Crashes,
    CrashesLater,
    FailsItsSelfTest,
    FallsIll,
    Works,
}

/// Where a mark may be, in bytes from the beginning of an image: thousands of devices look for one at
/// each boot.
const MARKS_WITHIN: u32 = 64 * 1024;
/// What a mark begins with. What follows says how the application behaves.
const MARK: &[u8] = b"waxwing-sim:";
/// An image with this mark fails its self-test.
const FAILS_MARK: &[u8] = b"self-test=fail";
/// An image with this mark crashes before it is confirmed.
const CRASHES_MARK: &[u8] = b"crash";
/// An image with this mark crashes again and again once it is confirmed.
const CRASHES_LATER_MARK: &[u8] = b"crash-later";
/// An image with this mark becomes unwell once it is confirmed.
const FALLS_ILL_MARK: &[u8] = b"health=bad";
/// What a failed self-test says.
const FAILED: u16 = 1;

impl Application {
    /// Starts the application of an image.
    pub fn new(board: &Board, running: &Running) -> Self {
        let begin = board.image(running, MARKS_WITHIN);
        let at = begin.windows(MARK.len()).position(|bytes| bytes == MARK);
        let marked = at.and_then(|at| begin.get(at + MARK.len()..)).unwrap_or_default();
        let marks = [
            (CRASHES_LATER_MARK, Behaviour::CrashesLater),
            (CRASHES_MARK, Behaviour::Crashes),
            (FAILS_MARK, Behaviour::FailsItsSelfTest),
            (FALLS_ILL_MARK, Behaviour::FallsIll),
        ];
        let mark = marks.into_iter().find(|(mark, _)| marked.starts_with(mark));
        let behaviour = mark.map_or(Behaviour::Works, |(_, behaviour)| behaviour);
        Self { board: board.clone(), behaviour, puts_off: None }
    }

    /// Starts an application that crashes before its image is confirmed, whatever that says.
    pub fn crashing(board: &Board) -> Self {
        Self { board: board.clone(), behaviour: Behaviour::Crashes, puts_off: None }
    }

    /// Gives it a user who puts every restart off for as long, whether that is allowed or not.
    #[must_use]
    pub fn of_user(self, puts_off: Option<Duration>) -> Self {
        Self { puts_off, ..self }
    }
}

impl AppHooks for Application {
    fn may_download(&mut self) -> Permission {
        Permission::Now
    }

    fn may_reboot(&mut self, _: Deferrals) -> Permission {
        self.puts_off.map_or(Permission::Now, Permission::Defer)
    }

    fn self_test(&mut self) -> SelfTest {
        match self.behaviour {
            Behaviour::Crashes => {
                self.board.power.reset(ResetReason::Crash);
                SelfTest::Running
            }
            Behaviour::FailsItsSelfTest => SelfTest::Failed(FAILED),
            Behaviour::CrashesLater | Behaviour::FallsIll | Behaviour::Works => SelfTest::Passed,
        }
    }

    fn health(&mut self) -> Health {
        match self.behaviour {
            Behaviour::Crashes | Behaviour::FailsItsSelfTest | Behaviour::FallsIll => {
                Health::Bad(FAILED)
            }
            Behaviour::CrashesLater => {
                self.board.power.reset(ResetReason::Crash);
                Health::Good
            }
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
