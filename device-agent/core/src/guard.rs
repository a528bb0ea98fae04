//! The first statement of `main` (D20): counts this boot before the rest of the firmware can go
//! wrong, and takes an image back that was started too often.
//!
//! It reads the same table as [`Agent::boot`](crate::Agent::boot) and writes the record that the
//! agent would write a little later. Then it hands the journal on as it found it, so that the agent
//! reads this boot the same way and counts it once. Where the boot loader takes images back, this
//! is the second net; where it does not, the only one, and an image that crashes before it is
//! lost: the page about firmware says how to have both.
//!
//! An image that runs well, but whose agent does not start, decides nothing either: it is given up
//! when its trial has lasted longer than an agent would let it.

use core::time::Duration;

use crate::agent::REPEATS_MAX;
use crate::boot::{Verdict, decide};
use crate::journal::{Pages, Phase, Slots, Update};
use crate::policy::Policy;
use crate::ports::{BootControl, BootView, FlashError, Journal, SlotState};

/// What a trial may take beyond self-test and first contact: network, enrolment, a last answer.
const START_MAX: Duration = Duration::from_mins(10);

/// Counts this boot. `None` when the image that runs was given up and the device restarts.
///
/// A journal that cannot be read or written keeps no device from starting: the agent reports it. Only
/// an image on trial, whose starts cannot be counted, is given up: it could crash for ever.
pub fn guard<B: BootControl, J: Journal>(
    boot: &mut B,
    mut journal: J,
    policy: &Policy,
) -> Option<Guarded<J>> {
    let mut counted = Counted { journal: &mut journal, page: None };
    let Ok(view) = boot.view() else { return Some(Guarded { journal, hidden: None }) };
    if begin(boot, &mut counted, &view, policy) == Outcome::Restart {
        boot.reboot();
        return None;
    }
    let hidden = counted.page;
    Some(Guarded { journal, hidden })
}

/// Returns how long after its start an image may be on trial: longer than its agent would let it.
pub fn trial_max(policy: &Policy) -> Duration {
    START_MAX.saturating_add(policy.self_test_max).saturating_add(policy.no_contact_max)
}

/// Gives up the running image if it is still on trial, [`trial_max`] after its start: nobody confirmed
/// it, so its agent does not run, and it could never be updated again. True when the device restarts.
///
/// The image before it finds out from the records.
pub fn give_up_trial<B: BootControl>(boot: &mut B) -> bool {
    let on_trial = [SlotState::New, SlotState::PendingVerify];
    let is_on_trial = boot.view().is_ok_and(|view| on_trial.contains(&view.running_state));
    let is_rejected = is_on_trial && boot.reject().is_ok();
    if is_rejected {
        boot.reboot();
    }
    is_rejected
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Restart,
    Start,
}

fn begin<B: BootControl, J: Journal>(
    boot: &mut B,
    journal: &mut Counted<'_, J>,
    view: &BootView,
    policy: &Policy,
) -> Outcome {
    let (mut pages, mut record) = Pages::open(journal);
    let verdict = decide(record.update.as_ref(), view, policy);
    let Some(update) = &mut record.update else { return Outcome::Start };
    let Some((phase, end)) = meaning(verdict, update) else { return Outcome::Start };
    if update.phase == phase && end.is_none() {
        return Outcome::Start;
    }
    update.phase = phase;
    let is_saved = pages.save(&record).is_ok();
    let is_uncounted = !is_saved && matches!(phase, Phase::Trial { .. });
    match end.or(is_uncounted.then_some(End::Reject)) {
        Some(End::Reject) => {
            let is_rejected = boot.reject().is_ok();
            // Without a boot record that says so the journal has the next boot try again, if it can.
            if is_rejected || is_saved { Outcome::Restart } else { Outcome::Start }
        }
        Some(End::Revert(slots)) => {
            let is_done =
                boot.reject().is_ok() || boot.activate(slots.old, &slots.old_sha256).is_ok();
            // There is no way back: the agent says why.
            if is_done { Outcome::Restart } else { Outcome::Start }
        }
        None => Outcome::Start,
    }
}

/// How the running image is given up.
#[derive(Clone, Copy, Debug)]
enum End {
    Reject,
    Revert(Slots),
}

/// What a verdict has written, as [`Agent::boot`](crate::Agent::boot) would; `None` when it can
/// wait for the agent.
fn meaning(verdict: Verdict, update: &mut Update) -> Option<(Phase, Option<End>)> {
    match verdict {
        Verdict::GoBack(slots, code) => {
            repeat(update).then_some((Phase::Reverting { slots, code }, Some(End::Revert(slots))))
        }
        Verdict::Reject(slots, code) => {
            repeat(update).then_some((Phase::Rejecting { slots, code }, Some(End::Reject)))
        }
        Verdict::Soak { slots, resets, soaked_s } => {
            Some((Phase::Soaking { slots, resets, soaked_s }, None))
        }
        Verdict::Trial { slots, boots } => Some((Phase::Trial { slots, boots }, None)),
        Verdict::ActivateAgain
        | Verdict::Confirmed(_)
        | Verdict::Failed(_)
        | Verdict::Recovery
        | Verdict::Restart
        | Verdict::RolledBack(_)
        | Verdict::Soaked(_)
        | Verdict::Steady
        | Verdict::TrialOfForeign => None,
    }
}

/// Counts a restart that repeats something; false when there were too many, which the agent ends.
fn repeat(update: &mut Update) -> bool {
    update.repeats = update.repeats.saturating_add(1);
    update.repeats <= REPEATS_MAX
}

/// A journal that remembers which page was written.
struct Counted<'j, J> {
    journal: &'j mut J,
    page: Option<u8>,
}

impl<J: Journal> Journal for &mut Counted<'_, J> {
    fn pages(&self) -> u8 {
        self.journal.pages()
    }

    fn read_page(&mut self, page: u8, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.journal.read_page(page, bytes)
    }

    fn replace_page(&mut self, page: u8, bytes: &[u8]) -> Result<(), FlashError> {
        self.page = Some(page);
        self.journal.replace_page(page, bytes)
    }
}

/// A journal without the record that [`guard`] wrote: for the agent, which writes its own in the
/// same place.
#[derive(Clone, Debug)]
pub struct Guarded<J> {
    journal: J,
    hidden: Option<u8>,
}

impl<J: Journal> Journal for Guarded<J> {
    fn pages(&self) -> u8 {
        self.journal.pages()
    }

    fn read_page(&mut self, page: u8, bytes: &mut [u8]) -> Result<(), FlashError> {
        if self.hidden == Some(page) {
            bytes.fill(0xff);
            return Ok(());
        }
        self.journal.read_page(page, bytes)
    }

    fn replace_page(&mut self, page: u8, bytes: &[u8]) -> Result<(), FlashError> {
        self.hidden = None;
        self.journal.replace_page(page, bytes)
    }
}
