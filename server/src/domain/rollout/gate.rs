//! The gate between two phases: plain counting of what devices signed.
//!
//! Not here: statistics. A phase too small for a share to mean anything must be healthy to the last
//! device (D28).

use std::fmt;
use std::ops::AddAssign;

use waxwing_wire::report::State;

/// In a phase with fewer members, one device is more than the usual 10%: all must be healthy (D28).
pub const PHASE_MEMBERS_SMALL: u64 = 10;

/// What must be seen before the next phase starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gate {
    /// Share of a phase that must have ended healthy, in percent.
    pub healthy_percent: u8,
    /// Share of a phase that may fail before the rollout halts, in percent.
    pub failed_percent: u8,
}

impl Default for Gate {
    fn default() -> Self {
        Self { healthy_percent: 90, failed_percent: 10 }
    }
}

/// How many devices are in each state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts([u64; State::ALL.len()]);

impl Counts {
    /// Adds up the counts of several phases.
    pub fn sum(phases: &[Self]) -> Self {
        let mut total = Self::default();
        for phase in phases {
            total += phase;
        }
        total
    }

    /// Counts one more device in this state.
    pub fn add(&mut self, state: State) {
        self.add_many(state, 1);
    }

    /// Counts so many more devices in this state.
    pub fn add_many(&mut self, state: State, devices: u64) {
        *self.slot(state) += devices;
    }

    /// Counts one device less in this state.
    pub fn remove(&mut self, state: State) {
        let slot = self.slot(state);
        *slot = slot.saturating_sub(1);
    }

    /// Returns how many devices are in this state.
    pub fn of(&self, state: State) -> u64 {
        self.iter().find(|(other, _)| *other == state).map_or(0, |(_, count)| count)
    }

    /// Returns each state with its count, in order of life.
    pub fn iter(&self) -> impl Iterator<Item = (State, u64)> {
        State::ALL.into_iter().zip(self.0)
    }

    /// Returns how many devices are counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns how many devices have come to an end.
    pub fn ended(&self) -> u64 {
        self.iter().filter(|(state, _)| state.is_final()).map(|(_, count)| count).sum()
    }

    /// Returns how many devices ended badly.
    pub fn failed(&self) -> u64 {
        [State::Failed, State::RolledBack, State::TimedOut].map(|state| self.of(state)).iter().sum()
    }

    /// Returns how many devices take part: skipped ones do not.
    pub fn taking_part(&self) -> u64 {
        self.total() - self.of(State::Skipped)
    }

    fn slot(&mut self, state: State) -> &mut u64 {
        let mut states = State::ALL.into_iter();
        let place = states.position(|other| other == state);
        place.and_then(|place| self.0.get_mut(place)).expect("ALL holds every state")
    }
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(to, from)| *to += from);
    }
}

/// What the evidence says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The next phase may start.
    Advance,
    /// Everybody has come to an end.
    Finish,
    /// The rollout must stop.
    Halt(Reason),
    /// Too early to tell.
    Wait,
}

/// Why a rollout stopped itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reason {
    /// The phase, from 0.
    pub phase: usize,
    /// How many of its devices failed.
    pub failed: u64,
    /// How many might have.
    pub allowed: u64,
    /// How many take part.
    pub members: u64,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, failed, allowed, members } = self;
        let phase = phase + 1;
        write!(f, "phase {phase}: {failed} of {members} devices failed, at most {allowed} may")
    }
}

impl Gate {
    /// Judges a rollout by the counts of each phase that has started, members nothing is known of
    /// counted as waiting. `last` tells whether no phase is left to start.
    pub fn judge(self, phases: &[Counts], last: bool) -> Verdict {
        let halt = phases.iter().enumerate().find_map(|(n, counts)| self.reason_to_halt(n, counts));
        if let Some(reason) = halt {
            return Verdict::Halt(reason);
        }
        let Some(current) = phases.last() else { return Verdict::Wait };
        if last {
            let all_ended = phases.iter().all(|counts| counts.ended() == counts.total());
            return if all_ended { Verdict::Finish } else { Verdict::Wait };
        }
        let enough = current.of(State::Healthy) >= self.needed(current.taking_part());
        if enough { Verdict::Advance } else { Verdict::Wait }
    }

    fn reason_to_halt(self, phase: usize, counts: &Counts) -> Option<Reason> {
        let (members, failed) = (counts.taking_part(), counts.failed());
        let allowed = self.allowed(members);
        (failed > allowed).then_some(Reason { phase, failed, allowed, members })
    }

    /// Returns how many of `members` must end healthy.
    fn needed(self, members: u64) -> u64 {
        if members < PHASE_MEMBERS_SMALL {
            return members;
        }
        (members * u64::from(self.healthy_percent)).div_ceil(100)
    }

    /// Returns how many of `members` may fail: more than the gate allows, or so many that enough
    /// can never be healthy, is a reason to halt.
    fn allowed(self, members: u64) -> u64 {
        let by_failures = members * u64::from(self.failed_percent) / 100;
        by_failures.min(members - self.needed(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(State, u64)]) -> Counts {
        let mut counts = Counts::default();
        for (state, count) in all {
            counts.add_many(*state, *count);
        }
        counts
    }

    #[track_caller]
    fn check(all: &[(State, u64)], verdict: &str) {
        let found = match Gate::default().judge(&[counts(all)], false) {
            Verdict::Halt(reason) => reason.to_string(),
            other @ (Verdict::Advance | Verdict::Finish | Verdict::Wait) => format!("{other:?}"),
        };
        assert_eq!(found, verdict);
    }

    #[test]
    fn a_phase_waits_until_enough_are_healthy() {
        use State::{Booted, Confirmed, Healthy, Waiting};
        check(&[(Healthy, 17), (Waiting, 3)], "Wait");
        check(&[(Healthy, 17), (Confirmed, 2), (Booted, 1)], "Wait");
        check(&[(Healthy, 18), (Waiting, 2)], "Advance");
    }

    #[test]
    fn failures_beyond_the_gate_halt_at_once() {
        use State::{Failed, RolledBack, TimedOut, Waiting};
        check(&[(Failed, 1), (RolledBack, 1), (Waiting, 18)], "Wait");
        check(
            &[(Failed, 1), (RolledBack, 1), (TimedOut, 1), (Waiting, 17)],
            "phase 1: 3 of 20 devices failed, at most 2 may",
        );
    }

    #[test]
    fn in_a_small_phase_every_device_must_be_healthy() {
        use State::{Failed, Healthy, Waiting};
        check(&[(Healthy, 8), (Waiting, 1)], "Wait");
        check(&[(Healthy, 9)], "Advance");
        check(&[(Healthy, 8), (Failed, 1)], "phase 1: 1 of 9 devices failed, at most 0 may");
        check(&[(Failed, 1), (Healthy, 9)], "Advance");
    }

    #[test]
    fn skipped_devices_do_not_take_part() {
        use State::{Failed, Healthy, Skipped};
        check(&[(Skipped, 5)], "Advance");
        check(&[(Skipped, 5), (Healthy, 1)], "Advance");
        check(
            &[(Skipped, 95), (Healthy, 4), (Failed, 1)],
            "phase 1: 1 of 5 devices failed, at most 0 may",
        );
    }

    #[test]
    fn a_rollout_halts_when_enough_can_never_be_healthy() {
        let strict = Gate { healthy_percent: 100, failed_percent: 50 };
        let verdict = strict.judge(&[counts(&[(State::Failed, 1), (State::Waiting, 19)])], false);
        assert!(matches!(verdict, Verdict::Halt(Reason { allowed: 0, .. })), "{verdict:?}");
    }

    #[test]
    fn a_late_failure_in_an_earlier_phase_halts_too() {
        let first = counts(&[(State::Healthy, 1), (State::RolledBack, 1)]);
        let second = counts(&[(State::Healthy, 50)]);
        let verdict = Gate::default().judge(&[first, second], false);
        assert!(matches!(verdict, Verdict::Halt(Reason { phase: 0, .. })), "{verdict:?}");
    }

    #[test]
    fn the_last_phase_finishes_only_when_everybody_has_ended() {
        let gate = Gate::default();
        let straggler = counts(&[(State::Healthy, 99), (State::Downloading, 1)]);
        assert_eq!(gate.judge(&[straggler], true), Verdict::Wait);
        let all = counts(&[(State::Healthy, 98), (State::Failed, 1), (State::Skipped, 1)]);
        assert_eq!(gate.judge(&[all], true), Verdict::Finish);
    }
}
