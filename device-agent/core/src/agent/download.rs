//! From an offer to a checked image in the target slot.

use core::time::Duration;

use waxwing_wire::ErrorCode;
use waxwing_wire::report::State as Reached;

use super::ready::Ready;
use super::{Action, Comparison, Event, Memory, State};
use crate::download::{Begin, begin};
use crate::journal::Phase;
use crate::offer::Offer;
use crate::ports::SECTOR_BYTES;

/// How often the journal learns how far a download is: a power cut costs at most this much, and a
/// megabyte costs 16 journal writes.
const PROGRESS_BYTES: u32 = 64 * 1024;

/// The image was asked for, from byte `from` on.
#[derive(Debug)]
pub(super) struct Opening {
    offer: Offer,
    from: u32,
}

impl Opening {
    /// Goes on where the journal says, or to the next step when everything is there.
    pub(super) fn begin(memory: &Memory, offer: Offer) -> State {
        let stored = match memory.record.update.as_ref().map(|update| update.phase) {
            Some(Phase::Fetching { stored }) => stored,
            Some(
                Phase::Activating(_)
                | Phase::Confirming(_)
                | Phase::Rejecting { .. }
                | Phase::Reverting { .. }
                | Phase::Soaking { .. }
                | Phase::Trial { .. },
            )
            | None => 0,
        };
        let length = offer.deployment().length;
        if stored >= length {
            return State::Hashing(Hashing { offer });
        }
        let from = stored - stored % SECTOR_BYTES;
        State::Opening(Self { offer, from })
    }

    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        let opened = match event {
            Event::Opened(opened) => opened,
            Event::Failed(code) => return broken_off(memory, now, *code),
            Event::Answered(_)
            | Event::Done
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick
            | Event::Transferred(_) => return State::Opening(self),
        };
        let Self { offer, from } = self;
        match begin(opened, from, offer.deployment().length) {
            Begin::AsAsked => State::Transferring(Transferring { offer, stored: from }),
            Begin::AskForAll => {
                memory.set_phase(Phase::Fetching { stored: 0 });
                State::Opening(Self { offer, from: 0 })
            }
            Begin::FromTheStart => {
                memory.set_phase(Phase::Fetching { stored: 0 });
                State::Transferring(Transferring { offer, stored: 0 })
            }
            Begin::Refused => broken_off(memory, now, ErrorCode::DOWNLOAD_STATUS),
            Begin::WrongRange => broken_off(memory, now, ErrorCode::DOWNLOAD_RANGE),
        }
    }

    pub(super) const fn action(&self) -> Action {
        Action::Open { sha256: self.offer.deployment().sha256, from: self.from }
    }
}

/// The image comes in, sector by sector.
#[derive(Debug)]
pub(super) struct Transferring {
    offer: Offer,
    /// A multiple of the sector size.
    stored: u32,
}

impl Transferring {
    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        match event {
            Event::Transferred(bytes) => self.advance(memory, *bytes),
            Event::Failed(code) => {
                memory.set_phase(Phase::Fetching { stored: self.stored });
                broken_off(memory, now, *code)
            }
            Event::Answered(_)
            | Event::Done
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick => State::Transferring(self),
        }
    }

    fn advance(mut self, memory: &mut Memory, bytes: u32) -> State {
        if bytes != self.next_bytes() {
            // Less than asked for: nothing of it counts, the sector is written again.
            return State::Transferring(self);
        }
        memory.stalls = 0;
        self.stored += bytes;
        if self.stored >= self.offer.deployment().length {
            memory.set_phase(Phase::Fetching { stored: self.stored });
            return State::Hashing(Hashing { offer: self.offer });
        }
        if self.stored.is_multiple_of(PROGRESS_BYTES) {
            memory.set_phase(Phase::Fetching { stored: self.stored });
        }
        State::Transferring(self)
    }

    fn next_bytes(&self) -> u32 {
        self.offer.deployment().length.saturating_sub(self.stored).min(SECTOR_BYTES)
    }

    pub(super) fn action(&self) -> Action {
        Action::Transfer { offset: self.stored, bytes: self.next_bytes() }
    }
}

/// The whole image is in flash: is it the signed one?
#[derive(Debug)]
pub(super) struct Hashing {
    offer: Offer,
}

impl Hashing {
    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        match event {
            Event::Compared(found) if found.flash => {
                State::Inspecting(Inspecting { offer: self.offer })
            }
            Event::Compared(found) => start_again(memory, now, *found),
            Event::Failed(code) => memory.fail(now, *code),
            Event::Answered(_)
            | Event::Done
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick
            | Event::Transferred(_) => State::Hashing(self),
        }
    }
}

/// The signed image is in flash: does it fit this device?
#[derive(Debug)]
pub(super) struct Inspecting {
    offer: Offer,
}

impl Inspecting {
    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        match event {
            Event::Done => {
                memory.report(now, Reached::Verified, ErrorCode::NONE);
                State::Ready(Ready { offer: self.offer })
            }
            Event::Failed(code) => memory.fail(now, *code),
            Event::Answered(_)
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick
            | Event::Transferred(_) => State::Inspecting(self),
        }
    }
}

/// The download broke off: ask the server again later, for it may have thought better of it.
fn broken_off(memory: &mut Memory, now: Duration, code: ErrorCode) -> State {
    memory.stalls = memory.stalls.saturating_add(1);
    if memory.stalls >= memory.policy.stalls_max || is_local(code) {
        return memory.fail(now, code);
    }
    memory.back_off(now)
}

/// Tells whether this device's flash is to blame: no server can help with that.
const fn is_local(code: ErrorCode) -> bool {
    matches!(code.0, 400..500)
}

/// Starts again from nothing, unless that was tried too often.
fn start_again(memory: &mut Memory, now: Duration, found: Comparison) -> State {
    let arrived_well = found.network == Some(true);
    let code = if arrived_well { ErrorCode::FLASH_REREAD } else { ErrorCode::DOWNLOAD_HASH };
    let attempts_max = memory.policy.attempts_max;
    let Some(update) = &mut memory.record.update else { return memory.next_poll(now) };
    if update.attempt >= attempts_max {
        return memory.fail(now, code);
    }
    update.attempt += 1;
    memory.set_phase(Phase::Fetching { stored: 0 });
    memory.back_off(now)
}
