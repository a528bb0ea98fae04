//! What every state of the agent knows, and the few things they do with it.

use core::time::Duration;

use waxwing_wire::report::State as Reached;
use waxwing_wire::{Digest, ErrorCode, MessageId};

use super::idle::Idle;
use super::ready::Activating;
use super::soak::{Burning, Reverting, Soaking};
use super::trial::{Confirming, Rejecting, Restoring, Testing};
use super::{Firmware, Seed, State};
use crate::boot::Verdict;
use crate::journal::{Deployment, Phase, Record, Settled, Slots, Told, UnsentReport, Update};
use crate::offer::{Contact, Decision, Offer};
use crate::policy::{Jitter, Policy};
use crate::ports::{BootView, SlotState};

/// Restarts that may repeat something before the device stays as it is. Every cause has a lower
/// limit of its own; this one ends what nobody thought of.
pub(crate) const REPEATS_MAX: u32 = 8;

#[derive(Debug)]
pub(super) struct Memory {
    pub(super) firmware: Firmware,
    pub(super) policy: Policy,
    pub(super) record: Record,
    pub(super) view: BootView,
    pub(super) clock: Clock,
    pub(super) jitter: Jitter,
    /// What the Director wants to run here, as far as this boot knows.
    pub(super) offer: Option<Offer>,
    /// The chunk list is to be asked what of the image is in the slot: after a reset, when it is offered
    /// again, and once when the image turned out wrong.
    pub(super) recall_due: bool,
    /// The image that was fetched last, as far as it came.
    pub(super) in_slot: Option<Digest>,
    /// Actions that failed in a row for want of the server.
    pub(super) failures: u32,
    /// Since when they do, as uptime.
    failing_since: Option<Duration>,
    /// Downloads of the present update that broke off in a row without progress.
    pub(super) stalls: u32,
    poll_wish: Duration,
    boot: u64,
    reports_made: u32,
    unsaved: bool,
}

impl Memory {
    pub(super) fn new(
        mut firmware: Firmware,
        policy: Policy,
        record: Record,
        view: BootView,
        seed: Seed,
        unix_s: u64,
    ) -> Self {
        if let Some(release) = record.release_of(&firmware.sha256) {
            firmware.release = release.clone();
        }
        let fetched = record.update.as_ref().map(|update| update.deployment.sha256);
        Self {
            firmware,
            recall_due: record.update.is_some(),
            in_slot: fetched.or_else(|| record.put_off.as_ref().map(|put_off| put_off.sha256)),
            record,
            view,
            clock: Clock { unix_s, attested_at: None },
            jitter: Jitter::new(seed.jitter),
            offer: None,
            failures: 0,
            failing_since: None,
            stalls: 0,
            poll_wish: policy.poll_min,
            policy,
            boot: seed.boot,
            reports_made: 0,
            unsaved: false,
        }
    }

    /// Does what a boot means.
    pub(super) fn resume(&mut self, verdict: Verdict, now: Duration) -> State {
        if self.repeats_too_often(&verdict) {
            return self.fail_after_boot(now, ErrorCode::BOOT_REJECTED);
        }
        match verdict {
            Verdict::ActivateAgain => {
                self.try_again(now, |update| Phase::Fetching { stored: update.deployment.length })
            }
            Verdict::Confirmed(slots) => Soaking::begin(self, now, slots),
            Verdict::Failed(code) => self.fail_after_boot(now, code),
            Verdict::GoBack(slots, code) => Reverting::begin(self, slots, code),
            Verdict::Recovery => self.fail_after_boot(now, ErrorCode::BOOT_REJECTED),
            Verdict::Reject(slots, code) => Rejecting::begin(self, Some(slots), code),
            Verdict::Restart => {
                let state = self.try_again(now, |update| update.phase);
                if self.record.update.is_some() { State::Rebooting } else { state }
            }
            Verdict::RolledBack(code) => self.back_on_old_image(now, code),
            // The record says less than the journal: by the next reset the image could be gone.
            Verdict::Soak { slots, .. } if self.is_on_trial() => {
                Confirming::begin(self, Some(slots))
            }
            Verdict::Soak { slots, resets, soaked_s } => {
                self.set_phase(Phase::Soaking { slots, resets, soaked_s });
                Soaking::resume(self, now, slots, resets, soaked_s)
            }
            Verdict::Soaked(slots) => Burning::begin(self, now, slots),
            Verdict::Steady => self.first_poll(now),
            Verdict::Trial { slots, boots } => {
                self.set_phase(Phase::Trial { slots, boots });
                if boots == 1 {
                    self.report(now, Reached::Booted, ErrorCode::NONE);
                }
                Testing::begin(self, now, Some(slots))
            }
            Verdict::TrialOfForeign => Testing::begin(self, now, None),
        }
    }

    /// Counts the restarts that repeat what a restart before should have done.
    fn repeats_too_often(&mut self, verdict: &Verdict) -> bool {
        let repeats = match verdict {
            Verdict::ActivateAgain
            | Verdict::GoBack(..)
            | Verdict::Reject(..)
            | Verdict::Restart => true,
            Verdict::Confirmed(_)
            | Verdict::Failed(_)
            | Verdict::Recovery
            | Verdict::RolledBack(_)
            | Verdict::Soak { .. }
            | Verdict::Soaked(_)
            | Verdict::Steady
            | Verdict::Trial { .. }
            | Verdict::TrialOfForeign => false,
        };
        let Some(update) = self.record.update.as_mut().filter(|_| repeats) else { return false };
        update.repeats = update.repeats.saturating_add(1);
        self.unsaved = true;
        update.repeats > REPEATS_MAX
    }

    /// Counts an attempt and goes on from `phase`, or gives up when there were too many.
    fn try_again(&mut self, now: Duration, phase: impl FnOnce(&Update) -> Phase) -> State {
        let attempts_max = self.policy.attempts_max;
        if let Some(update) = &mut self.record.update {
            update.attempt = update.attempt.saturating_add(1);
            if update.attempt > attempts_max {
                return self.fail(now, ErrorCode::BOOT_REJECTED);
            }
            update.phase = phase(update);
            self.unsaved = true;
        }
        State::Idle(Idle { until: now })
    }

    /// An old image that had to be activated again is on trial by its record: confirm it first.
    fn back_on_old_image(&mut self, now: Duration, code: ErrorCode) -> State {
        if self.is_on_trial() {
            return State::Restoring(Restoring { code });
        }
        self.conclude(now, Reached::RolledBack, code)
    }

    /// Ends the update that a boot shows to have failed. What runs may itself be unconfirmed; then it
    /// has to prove itself, or could never be updated.
    fn fail_after_boot(&mut self, now: Duration, code: ErrorCode) -> State {
        let state = self.fail(now, code);
        if self.is_on_trial() { Testing::begin(self, now, None) } else { state }
    }

    /// Tells whether the running image is unconfirmed by its boot record.
    const fn is_on_trial(&self) -> bool {
        matches!(self.view.running_state, SlotState::New | SlotState::PendingVerify)
    }

    /// Takes note of an authentic answer.
    pub(super) fn note(&mut self, now: Duration, contact: Contact) {
        self.clock = Clock { unix_s: contact.unix_s, attested_at: Some(now) };
        self.failures = 0;
        self.failing_since = None;
        self.poll_wish = contact.poll_wish;
        match contact.decision {
            Decision::Install(offer) => self.offer = Some(offer),
            Decision::Nothing => self.offer = None,
            Decision::Refused { deployment, code } => {
                self.offer = None;
                if let Some(deployment) = deployment {
                    self.refuse(now, deployment, code);
                }
            }
            Decision::Unchanged => {}
        }
    }

    /// Reports, once, what the Director named and this device must not run. An update that has
    /// been activated goes on.
    fn refuse(&mut self, now: Duration, deployment: Deployment, code: ErrorCode) {
        if let Some(Update { phase: Phase::Fetching { .. }, .. }) = self.record.update {
            self.withdraw();
        }
        if self.record.update.is_none() && !self.record.has_settled(&deployment) {
            self.record.update = Some(Update::new(deployment));
            self.conclude(now, Reached::Failed, code);
        }
    }

    /// Ends the update: it failed before the image ran.
    pub(super) fn fail(&mut self, now: Duration, code: ErrorCode) -> State {
        self.conclude(now, Reached::Failed, code)
    }

    /// Ends the update with an outcome, which the journal keeps until the server knows it.
    pub(super) fn conclude(&mut self, now: Duration, reached: Reached, code: ErrorCode) -> State {
        self.report(now, reached, code);
        if let Some(update) = self.record.update.take() {
            // What the network did the server may offer again.
            if !code.is_network() {
                self.record.settled = Some(Settled::of(&update.deployment));
                self.record.put_off = None;
            }
            if is_fault_of_image(code) {
                self.record.count_failure(update.deployment.sha256);
            }
            self.unsaved = true;
        }
        self.next_poll(now)
    }

    /// D2: the image stays for good, and nothing older than it is taken any more. Not before: whatever
    /// then starts the old image, the agent or a boot loader, would start one below the floor.
    pub(super) fn raise_floor(&mut self) {
        let Some(update) = &self.record.update else { return };
        let stays = update.deployment.security_version;
        self.record.security_version = self.record.security_version.max(stays);
    }

    /// Gives the update up without an outcome: the server took its offer back.
    pub(super) fn withdraw(&mut self) {
        self.unsaved |= self.record.update.take().is_some();
    }

    /// Says that the deployment reached a state.
    pub(super) fn report(&mut self, now: Duration, reached: Reached, code: ErrorCode) {
        let Some(update) = &self.record.update else { return };
        let told = Told {
            running: self.firmware.sha256,
            attempt: update.attempt,
            measured_at: self.clock.estimate(now),
        };
        let mut report = update.deployment.report(reached, code, told);
        if reached == Reached::Verified {
            report.deferred = self.record.deferral_of(&update.deployment);
        }
        let (boot, number) = (self.boot, self.reports_made);
        self.reports_made = number.saturating_add(1);
        self.record.keep(UnsentReport { boot, number, report });
    }

    pub(super) fn acknowledge(&mut self, message: &MessageId) {
        let acknowledged = |unsent: &UnsentReport| unsent.message_id() == message.as_str();
        // Losing the word that a passing state is known costs a duplicate, not a write to flash.
        self.unsaved |= self.record.reports.iter().any(|r| acknowledged(r) && r.is_outcome());
        self.record.reports.retain(|unsent| !acknowledged(unsent));
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        if let Some(update) = &mut self.record.update {
            self.unsaved |= update.phase != phase;
            update.phase = phase;
        }
    }

    /// Notes how much of the image is in the slot. The journal learns it where there is no chunk list to
    /// tell after a reset.
    pub(super) fn set_stored(&mut self, stored: u32, offer: &Offer) {
        let phase = Phase::Fetching { stored };
        match &mut self.record.update {
            Some(update) if offer.chunks().is_some() => update.phase = phase,
            Some(_) | None => self.set_phase(phase),
        }
    }

    /// Returns the number drawn at this boot.
    pub(super) const fn boot(&self) -> u64 {
        self.boot
    }

    pub(super) fn set_unsaved(&mut self) {
        self.unsaved = true;
    }

    pub(super) fn take_unsaved(&mut self) -> bool {
        core::mem::take(&mut self.unsaved)
    }

    /// Waits for the next poll after one that was answered.
    pub(super) fn next_poll(&mut self, now: Duration) -> State {
        State::Idle(Idle { until: self.next_poll_at(now) })
    }

    pub(super) fn next_poll_at(&mut self, now: Duration) -> Duration {
        let random = self.jitter.draw();
        let wish = match self.record.interval_s {
            0 => self.poll_wish,
            seconds => Duration::from_secs(seconds.into()),
        };
        // Reports travel with a poll where nothing faster takes them.
        let wish =
            if self.record.reports.is_empty() { wish } else { wish.min(self.policy.poll_min) };
        now + self.policy.poll_interval(wish, random)
    }

    /// Waits after one more failure.
    pub(super) fn back_off(&mut self, now: Duration) -> State {
        State::Idle(Idle { until: self.back_off_until(now) })
    }

    pub(super) fn back_off_until(&mut self, now: Duration) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        now + self.policy.back_off(self.failures, self.jitter.draw())
    }

    /// Returns since when the server could not be reached, as uptime.
    pub(super) const fn failing_since(&self) -> Option<Duration> {
        self.failing_since
    }

    /// Waits as long as a busy server asks for: that is held against nobody.
    pub(super) fn wait_for_server(&mut self, now: Duration, wait: Duration) -> State {
        State::Idle(Idle { until: self.later_until(now, wait) })
    }

    pub(super) fn later_until(&mut self, now: Duration, wait: Duration) -> Duration {
        now + self.policy.later(wait, self.jitter.draw())
    }

    /// A power cut must not make a whole town poll in the same second.
    fn first_poll(&mut self, now: Duration) -> State {
        let permille = self.jitter.draw() % 1000;
        State::Idle(Idle { until: now + self.policy.poll_min / 1000 * permille })
    }

    /// Where the images of an update are that is about to be activated.
    pub(super) const fn slots(&self) -> Slots {
        Slots { new: self.view.target, old: self.view.running, old_sha256: self.firmware.sha256 }
    }

    /// Announces the activation in the journal.
    pub(super) fn activate(&mut self, offer: &Offer) -> State {
        let deployment = offer.deployment();
        let slots = self.slots();
        self.record.remember(self.firmware.sha256, self.firmware.release.clone());
        self.record.remember(deployment.sha256, deployment.release.clone());
        self.set_phase(Phase::Activating(slots));
        State::Activating(Activating { slot: slots.new, sha256: deployment.sha256 })
    }
}

/// Tells whether another device with the same image should expect the same: what the network or
/// the server did is not held against an image.
const fn is_fault_of_image(code: ErrorCode) -> bool {
    matches!(code.0, 400..600)
}

/// The time, by the device's best knowledge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    unix_s: u64,
    /// Uptime at which that was the time; `None` for a time that has certainly passed.
    attested_at: Option<Duration>,
}

impl Clock {
    pub(super) fn attested(self, now: Duration) -> Option<u64> {
        let since = now.saturating_sub(self.attested_at?);
        Some(self.unix_s.saturating_add(since.as_secs()))
    }

    pub(super) fn estimate(self, now: Duration) -> u64 {
        self.attested(now).unwrap_or_else(|| self.unix_s.saturating_add(now.as_secs()))
    }
}
