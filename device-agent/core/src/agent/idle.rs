//! Between updates: waiting, polling, and what to make of an offer.

use core::time::Duration;

use waxwing_wire::ErrorCode;
use waxwing_wire::report::State as Reached;

use super::download::Opening;
use super::{Action, Event, Memory, State};
use crate::journal::Update;
use crate::offer::Offer;
use crate::ports::Permission;

/// Nothing to do until the next poll.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) until: Duration,
}

impl Idle {
    pub(super) fn on(self, now: Duration, event: &Event) -> State {
        let due = match event {
            Event::PollRequested => true,
            Event::Tick => now >= self.until,
            Event::Answered(_)
            | Event::Busy(_)
            | Event::Done
            | Event::Failed(_)
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::SelfTested(_)
            | Event::Transferred(_) => false,
        };
        if due { State::Polling(Polling) } else { State::Idle(self) }
    }

    pub(super) const fn action(&self) -> Action {
        Action::Wait { until: self.until }
    }
}

/// The server was asked.
#[derive(Debug)]
pub(super) struct Polling;

impl Polling {
    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: Event) -> State {
        match event {
            Event::Answered(contact) => {
                memory.note(now, contact);
                consider(memory, now)
            }
            Event::Busy(wait) => memory.wait_for_server(now, wait),
            Event::Failed(_) => memory.back_off(now),
            Event::Done
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick
            | Event::Transferred(_) => State::Polling(self),
        }
    }
}

/// Decides what to do about what the Director wants to run here.
pub(super) fn consider(memory: &mut Memory, now: Duration) -> State {
    let Some(offer) = memory.offer.clone() else {
        memory.withdraw();
        return memory.next_poll(now);
    };
    let deployment = offer.deployment();
    if memory.record.update.as_ref().is_some_and(|update| update.deployment != *deployment) {
        memory.withdraw();
    }
    if memory.record.has_settled(deployment) {
        return memory.next_poll(now);
    }
    if deployment.sha256 == memory.firmware.sha256 {
        return already_running(memory, now, &offer);
    }
    if memory.record.failures_of(&deployment.sha256) >= memory.policy.attempts_max {
        begin(memory, &offer);
        return memory.fail(now, ErrorCode::POLICY_ATTEMPTS);
    }
    State::Asking(Asking { offer })
}

/// The image was confirmed and watched before this rollout came by.
fn already_running(memory: &mut Memory, now: Duration, offer: &Offer) -> State {
    begin(memory, offer);
    memory.conclude(now, Reached::Healthy, ErrorCode::NONE)
}

/// Opens the update in the journal, or goes on with the one that is there.
fn begin(memory: &mut Memory, offer: &Offer) {
    if memory.record.update.is_none() {
        memory.record.update = Some(Update::new(offer.deployment().clone()));
        // What broke off before was another update, which may have been taken back.
        memory.stalls = 0;
        memory.set_unsaved();
    }
}

/// The application was asked whether a download may begin.
#[derive(Debug)]
pub(super) struct Asking {
    offer: Offer,
}

impl Asking {
    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        let Event::Permitted(permission) = event else { return State::Asking(self) };
        match permission {
            Permission::Defer(wait) | Permission::Later(wait) => {
                let wait = (*wait).clamp(memory.policy.poll_min, memory.policy.poll_max);
                State::Idle(Idle { until: now + wait })
            }
            Permission::Never => {
                begin(memory, &self.offer);
                memory.conclude(now, Reached::Skipped, ErrorCode::NONE)
            }
            Permission::Now => {
                let fresh = memory.record.update.is_none();
                begin(memory, &self.offer);
                let image = Some(self.offer.deployment().sha256);
                if fresh {
                    // Unless the offer was only taken back, what is in the slot is another image.
                    memory.recall_due = memory.in_slot == image;
                    memory.report(now, Reached::Downloading, ErrorCode::NONE);
                }
                memory.in_slot = image;
                Opening::begin(memory, self.offer)
            }
        }
    }
}
