//! From a checked image to the restart into it.

use core::time::Duration;

use waxwing_wire::report::State as Reached;
use waxwing_wire::{Digest, ErrorCode};

use super::download::start_again;
use super::{Action, Event, Memory, State, idle};
use crate::offer::Offer;
use crate::ports::{Deferrals, Permission, Slot};

/// The application was asked whether the device may restart.
#[derive(Debug)]
pub(super) struct Ready {
    offer: Offer,
    /// How far its user may put that off.
    pub(super) deferrals: Deferrals,
}

impl Ready {
    /// Asks the application, unless the device's user put the restart off before a reset and until later.
    pub(super) fn begin(memory: &mut Memory, now: Duration, offer: Offer) -> State {
        let wait = memory.put_off_for(now, offer.deployment());
        if wait.is_zero() { Self::ask(memory, now, offer) } else { defer(memory, now, offer, wait) }
    }

    fn ask(memory: &Memory, now: Duration, offer: Offer) -> State {
        let deferrals = memory.deferrals(now, &offer);
        State::Ready(Self { offer, deferrals })
    }

    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        let Event::Permitted(permission) = event else { return State::Ready(self) };
        match permission {
            Permission::Defer(wait) if self.deferrals.left > 0 => {
                let wait = (*wait).max(memory.policy.poll_min).min(self.deferrals.longest);
                memory.put_off(now, &self.offer, wait);
                defer(memory, now, self.offer, wait)
            }
            Permission::Later(wait) => {
                // As before a download: nobody is asked in a circle, or never again.
                let wait = (*wait).clamp(memory.policy.poll_min, memory.policy.poll_max);
                defer(memory, now, self.offer, wait)
            }
            Permission::Never => memory.conclude(now, Reached::Skipped, ErrorCode::NONE),
            Permission::Defer(_) | Permission::Now => {
                State::Rechecking(Rechecking { offer: self.offer, later: None })
            }
        }
    }
}

fn defer(memory: &mut Memory, now: Duration, offer: Offer, wait: Duration) -> State {
    let poll_at = memory.next_poll_at(now);
    State::Deferred(Deferred { offer, until: now + wait, poll_at })
}

/// The restart has to wait. Polls go on meanwhile: the offer may be withdrawn.
#[derive(Debug)]
pub(super) struct Deferred {
    offer: Offer,
    /// When the application is asked again.
    until: Duration,
    poll_at: Duration,
}

impl Deferred {
    pub(super) fn on(self, memory: &Memory, now: Duration, event: &Event) -> State {
        let is_tick = matches!(event, Event::Tick);
        if is_tick && now >= self.until {
            return Ready::ask(memory, now, self.offer);
        }
        if is_tick && now >= self.poll_at || matches!(event, Event::PollRequested) {
            return State::Rechecking(Rechecking { offer: self.offer, later: Some(self.until) });
        }
        State::Deferred(self)
    }

    pub(super) fn action(&self) -> Action {
        Action::Wait { until: self.until.min(self.poll_at) }
    }
}

/// The server was asked once more (D17): a rollout that was halted stops devices that are this
/// far.
#[derive(Debug)]
pub(super) struct Rechecking {
    offer: Offer,
    /// The application does not let the device restart before then, whatever the answer.
    later: Option<Duration>,
}

impl Rechecking {
    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: Event) -> State {
        match event {
            Event::Answered(contact) => {
                memory.note(now, contact);
                if memory.offer.as_ref() != Some(&self.offer) {
                    return idle::consider(memory, now);
                }
                match self.later {
                    None => State::Proving(Proving { offer: self.offer }),
                    Some(_) => self.defer(memory.next_poll_at(now)),
                }
            }
            Event::Busy(wait) => self.defer(memory.later_until(now, wait)),
            Event::Failed(_) => self.defer(memory.back_off_until(now)),
            Event::Done
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick
            | Event::Transferred(_) => State::Rechecking(self),
        }
    }

    /// Waits for the next poll, and for the application if it was that which wanted to wait.
    fn defer(self, poll_at: Duration) -> State {
        let until = self.later.unwrap_or(poll_at);
        State::Deferred(Deferred { offer: self.offer, until, poll_at })
    }
}

/// The image is read back once more: since it was found good, it may have lain there for days.
#[derive(Debug)]
pub(super) struct Proving {
    offer: Offer,
}

impl Proving {
    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        match event {
            Event::Compared(found) if found.flash => memory.activate(&self.offer),
            Event::Compared(_) => start_again(memory, now, ErrorCode::FLASH_REREAD),
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
            | Event::Transferred(_) => State::Proving(self),
        }
    }
}

/// The boot record is being written; the journal already says so.
#[derive(Debug)]
pub(super) struct Activating {
    pub(super) slot: Slot,
    pub(super) sha256: Digest,
}

impl Activating {
    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        match event {
            Event::Done => {
                memory.report(now, Reached::Activated, ErrorCode::NONE);
                memory.set_unsaved();
                State::Rebooting
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
            | Event::Transferred(_) => State::Activating(self),
        }
    }

    pub(super) const fn action(&self) -> Action {
        Action::Activate { slot: self.slot, sha256: self.sha256 }
    }
}
