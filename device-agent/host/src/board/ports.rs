//! What the board offers to the agent that runs on it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use waxwing_agent::ports::{
    AppHooks, Deferrals, FlashError, Health, Outcome, Permission, Reply, ResetReason, SelfTest,
    Slot, slot_after,
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
    log: Log,
}

/// What an application wrote down, and what of that nobody has looked at.
#[derive(Clone, Debug, Default)]
pub struct Log(Rc<RefCell<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    /// The newest lines.
    text: String,
    /// Commands that were carried out: name and arguments.
    commands: Vec<(String, String)>,
}

impl Log {
    /// Writes a line.
    pub fn write(&self, line: &str) {
        let text = &mut self.0.borrow_mut().text;
        text.push_str(line);
        text.push('\n');
        let from = text.len().saturating_sub(LOG_BYTES_MAX);
        let from = (from..=text.len()).find(|at| text.is_char_boundary(*at));
        text.drain(..from.unwrap_or_default());
    }

    /// Returns what was carried out since this was last asked.
    pub fn take_commands(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.0.borrow_mut().commands)
    }
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
/// Bytes of a log: more than is ever sent of it.
const LOG_BYTES_MAX: usize = 4 * 1024;
/// The command that an application knows; it repeats its arguments.
const BEEP: &str = "beep";
/// The command that it knows and cannot carry out.
const JAM: &str = "jam";
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
        Self { board: board.clone(), behaviour, puts_off: None, log: Log::default() }
    }

    /// Starts an application that crashes before its image is confirmed, whatever that says.
    pub fn crashing(board: &Board) -> Self {
        let (board, behaviour) = (board.clone(), Behaviour::Crashes);
        Self { board, behaviour, puts_off: None, log: Log::default() }
    }

    /// Lets it write its log here.
    #[must_use]
    pub fn writing(self, log: Log) -> Self {
        Self { log, ..self }
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

    fn command(&mut self, name: &str, arguments: &str) -> Reply {
        self.log.write(&format!("asked to {name} {arguments}"));
        let outcome = match name {
            BEEP => Outcome::Done,
            JAM => Outcome::Failed,
            _ => return Reply::of(Outcome::Unknown),
        };
        self.log.0.borrow_mut().commands.push((name.to_owned(), arguments.to_owned()));
        Reply { outcome, detail: arguments.to_owned() }
    }

    fn logs(&mut self) -> Option<String> {
        Some(self.log.0.borrow().text.clone())
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
