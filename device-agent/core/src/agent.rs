//! The update machine.
//!
//! ```text
//!  Idle ─time─▶ Polling ─offer─▶ Asking ─yes─▶ Opening ─range─▶ Transferring ─last byte─▶ Hashing
//!   ▲ ▲                                                                                       │
//!   │ └─ broken off, withdrawn ──┬───────────────┬──────────────┐              signed image   ▼
//!   │                            │               │              └───────────────────── Inspecting
//!   │  (restart) ◀─ Activating ◀─┴─ Rechecking ◀─┴─ Ready ⇄ Deferred                          │
//!   │      │          still named      permission     ▲─────────────────────────── fits ──────┘
//!   │      ▼
//!   │   Testing ─passed─▶ Contacting ─answered─▶ Confirming ─▶ Soaking ─over─▶ healthy ──┐
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

mod download;
mod idle;
mod memory;
mod ready;
mod soak;
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
use crate::ports::{BootView, Health, Permission, SelfTest, Slot};
use download::{Hashing, Inspecting, Opening, Transferring};
use idle::{Asking, Idle, Polling};
use memory::Memory;
pub(crate) use memory::REPEATS_MAX;
use ready::{Activating, Deferred, Ready, Rechecking};
use soak::{Reverting, Soaking};
use trial::{Confirming, Contacting, Rejecting, Restoring, Testing};

/// The update agent of one device.
#[derive(Debug)]
pub struct Agent {
    memory: Memory,
    state: State,
    /// The journal is being saved; the state's action comes after.
    saving: bool,
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
    /// So many bytes of the image reached flash.
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
    /// Ask the server: [`Event::Answered`] when the answer is authentic.
    Poll,
    /// Restart the device; what follows comes from [`Agent::boot`].
    Reboot,
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

#[derive(Debug)]
enum State {
    Idle(Idle),
    Polling(Polling),
    Asking(Asking),
    Opening(Opening),
    Transferring(Transferring),
    Hashing(Hashing),
    Inspecting(Inspecting),
    Ready(Ready),
    Deferred(Deferred),
    Rechecking(Rechecking),
    Activating(Activating),
    Rebooting,
    Testing(Testing),
    Contacting(Contacting),
    Confirming(Confirming),
    Soaking(Soaking),
    Rejecting(Rejecting),
    Reverting(Reverting),
    Restoring(Restoring),
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
        let state = memory.resume(verdict, now);
        Self { memory, state, saving: false }
    }

    /// Tells the agent what happened at `now` (uptime), and returns what to do next.
    ///
    /// An event that makes no sense in the current state changes nothing: the answer is what the
    /// agent waits for anyway.
    pub fn step(&mut self, now: Duration, event: Event) -> Action {
        if self.saving {
            self.saved(now, &event);
        } else {
            let state = mem::replace(&mut self.state, State::Rebooting);
            self.state = state.on(&mut self.memory, now, event);
        }
        self.saving |= self.memory.take_unsaved();
        if self.saving { Action::Save } else { self.state.action() }
    }

    /// Takes note that the server has stored a report.
    pub fn acknowledge(&mut self, message: &MessageId) {
        self.memory.acknowledge(message);
    }

    /// Takes note of an authentic command by its number. It is saved before anything follows.
    pub fn accept_command(&mut self, number: u64) {
        self.memory.record.command = number;
        self.memory.set_unsaved();
    }

    /// Returns what must be saved for [`Action::Save`].
    pub const fn record(&self) -> &Record {
        &self.memory.record
    }

    /// Returns what is being installed.
    pub fn deployment(&self) -> Option<&Deployment> {
        self.memory.record.update.as_ref().map(|update| &update.deployment)
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

    /// Returns the time in Unix seconds, once the server attested it in this boot.
    pub fn unix_s(&self, now: Duration) -> Option<u64> {
        self.memory.clock.attested(now)
    }

    /// Tells what the agent is doing, in a word for logs.
    pub const fn state_name(&self) -> &'static str {
        self.state.name()
    }

    fn saved(&mut self, now: Duration, event: &Event) {
        match event {
            Event::Done => self.saving = false,
            Event::Failed(_) => {
                self.saving = false;
                let state = mem::replace(&mut self.state, State::Rebooting);
                self.state = state.without_journal(&mut self.memory, now);
            }
            Event::Answered(_)
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

impl State {
    fn on(self, memory: &mut Memory, now: Duration, event: Event) -> Self {
        match self {
            Self::Idle(state) => state.on(now, &event),
            Self::Polling(state) => state.on(memory, now, event),
            Self::Asking(state) => state.on(memory, now, &event),
            Self::Opening(state) => state.on(memory, now, &event),
            Self::Transferring(state) => state.on(memory, now, &event),
            Self::Hashing(state) => state.on(memory, now, &event),
            Self::Inspecting(state) => state.on(memory, now, &event),
            Self::Ready(state) => state.on(memory, now, &event),
            Self::Deferred(state) => state.on(now, &event),
            Self::Rechecking(state) => state.on(memory, now, event),
            Self::Activating(state) => state.on(memory, now, &event),
            Self::Rebooting => Self::Rebooting,
            Self::Testing(state) => state.on(memory, now, &event),
            Self::Contacting(state) => state.on(memory, now, event),
            Self::Confirming(state) => state.on(memory, now, &event),
            Self::Soaking(state) => state.on(memory, now, event),
            Self::Rejecting(state) => state.on(&event),
            Self::Reverting(state) => state.on(memory, now, &event),
            Self::Restoring(state) => state.on(memory, now, &event),
        }
    }

    fn action(&self) -> Action {
        match self {
            Self::Idle(state) => state.action(),
            Self::Polling(_) | Self::Rechecking(_) => Action::Poll,
            Self::Asking(_) => Action::AskToDownload,
            Self::Opening(state) => state.action(),
            Self::Transferring(state) => state.action(),
            Self::Hashing(_) => Action::Compare,
            Self::Inspecting(_) => Action::Inspect,
            Self::Ready(_) => Action::AskToReboot,
            Self::Deferred(state) => state.action(),
            Self::Activating(state) => state.action(),
            Self::Rebooting => Action::Reboot,
            Self::Testing(state) => state.action(),
            Self::Contacting(state) => state.action(),
            Self::Confirming(_) | Self::Restoring(_) => Action::Confirm,
            Self::Soaking(state) => state.action(),
            Self::Rejecting(_) => Action::Reject,
            Self::Reverting(state) => state.action(),
        }
    }

    /// What follows when the journal cannot be written: nothing may go on that a reset would
    /// take for a success. An image on trial is given up, for it will not be able to keep a journal
    /// either; going back to the old image goes on, for its boot reads as rolled back anyway.
    fn without_journal(self, memory: &mut Memory, now: Duration) -> Self {
        match self {
            Self::Testing(_) | Self::Contacting(_) | Self::Confirming(_) | Self::Rejecting(_) => {
                Self::Rejecting(Rejecting)
            }
            Self::Opening(_)
            | Self::Transferring(_)
            | Self::Hashing(_)
            | Self::Inspecting(_)
            | Self::Ready(_)
            | Self::Deferred(_)
            | Self::Rechecking(_)
            | Self::Activating(_) => {
                let state = memory.fail(now, ErrorCode::FLASH_WRITE);
                memory.take_unsaved();
                state
            }
            Self::Idle(_)
            | Self::Polling(_)
            | Self::Asking(_)
            | Self::Rebooting
            | Self::Soaking(_)
            | Self::Reverting(_)
            | Self::Restoring(_) => self,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Idle(_) => "idle",
            Self::Polling(_) => "polling",
            Self::Asking(_) => "asking",
            Self::Opening(_) => "opening",
            Self::Transferring(_) => "transferring",
            Self::Hashing(_) => "hashing",
            Self::Inspecting(_) => "inspecting",
            Self::Ready(_) => "ready",
            Self::Deferred(_) => "deferred",
            Self::Rechecking(_) => "rechecking",
            Self::Activating(_) => "activating",
            Self::Rebooting => "rebooting",
            Self::Testing(_) => "testing",
            Self::Contacting(_) => "contacting",
            Self::Confirming(_) => "confirming",
            Self::Soaking(_) => "soaking",
            Self::Rejecting(_) => "rejecting",
            Self::Reverting(_) => "reverting",
            Self::Restoring(_) => "restoring",
        }
    }
}

#[cfg(test)]
mod tests;
