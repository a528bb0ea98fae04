//! What the agent is doing, and which state says what follows.
//!
//! Not here: what a state knows and does, which is in the module of its part of the way.

use core::time::Duration;

use waxwing_wire::ErrorCode;
use waxwing_wire::report::State as Reached;

use super::download::{Hashing, Inspecting, Opening, Resuming, Transferring};
use super::idle::{Asking, Idle, Polling};
use super::memory::Memory;
use super::ready::{Activating, Deferred, Proving, Ready, Rechecking};
use super::soak::{Burning, Reverting, Soaking};
use super::trial::{Confirming, Contacting, Rejecting, Restoring, Testing};
use super::{Action, Event};
use crate::ports::Deferrals;

/// What the agent is doing.
#[derive(Debug)]
pub(super) enum State {
    Idle(Idle),
    Polling(Polling),
    Asking(Asking),
    Resuming(Resuming),
    Opening(Opening),
    Transferring(Transferring),
    Hashing(Hashing),
    Inspecting(Inspecting),
    Ready(Ready),
    Deferred(Deferred),
    Rechecking(Rechecking),
    Proving(Proving),
    Activating(Activating),
    Rebooting,
    Testing(Testing),
    Contacting(Contacting),
    Confirming(Confirming),
    Soaking(Soaking),
    Burning(Burning),
    Rejecting(Rejecting),
    Reverting(Reverting),
    Restoring(Restoring),
}

impl State {
    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: Event) -> Self {
        match self {
            Self::Idle(state) => state.on(now, &event),
            Self::Polling(state) => state.on(memory, now, event),
            Self::Asking(state) => state.on(memory, now, &event),
            Self::Resuming(state) => state.on(memory, now, &event),
            Self::Opening(state) => state.on(memory, now, &event),
            Self::Transferring(state) => state.on(memory, now, &event),
            Self::Hashing(state) => state.on(memory, now, &event),
            Self::Inspecting(state) => state.on(memory, now, &event),
            Self::Ready(state) => state.on(memory, now, &event),
            Self::Deferred(state) => state.on(memory, now, &event),
            Self::Rechecking(state) => state.on(memory, now, event),
            Self::Proving(state) => state.on(memory, now, &event),
            Self::Activating(state) => state.on(memory, now, &event),
            Self::Rebooting => Self::Rebooting,
            Self::Testing(state) => state.on(memory, now, &event),
            Self::Contacting(state) => state.on(memory, now, event),
            Self::Confirming(state) => state.on(memory, now, &event),
            Self::Soaking(state) => state.on(memory, now, event),
            Self::Burning(state) => state.on(memory, now, &event),
            Self::Rejecting(state) => state.on(&event),
            Self::Reverting(state) => state.on(memory, now, &event),
            Self::Restoring(state) => state.on(memory, now, &event),
        }
    }

    pub(super) fn action(&self) -> Action {
        match self {
            Self::Idle(state) => state.action(),
            Self::Polling(_) | Self::Rechecking(_) => Action::Poll,
            Self::Asking(_) => Action::AskToDownload,
            Self::Resuming(state) => state.action(),
            Self::Opening(state) => state.action(),
            Self::Transferring(state) => state.action(),
            Self::Hashing(_) | Self::Proving(_) => Action::Compare,
            Self::Inspecting(_) => Action::Inspect,
            Self::Ready(_) => Action::AskToReboot,
            Self::Deferred(state) => state.action(),
            Self::Activating(state) => state.action(),
            Self::Rebooting => Action::Reboot,
            Self::Testing(state) => state.action(),
            Self::Contacting(state) => state.action(),
            Self::Confirming(_) | Self::Restoring(_) => Action::Confirm,
            Self::Soaking(state) => state.action(),
            Self::Burning(state) => state.action(),
            Self::Rejecting(_) => Action::Reject,
            Self::Reverting(state) => state.action(),
        }
    }

    /// Tells whether the device may restart now without harm to what is going on.
    pub(super) const fn may_restart(&self) -> bool {
        matches!(self, Self::Idle(_) | Self::Deferred(_) | Self::Soaking(_))
    }

    /// Returns how far the application may put off what it is asked for.
    pub(super) fn deferrals(&self) -> Deferrals {
        if let Self::Ready(state) = self { state.deferrals } else { Deferrals::default() }
    }

    /// What follows when the journal cannot be written: nothing may go on that a reset would
    /// take for a success. An image on trial is given up, for it will not be able to keep a journal
    /// either; going back to the old image goes on, for its boot reads as rolled back anyway.
    pub(super) fn without_journal(self, memory: &mut Memory, now: Duration) -> Self {
        match self {
            Self::Testing(_) | Self::Contacting(_) | Self::Confirming(_) | Self::Rejecting(_) => {
                Self::Rejecting(Rejecting { foreign: false })
            }
            Self::Resuming(_)
            | Self::Opening(_)
            | Self::Transferring(_)
            | Self::Hashing(_)
            | Self::Inspecting(_)
            | Self::Ready(_)
            | Self::Deferred(_)
            | Self::Rechecking(_)
            | Self::Proving(_)
            | Self::Activating(_) => {
                let state = memory.fail(now, ErrorCode::FLASH_WRITE);
                memory.take_unsaved();
                state
            }
            // An eFuse has no way back, and the next boot may take the image for one that soaks.
            Self::Burning(_) => {
                let state = memory.conclude(now, Reached::Healthy, ErrorCode::NONE);
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

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Idle(_) => "idle",
            Self::Polling(_) => "polling",
            Self::Asking(_) => "asking",
            Self::Resuming(_) => "resuming",
            Self::Opening(_) => "opening",
            Self::Transferring(_) => "transferring",
            Self::Hashing(_) => "hashing",
            Self::Inspecting(_) => "inspecting",
            Self::Ready(_) => "ready",
            Self::Deferred(_) => "deferred",
            Self::Rechecking(_) => "rechecking",
            Self::Proving(_) => "proving",
            Self::Activating(_) => "activating",
            Self::Rebooting => "rebooting",
            Self::Testing(_) => "testing",
            Self::Contacting(_) => "contacting",
            Self::Confirming(_) => "confirming",
            Self::Soaking(_) => "soaking",
            Self::Burning(_) => "burning",
            Self::Rejecting(_) => "rejecting",
            Self::Reverting(_) => "reverting",
            Self::Restoring(_) => "restoring",
        }
    }
}
