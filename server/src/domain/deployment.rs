//! A deployment: one device's part in one rollout. It moves forward by what the device signed; the
//! server itself offers, and gives up on who is silent.
//!
//! ```text
//! waiting -> offered -> downloading -> verified -> activated -> booted -> confirmed -> healthy
//!   ^  \________________ any of these ______________________________/
//!   \____ put off by a user, or failed for the network's sake: not before a time
//!                             \-> failed | rolled_back | skipped | timed_out
//! ```
//!
//! Reports may come late, twice or out of order: steps may be jumped over, never taken back. What the
//! server guessed, that there is nothing to do, that nothing is to be expected or that the device went
//! back after it was healthy, the word of the device overrules.

use std::cmp::Ordering;

use waxwing_wire::ErrorCode;
use waxwing_wire::report::{Report, State};

use super::rollout::{Plan, Route};
use super::{Release, Sighting};

/// One device's part in one rollout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deployment {
    /// How far it is.
    pub state: State,
    /// Why it ended badly, or is to be tried again, if it is.
    pub code: ErrorCode,
    /// Which try of the device it was.
    pub attempt: u32,
    /// How often the server offered the release, without those times that a user put off.
    pub tries: u32,
    /// How often the device's user put it off.
    pub deferred: u8,
    /// Before when the release is not offered again, in Unix milliseconds; 0: at any time.
    pub not_before: u64,
    /// Which release of the rollout's route it is about, from 0.
    pub hop: u8,
    /// The phase in which it began, and in which it counts for ever, from 0.
    pub phase: u8,
    /// When the server learned so, in Unix milliseconds.
    pub changed_at: u64,
    /// When the server last offered the release or took the offer back, in Unix milliseconds: part of
    /// the time of decisions (D3).
    pub decided_at: u64,
}

/// What a report does to a deployment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// It moves there.
    Applied(Deployment),
    /// Nothing: the report cannot be true of this deployment.
    Contradicts(Contradiction),
    /// Nothing: the deployment is already there or further.
    Late,
}

/// Why a report cannot be true.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Contradiction {
    /// The deployment has already ended in another way.
    Ended,
    /// The device takes part in another rollout.
    Elsewhere,
    /// The device claims to run the release, and another image.
    Image,
    /// The report names another release than the rollout.
    Release,
    /// Only the server puts a deployment into this state.
    State,
}

impl Deployment {
    /// Begins a deployment of which nothing has been heard.
    pub const fn waiting() -> Self {
        Self {
            state: State::Waiting,
            code: ErrorCode::NONE,
            attempt: 0,
            tries: 0,
            deferred: 0,
            not_before: 0,
            hop: 0,
            phase: 0,
            changed_at: 0,
            decided_at: 0,
        }
    }

    /// Begins a deployment in a phase.
    pub const fn in_phase(phase: u8) -> Self {
        Self { phase, ..Self::waiting() }
    }

    /// The Director is going to name the release to the device.
    #[must_use]
    pub const fn offered(self, hop: u8, now_ms: u64) -> Self {
        let before = if hop == self.hop { self } else { Self::in_phase(self.phase) };
        let tries = before.tries.saturating_add(1);
        Self { state: State::Offered, tries, hop, ..before.anew().decided(now_ms) }
    }

    /// Ends a deployment for which there is nothing to do.
    #[must_use]
    pub const fn skipped(self, now_ms: u64) -> Self {
        Self { state: State::Skipped, ..self.anew().decided(now_ms) }
    }

    /// Takes the offer back.
    #[must_use]
    pub const fn withdrawn(self, now_ms: u64) -> Self {
        self.anew().decided(now_ms)
    }

    /// Forgets what the device said.
    const fn anew(self) -> Self {
        let Self { tries, deferred, hop, phase, .. } = self;
        Self { tries, deferred, hop, ..Self::in_phase(phase) }
    }

    const fn decided(self, now_ms: u64) -> Self {
        Self { changed_at: now_ms, decided_at: now_ms, ..self }
    }

    /// Gives up on a device that is silent.
    #[must_use]
    pub const fn timed_out(self, now_ms: u64) -> Self {
        Self { state: State::TimedOut, changed_at: now_ms, ..self }
    }

    /// Tells whether a poll contradicts the device's word that it is healthy with the release: it went back,
    /// and told nobody.
    pub fn is_contradicted_by(&self, poll: &Sighting, release: &Release) -> bool {
        let runs_another = poll.running.sha256 != release.sha256;
        self.state == State::Healthy && poll.at > self.changed_at && runs_another
    }

    /// Ends a deployment whose device is not healthy with the release any more. The server guesses it
    /// from polls, which are not signed: the word of the device overrules it.
    #[must_use]
    pub const fn gone_back(self, now_ms: u64) -> Self {
        Self { code: ErrorCode::GONE_BACK, ..self.timed_out(now_ms) }
    }

    /// Takes in what the device said. `route` is what the rollout brings.
    pub fn on_report(&self, report: &Report, plan: &Plan, route: &Route<'_>, now_ms: u64) -> Step {
        let Some((hop, release)) = route.find(&report.release) else {
            return Step::Contradicts(Contradiction::Release);
        };
        if let Some(contradiction) = contradiction(report, release) {
            return Step::Contradicts(contradiction);
        }
        let known = self.known_on(hop);
        if known.is_some_and(|known| known <= State::Verified)
            && let Some(put_off) = self.put_off(report, hop, plan, now_ms)
        {
            return Step::Applied(put_off);
        }
        match (known, report.state.is_final()) {
            (None, _) => Step::Late,
            (Some(from), true) if from.is_final() && from != report.state => {
                Step::Contradicts(Contradiction::Ended)
            }
            (Some(from), _) if from.is_final() => Step::Late,
            (Some(from), false) if report.state <= from => Step::Late,
            (Some(_), _) => Step::Applied(self.moved(report, hop, (plan, route), now_ms)),
        }
    }

    /// Returns what becomes of this deployment once the device is so far in another one: it is never in
    /// two. A switch counts wherever it happened, so the offer here is taken back; `None` if the device
    /// cannot be so far there.
    pub const fn beside(&self, other: &Self, now_ms: u64) -> Option<Self> {
        if !self.is_in_flight() || !other.is_in_flight() {
            return Some(*self);
        }
        let switched_there = other.is_past_recall() && !self.is_past_recall();
        if switched_there { Some(self.withdrawn(now_ms)) } else { None }
    }

    /// Returns what the device has said about a hop; `None` if it is past it.
    fn known_on(&self, hop: u8) -> Option<State> {
        match hop.cmp(&self.hop) {
            Ordering::Less => None,
            Ordering::Equal if self.is_guess() => Some(State::Waiting),
            Ordering::Equal => Some(self.state),
            Ordering::Greater => Some(State::Waiting),
        }
    }

    /// Returns what becomes of it if the report says that the user puts it off, and that may be. The place
    /// is another's meanwhile, and the try does not count.
    fn put_off(&self, report: &Report, hop: u8, plan: &Plan, now_ms: u64) -> Option<Self> {
        let deferral = report.deferred.filter(|_| report.state == State::Verified)?;
        let not_before = plan.put_off_until(self, deferral, now_ms)?;
        let tries = if self.is_in_flight() { self.tries.saturating_sub(1) } else { self.tries };
        let waiting = Self::in_phase(self.phase).decided(now_ms);
        Some(Self { tries, deferred: deferral.times, not_before, hop, ..waiting })
    }

    fn moved(
        &self,
        report: &Report,
        hop: u8,
        (plan, route): (&Plan, &Route<'_>),
        now_ms: u64,
    ) -> Self {
        if report.state == State::Healthy && !route.is_end(hop) {
            return Self { hop: hop + 1, ..Self::in_phase(self.phase).decided(now_ms) };
        }
        let decided_at = if self.is_in_flight() { self.decided_at } else { now_ms };
        // Who begins without an offer that we know of tries all the same.
        let tries = self.tries + u32::from(self.state == State::Waiting);
        let is_fetching = !self.is_past_recall() && report.state == State::Failed;
        let again = plan.tries_again_at(tries, report.code, now_ms).filter(|_| is_fetching);
        if let Some(not_before) = again {
            let waiting = Self { tries, hop, ..*self }.anew().decided(now_ms);
            return Self { code: report.code, not_before, ..waiting };
        }
        Self {
            state: report.state,
            code: report.code,
            attempt: report.attempt,
            tries,
            deferred: self.deferred,
            not_before: 0,
            hop,
            phase: self.phase,
            changed_at: now_ms,
            decided_at,
        }
    }

    /// Tells whether the server guessed how it ended. The device knows better: its reports may still
    /// be on their way.
    pub const fn is_guess(&self) -> bool {
        match self.state {
            State::Skipped => self.attempt == 0,
            State::TimedOut => true,
            State::Waiting
            | State::Offered
            | State::Downloading
            | State::Verified
            | State::Activated
            | State::Booted
            | State::Confirmed
            | State::Healthy
            | State::Failed
            | State::RolledBack => false,
        }
    }

    /// Tells whether the device was offered the release and has not come to an end.
    pub const fn is_in_flight(&self) -> bool {
        match self.state {
            State::Offered
            | State::Downloading
            | State::Verified
            | State::Activated
            | State::Booted
            | State::Confirmed => true,
            State::Waiting
            | State::Healthy
            | State::Failed
            | State::RolledBack
            | State::TimedOut
            | State::Skipped => false,
        }
    }

    /// Tells whether the device may run the new image now: it switched, and is not known to have gone
    /// back.
    pub const fn keeps_image(&self) -> bool {
        match self.state {
            State::Activated
            | State::Booted
            | State::Confirmed
            | State::Healthy
            // Nobody knows what it runs; if it comes back, it may be that.
            | State::TimedOut => true,
            State::Waiting
            | State::Offered
            | State::Downloading
            | State::Verified
            | State::Failed
            | State::RolledBack
            | State::Skipped => false,
        }
    }

    /// Tells whether the device has switched to the new image, or tried to: from here on a halt
    /// cannot stop it (D17).
    pub const fn is_past_recall(&self) -> bool {
        match self.state {
            State::Waiting
            | State::Offered
            | State::Downloading
            | State::Verified
            | State::Failed
            | State::TimedOut
            | State::Skipped => false,
            State::Activated
            | State::Booted
            | State::Confirmed
            | State::Healthy
            | State::RolledBack => true,
        }
    }
}

/// Tells what about a report cannot be true, whatever came before it.
fn contradiction(report: &Report, release: &Release) -> Option<Contradiction> {
    match report.state {
        State::Waiting | State::Offered | State::TimedOut => Some(Contradiction::State),
        State::Booted | State::Confirmed | State::Healthy => {
            (report.fw_sha256 != release.sha256).then_some(Contradiction::Image)
        }
        State::Downloading
        | State::Verified
        | State::Activated
        | State::Failed
        | State::RolledBack
        | State::Skipped => None,
    }
}

#[cfg(test)]
mod tests;
