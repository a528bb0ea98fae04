//! From an offer to a checked image in the target slot.

use core::time::Duration;

use waxwing_wire::report::State as Reached;
use waxwing_wire::{Digest, ErrorCode};

use super::ready::Ready;
use super::{Action, Comparison, Event, Memory, State};
use crate::download::{Begin, begin, busy};
use crate::journal::Phase;
use crate::offer::Offer;
use crate::ports::SECTOR_BYTES;

/// How often the journal learns how far a download is, where no chunk list tells that after a
/// reset: a power cut costs at most this much, and a megabyte costs 16 journal writes.
const PROGRESS_BYTES: u32 = 64 * 1024;

/// The device was reset since the download began: the chunk list tells how much of the image is in
/// the slot (D8).
#[derive(Debug)]
pub(super) struct Resuming {
    offer: Offer,
    list: Digest,
}

impl Resuming {
    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        match event {
            Event::Transferred(bytes) => {
                memory.set_stored((*bytes).min(self.offer.deployment().length), &self.offer);
                self.go_on(memory)
            }
            Event::Opened(opened) => match busy(opened) {
                Some(wait) => memory.wait_for_server(now, wait),
                None => self.go_on(memory),
            },
            // A list that lies or is missing costs the download it would have saved.
            Event::Failed(ErrorCode::DOWNLOAD_HASH | ErrorCode::DOWNLOAD_STATUS) => {
                self.go_on(memory)
            }
            // A list that breaks off every time is no better.
            Event::Failed(code) if memory.stalls > 0 && !is_local(*code) => self.go_on(memory),
            Event::Failed(code) => broken_off(memory, now, *code),
            Event::Answered(_)
            | Event::Busy(_)
            | Event::Compared(_)
            | Event::Done
            | Event::Health(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick => State::Resuming(self),
        }
    }

    fn go_on(self, memory: &mut Memory) -> State {
        memory.recall_due = false;
        Opening::begin(memory, self.offer)
    }

    pub(super) const fn action(&self) -> Action {
        Action::Recall { list: self.list }
    }
}

/// The image was asked for, from byte `from` on.
#[derive(Debug)]
pub(super) struct Opening {
    offer: Offer,
    from: u32,
}

impl Opening {
    /// Goes on where the chunk list or the journal says, or to the next step when everything is
    /// there.
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
        if let Some(list) = offer.chunks().filter(|_| memory.recall_due) {
            return State::Resuming(Resuming { offer, list });
        }
        let from = stored - stored % SECTOR_BYTES;
        State::Opening(Self { offer, from })
    }

    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        let opened = match event {
            Event::Opened(opened) => opened,
            Event::Failed(code) => return broken_off(memory, now, *code),
            Event::Answered(_)
            | Event::Busy(_)
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
                memory.set_stored(0, &offer);
                State::Opening(Self { offer, from: 0 })
            }
            Begin::Busy(wait) => memory.wait_for_server(now, wait),
            Begin::FromTheStart => {
                memory.set_stored(0, &offer);
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
                memory.set_stored(self.stored, &self.offer);
                broken_off(memory, now, *code)
            }
            Event::Answered(_)
            | Event::Busy(_)
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
            memory.set_stored(self.stored, &self.offer);
            return State::Hashing(Hashing { offer: self.offer });
        }
        if self.stored.is_multiple_of(PROGRESS_BYTES) {
            memory.set_stored(self.stored, &self.offer);
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
            Event::Compared(found) => start_again(memory, now, code_of(*found)),
            Event::Failed(code) => memory.fail(now, *code),
            Event::Answered(_)
            | Event::Busy(_)
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
                Ready::begin(memory, now, self.offer)
            }
            Event::Failed(code) => memory.fail(now, *code),
            Event::Answered(_)
            | Event::Busy(_)
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

/// Tells whose fault an image is that is not the signed one.
const fn code_of(found: Comparison) -> ErrorCode {
    match found.network {
        Some(true) => ErrorCode::FLASH_REREAD,
        Some(false) | None => ErrorCode::DOWNLOAD_HASH,
    }
}

/// Starts again, unless that was tried too often: where the chunk list says at first, and from nothing
/// when that did not help.
pub(super) fn start_again(memory: &mut Memory, now: Duration, code: ErrorCode) -> State {
    let attempts_max = memory.policy.attempts_max;
    let Some(update) = &mut memory.record.update else { return memory.next_poll(now) };
    if update.attempt >= attempts_max {
        return memory.fail(now, code);
    }
    update.attempt += 1;
    memory.recall_due = update.attempt == 2;
    memory.set_phase(Phase::Fetching { stored: 0 });
    memory.back_off(now)
}
