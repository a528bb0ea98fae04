//! What a boot means: the journal's word, the running slot and the boot records, side by side.
//!
//! A boot loader and a power cut can each undo what was decided without leaving a trace, so the
//! records alone say too little and the journal alone too much. This is the table that reads both;
//! it changes nothing, [`crate::Agent::boot`] does.
//!
//! | journal | running | record of the other slot | verdict |
//! |---|---|---|---|
//! | no update, or fetching | any | any | steady; a trial of its own if the running record is NEW or PENDING |
//! | activating, trial | new | any | trial; reject when it was started too often |
//! | activating | old | NEW | never started: restart |
//! | activating | old | PENDING | the boot loader did not start it: failed |
//! | activating | old | any other | a power cut undid it, or it never happened: activate again |
//! | trial | old | NEW, PENDING | the boot loader stopped starting it: failed |
//! | trial | old | any other | reset during the trial: rolled back |
//! | confirming | new | own record VALID | confirmed |
//! | confirming | new | any | trial |
//! | confirming | old | NEW | restart |
//! | confirming | old | any other | a power cut undid the confirmation: activate again |
//! | soaking | new | any | keep watching, confirmed once more if NEW or PENDING; go back after too many unexplained resets |
//! | soaking, and soaked | new | any | healthy, whatever the resets |
//! | soaking | old | any | the boot loader stopped starting it: rolled back |
//! | rejecting | new | any | reject again |
//! | reverting | new | PENDING, ABORTED | the old image does not start either: stay |
//! | reverting | new | any other | go back again |
//! | rejecting, reverting | old | any | rolled back |
//! | any | third | any | recovery |

use waxwing_wire::ErrorCode;

use crate::journal::{Phase, SOAKED_S, Slots, Update};
use crate::policy::Policy;
use crate::ports::{BootView, SlotState};

/// How often an image on trial is started before the device goes back by itself, where the boot
/// loader does not: as planned, and once more after an unexplained reset.
const TRIAL_BOOTS_MAX: u32 = 2;

/// What a boot means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The new image is in flash but a power cut undid its activation: do it again.
    ActivateAgain,
    /// The new image was confirmed; only the journal does not know yet.
    Confirmed(Slots),
    /// The new image never ran, and will not.
    Failed(ErrorCode),
    /// The new image was confirmed but must not stay: back to the old one.
    GoBack(Slots, ErrorCode),
    /// Neither of the two images of the update runs.
    Recovery,
    /// The new image is on trial, or was rejected, and must not run: reject it.
    Reject(Slots, ErrorCode),
    /// The new image is ready and was never started.
    Restart,
    /// The old image runs again.
    RolledBack(ErrorCode),
    /// Watch the confirmed image.
    Soak {
        /// Where both images are.
        slots: Slots,
        /// Unexplained resets, this one included.
        resets: u32,
        /// Seconds it was watched in earlier boots.
        soaked_s: u32,
    },
    /// The image has soaked and stays; only what follows from that is not done.
    Soaked(Slots),
    /// Nothing is going on that a reset could have touched.
    Steady,
    /// The new image runs and has to prove itself.
    Trial {
        /// Where both images are.
        slots: Slots,
        /// How often it was started, this time included.
        boots: u32,
    },
    /// An image that somebody else installed is on trial.
    TrialOfForeign,
}

#[derive(Clone, Copy)]
enum Running {
    New,
    Old,
    Third,
}

/// Reads the table in the module's description.
pub fn decide(update: Option<&Update>, view: &BootView, policy: &Policy) -> Verdict {
    let Some(update) = update else { return without_update(view) };
    match update.phase {
        Phase::Fetching { .. } => without_update(view),
        Phase::Activating(slots) => activating(slots, view),
        Phase::Trial { slots, boots } => trial(slots, boots, view),
        Phase::Confirming(slots) => confirming(slots, view),
        Phase::Soaking { slots, resets, soaked_s } => {
            let resets = resets.saturating_add(u32::from(view.reset.is_unexplained()));
            soaking(slots, resets, soaked_s, view, policy)
        }
        Phase::Rejecting { slots, code } => match running(slots, view) {
            Running::New => Verdict::Reject(slots, code),
            Running::Old => Verdict::RolledBack(code),
            Running::Third => Verdict::Recovery,
        },
        Phase::Reverting { slots, code } => reverting(slots, code, view),
    }
}

const fn without_update(view: &BootView) -> Verdict {
    match view.running_state {
        // NEW by a boot loader that never goes back. Unconfirmed, the image could never be updated.
        SlotState::New | SlotState::PendingVerify => Verdict::TrialOfForeign,
        SlotState::Aborted
        | SlotState::Blank
        | SlotState::Invalid
        | SlotState::Undefined
        | SlotState::Valid => Verdict::Steady,
    }
}

fn activating(slots: Slots, view: &BootView) -> Verdict {
    match running(slots, view) {
        Running::New => Verdict::Trial { slots, boots: 1 },
        Running::Old => match record_of_new(slots, view) {
            SlotState::New => Verdict::Restart,
            SlotState::PendingVerify => Verdict::Failed(ErrorCode::BOOT_REJECTED),
            // INVALID, ABORTED and VALID may be of the image that was in the slot before.
            SlotState::Aborted
            | SlotState::Blank
            | SlotState::Invalid
            | SlotState::Undefined
            | SlotState::Valid => Verdict::ActivateAgain,
        },
        Running::Third => Verdict::Recovery,
    }
}

fn trial(slots: Slots, boots: u32, view: &BootView) -> Verdict {
    match running(slots, view) {
        Running::New if boots >= TRIAL_BOOTS_MAX => Verdict::Reject(slots, ErrorCode::BOOT_RESET),
        Running::New => Verdict::Trial { slots, boots: boots.saturating_add(1) },
        Running::Old => match record_of_new(slots, view) {
            SlotState::New | SlotState::PendingVerify => Verdict::Failed(ErrorCode::BOOT_REJECTED),
            SlotState::Aborted
            | SlotState::Blank
            | SlotState::Invalid
            | SlotState::Undefined
            | SlotState::Valid => Verdict::RolledBack(ErrorCode::BOOT_RESET),
        },
        Running::Third => Verdict::Recovery,
    }
}

fn confirming(slots: Slots, view: &BootView) -> Verdict {
    match running(slots, view) {
        Running::New if view.running_state == SlotState::Valid => Verdict::Confirmed(slots),
        Running::New => Verdict::Trial { slots, boots: 1 },
        Running::Old if record_of_new(slots, view) == SlotState::New => Verdict::Restart,
        Running::Old => Verdict::ActivateAgain,
        Running::Third => Verdict::Recovery,
    }
}

fn soaking(slots: Slots, resets: u32, soaked_s: u32, view: &BootView, policy: &Policy) -> Verdict {
    match running(slots, view) {
        // The floor has risen, eFuses may be burned: there is no way back.
        Running::New if soaked_s == SOAKED_S => Verdict::Soaked(slots),
        Running::New if resets >= policy.soak_resets_max => {
            Verdict::GoBack(slots, ErrorCode::SOAK_RESETS)
        }
        Running::New => Verdict::Soak { slots, resets, soaked_s },
        Running::Old => Verdict::RolledBack(ErrorCode::BOOT_REJECTED),
        Running::Third => Verdict::Recovery,
    }
}

fn reverting(slots: Slots, code: ErrorCode, view: &BootView) -> Verdict {
    match running(slots, view) {
        Running::New => match view.target_state {
            SlotState::Aborted | SlotState::PendingVerify => Verdict::Recovery,
            SlotState::Blank
            | SlotState::Invalid
            | SlotState::New
            | SlotState::Undefined
            | SlotState::Valid => Verdict::GoBack(slots, code),
        },
        Running::Old => Verdict::RolledBack(code),
        Running::Third => Verdict::Recovery,
    }
}

fn running(slots: Slots, view: &BootView) -> Running {
    if view.running == slots.new {
        Running::New
    } else if view.running == slots.old {
        Running::Old
    } else {
        Running::Third
    }
}

/// The state of the new image's record while the old image runs.
fn record_of_new(slots: Slots, view: &BootView) -> SlotState {
    if view.target == slots.new { view.target_state } else { SlotState::Blank }
}

#[cfg(test)]
mod tests;
