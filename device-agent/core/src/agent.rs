//! The update machine.
//!
//! ```text
//!  Idle ─time─▶ Polling ─offer─▶ Asking ─yes─▶ Opening ─range─▶ Transferring ─last byte─▶ Hashing
//!   │ │                              (reset) ▶ Resuming ─┘                                     │
//!   ▲ ▲                                                                                       │
//!   │ └─ broken off, withdrawn ──┬───────────────┬──────────────┐              signed image   ▼
//!   │                            │               │              └───────────────────── Inspecting
//!   │  (restart) ◀─ Activating ◀─ Proving ◀─┴─ Rechecking ◀─┴─ Ready ⇄ Deferred               │
//!   │      │                  still there   still named   permission  ▲──────────── fits ─────┘
//!   │      ▼
//!   │   Testing ─passed─▶ Contacting ─answered─▶ Confirming ─▶ Soaking ─over─▶ Burning ──┐
//!   │      │                  │                                   │ unwell              │
//!   │      └─── failed, late ─┴─▶ Rejecting ─▶ (restart)          └─▶ Reverting ─▶ (restart)
//!   │                                              │                                 │  │
//!   └───────── Restoring ◀── rolled back ──────────┴─────────────────────────────────┘  │
//!   └───────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A state says what it waits for ([`State::action`]) and what follows from what happened
//! (`on`). When a transition changes the journal, [`Agent::step`] has it saved before it lets the
//! action out: that order is kept here and nowhere else.

mod deferral;
mod download;
mod idle;
mod memory;
mod orders;
mod ready;
mod soak;
mod state;
mod trial;

use core::mem;
use core::time::Duration;

use semver::Version;
use waxwing_wire::{Digest, ErrorCode, MessageId};

use crate::boot;
use crate::download::Opened;
use crate::journal::{Deployment, Record, UnsentReport};
use crate::offer::Contact;
use crate::policy::Policy;
use crate::ports::{BootView, Deferrals, Health, Permission, SelfTest, Slot};
use memory::Memory;
pub(crate) use memory::REPEATS_MAX;
pub use orders::Commanded;
use orders::Commands;
use state::State;

/// The update agent of one device.
#[derive(Debug)]
pub struct Agent {
    memory: Memory,
    state: State,
    /// The journal is being saved; the state's action comes after.
    saving: bool,
    commands: Commands,
}

/// The image that runs, as it knows itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Firmware {
    /// Release it was built as; the journal knows better if this agent installed it (D27).
    pub release: Version,
    /// SHA-256 of the running image.
    pub sha256: Digest,
    /// Security version compiled into it: the floor when the journal is lost (D2).
    pub security_version: u32,
    /// `secure_version` in its descriptor: with the eFuses above that it would not boot any more.
    pub secure_version: u32,
}

/// Numbers drawn anew at each boot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seed {
    /// For jitter.
    pub jitter: u64,
    /// Names this boot in message ids.
    pub boot: u64,
}

/// Something the outside world tells the agent.
#[derive(Clone, Debug)]
pub enum Event {
    /// A poll was answered, and the answer is authentic.
    Answered(Contact),
    /// A poll was not answered: the server asks to be left alone for this long.
    Busy(Duration),
    /// The last action is done.
    Done,
    /// The last action did not work out.
    Failed(ErrorCode),
    /// The image in flash has these hashes.
    Compared(Comparison),
    /// The application judged its health.
    Health(Health),
    /// The server began to answer a download.
    Opened(Opened),
    /// The application answered.
    Permitted(Permission),
    /// Somebody entitled to it wants a poll now.
    PollRequested,
    /// The application tested itself.
    SelfTested(SelfTest),
    /// Time passed.
    Tick,
    /// So many more bytes of the image are in flash.
    Transferred(u32),
}

/// Whether an image is the signed one, seen in two ways. Whoever says so asked
/// [`ContentCheck`](waxwing_tuf::ContentCheck).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Comparison {
    /// As read back from flash: the one that counts.
    pub flash: bool,
    /// As it came from the network, if it came in one go: tells whose fault a difference is.
    pub network: Option<bool>,
}

/// What whoever drives the agent must do next. The result comes back as the next event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Make a slot the one to boot: [`Event::Done`].
    Activate {
        /// The slot.
        slot: Slot,
        /// The image in it.
        sha256: Digest,
    },
    /// Ask the application whether a download may begin: [`Event::Permitted`].
    AskToDownload,
    /// Ask the application whether the device may restart: [`Event::Permitted`].
    AskToReboot,
    /// Raise the eFuses to the image's `secure_version`, for it stays for good: [`Event::Done`].
    Burn {
        /// What nothing older than may boot any more.
        secure_version: u32,
    },
    /// Ask the application whether it works: [`Event::Health`].
    CheckHealth,
    /// Compare what is in the target slot with the image that was signed, see
    /// [`Agent::deployment`]: [`Event::Compared`].
    Compare,
    /// Keep the running image: [`Event::Done`].
    Confirm,
    /// Look at the image in the target slot, see [`Agent::deployment`]: [`Event::Done`] when it
    /// fits this device.
    Inspect,
    /// Ask for the image, from a byte on: [`Event::Opened`].
    Open {
        /// The image.
        sha256: Digest,
        /// First byte wanted.
        from: u32,
    },
    /// Ask the server: [`Event::Answered`] when the answer is authentic, or [`Event::Busy`].
    Poll,
    /// Restart the device; what follows comes from [`Agent::boot`].
    Reboot,
    /// Find out by the chunk list how much of the image is in the target slot already:
    /// [`Event::Transferred`], or [`Event::Opened`] when the server answers without the list.
    Recall {
        /// The list's hash.
        list: Digest,
    },
    /// Give the running image up: [`Event::Done`].
    Reject,
    /// Save [`Agent::record`]: [`Event::Done`] when it is safe.
    Save,
    /// Have the application test itself: [`Event::SelfTested`].
    SelfTest,
    /// Bring the next bytes of the image into the target slot: [`Event::Transferred`].
    Transfer {
        /// Where they go; a multiple of the sector size.
        offset: u32,
        /// How many at most: one sector, or what is left of the image.
        bytes: u32,
    },
    /// Nothing to do until this uptime, or until a message comes: [`Event::Tick`],
    /// [`Event::PollRequested`].
    Wait {
        /// Uptime.
        until: Duration,
    },
}

impl Agent {
    /// Starts the agent after a reset: reads what `view` and `record` say about it together.
    ///
    /// `now` is the uptime, `unix_s` a time that has certainly passed. The first action follows
    /// from `step(now, Event::Tick)`.
    pub fn boot(
        firmware: Firmware,
        policy: Policy,
        record: Record,
        view: BootView,
        seed: Seed,
        now: Duration,
        unix_s: u64,
    ) -> Self {
        let verdict = boot::decide(record.update.as_ref(), &view, &policy);
        let mut memory = Memory::new(firmware, policy, record, view, seed, unix_s);
        let commands = Commands::after_boot(&memory.record);
        let state = memory.resume(verdict, now);
        Self { memory, state, saving: false, commands }
    }

    /// Tells the agent what happened at `now` (uptime), and returns what to do next.
    ///
    /// An event that makes no sense in the current state changes nothing: the answer is what the
    /// agent waits for anyway.
    pub fn step(&mut self, now: Duration, event: Event) -> Action {
        if self.saving {
            self.saved(now, &event);
        } else {
            self.advance(now, event);
        }
        self.begin_command(now);
        self.saving |= self.memory.take_unsaved();
        match (self.state.action(), self.command_due()) {
            _ if self.saving => Action::Save,
            (Action::Wait { until }, Some(due)) => Action::Wait { until: until.min(due) },
            (action, _) => action,
        }
    }

    /// Takes note that the server has stored a report.
    pub fn acknowledge(&mut self, message: &MessageId) {
        if !self.answer_acknowledged(message) {
            self.memory.acknowledge(message);
        }
    }

    /// Returns what must be saved for [`Action::Save`].
    pub const fn record(&self) -> &Record {
        &self.memory.record
    }

    /// Returns what is being installed.
    pub fn deployment(&self) -> Option<&Deployment> {
        self.memory.record.update.as_ref().map(|update| &update.deployment)
    }

    /// Returns what goes with [`Action::AskToReboot`]: how far the device's user may put it off.
    pub fn deferrals(&self) -> Deferrals {
        self.state.deferrals()
    }

    /// Returns the reports the server has not acknowledged, oldest first.
    pub fn unsent(&self) -> &[UnsentReport] {
        &self.memory.record.reports
    }

    /// Returns the image that runs, under the name it was installed as.
    pub const fn firmware(&self) -> &Firmware {
        &self.memory.firmware
    }

    /// Returns the lowest security version this device takes (D2).
    pub fn security_version(&self) -> u32 {
        self.memory.record.security_version.max(self.memory.firmware.security_version)
    }

    /// Returns what the hardware and the boot records said at this start.
    pub const fn started(&self) -> &BootView {
        &self.memory.view
    }

    /// Returns the time in Unix seconds, once the server attested it in this boot.
    pub fn unix_s(&self, now: Duration) -> Option<u64> {
        self.memory.clock.attested(now)
    }

    /// Returns for how many seconds the server could not be reached; `None` if it was (D18).
    pub fn out_s(&self, now: Duration) -> Option<u32> {
        let since = self.memory.failing_since()?;
        Some(u32::try_from(now.saturating_sub(since).as_secs()).unwrap_or(u32::MAX))
    }

    /// Tells what the agent is doing, in a word for logs.
    pub const fn state_name(&self) -> &'static str {
        self.state.name()
    }

    fn advance(&mut self, now: Duration, event: Event) {
        let state = mem::replace(&mut self.state, State::Rebooting);
        self.state = state.on(&mut self.memory, now, event);
    }

    fn saved(&mut self, now: Duration, event: &Event) {
        match event {
            Event::Done => {
                self.saving = false;
                self.command_saved(now);
            }
            Event::Failed(_) => {
                self.saving = false;
                self.command_not_saved();
                let state = mem::replace(&mut self.state, State::Rebooting);
                self.state = state.without_journal(&mut self.memory, now);
            }
            Event::Answered(_)
            | Event::Busy(_)
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick
            | Event::Transferred(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
