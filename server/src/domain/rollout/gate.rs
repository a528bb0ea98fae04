//! The gate between two phases: what the evidence allows.
//!
//! Not here: what is done about it.

use std::fmt;

use super::bounds::{Error, Outcomes};
use super::evidence::Evidence;
use super::health::Worse;
use super::permille::Permille;
use super::plan::{ERROR_HALT, ERROR_PASS, Gate};

/// What the evidence of one phase says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Enough devices will certainly become healthy.
    Pass,
    /// The rollout must stop.
    Halt(Reason),
    /// Too early to tell.
    Wait,
}

/// Why a rollout stopped itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// Too many devices failed.
    Failures(Failures),
    /// More devices ail with the image than without it.
    Health(Worse),
}

/// Devices that failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Failures {
    /// The phase, from 0; `None`: all together.
    pub phase: Option<usize>,
    /// How many devices failed.
    pub failed: u64,
    /// How many came to an end.
    pub ended: u64,
    /// The largest share that might have failed.
    pub allowed: Permille,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(failures) => failures.fmt(f),
            Self::Health(worse) => worse.fmt(f),
        }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, failed, ended, allowed } = *self;
        match phase {
            Some(phase) => write!(f, "phase {}: ", phase + 1)?,
            None => f.write_str("all phases together: ")?,
        }
        if allowed == Permille::NOTHING {
            return write!(f, "{failed} of {ended} devices failed, and none may of so few");
        }
        let (whole, tenth) = (allowed.get() / 10, allowed.get() % 10);
        write!(f, "{failed} of {ended} devices failed, more than {whole}.{tenth}% certainly do")
    }
}

impl Gate {
    /// Judges a phase. `bounds` is how many bounds are looked at in the whole rollout: they share the
    /// risk that any of them is wrong.
    pub fn judge(&self, phase: usize, evidence: &Evidence, bounds: usize) -> Verdict {
        if self.is_small(evidence.taking_part()) {
            return self.judge_small(phase, evidence);
        }
        let ended = evidence.outcomes();
        if let Some(reason) = self.reason_to_halt(Some(phase), ended, bounds) {
            return Verdict::Halt(reason);
        }
        let enough = ended.well >= u64::from(self.sample_min);
        let good = evidence.due().stay_below(self.unhealthy_max(), ERROR_PASS);
        if enough && good { Verdict::Pass } else { Verdict::Wait }
    }

    /// Returns why devices that ended like this are a reason to halt, if they are.
    pub fn reason_to_halt(
        &self,
        phase: Option<usize>,
        ended: Outcomes,
        bounds: usize,
    ) -> Option<Reason> {
        let error = Error::one_of(ERROR_HALT, bounds);
        let halts = ended.exceed(self.failures_max().share(), error);
        halts.then(|| Reason::Failures(self.failures(phase, ended)))
    }

    /// Every device of a phase too small for the bound must become healthy (D28).
    fn judge_small(&self, phase: usize, evidence: &Evidence) -> Verdict {
        let ended = evidence.outcomes();
        if ended.broken > 0 {
            let failures = self.failures(Some(phase), ended);
            let none = Failures { allowed: Permille::NOTHING, ..failures };
            return Verdict::Halt(Reason::Failures(none));
        }
        // Who is excused proves nothing; if everybody is, nothing is proven.
        let all = ended.well == evidence.taking_part();
        let proven = ended.well > 0 || evidence.unreachable.excused == 0;
        if all && proven { Verdict::Pass } else { Verdict::Wait }
    }

    fn failures(&self, phase: Option<usize>, ended: Outcomes) -> Failures {
        let allowed = self.failures_max();
        Failures { phase, failed: ended.broken, ended: ended.total(), allowed }
    }
}

#[cfg(test)]
mod tests {
    use waxwing_wire::report::State;

    use super::*;
    use crate::domain::rollout::contact::Unreachable;

    fn evidence(all: &[(State, u64)]) -> Evidence {
        let mut evidence = Evidence::default();
        for (state, count) in all {
            evidence.counts.add_many(*state, *count);
        }
        evidence
    }

    #[track_caller]
    fn check(all: &[(State, u64)], verdict: &str) {
        let found = match Gate::default().judge(0, &evidence(all), 1) {
            Verdict::Halt(reason) => reason.to_string(),
            other @ (Verdict::Pass | Verdict::Wait) => format!("{other:?}"),
        };
        assert_eq!(found, verdict);
    }

    #[test]
    fn a_phase_waits_until_enough_are_certainly_healthy() {
        use State::{Booted, Confirmed, Healthy, Waiting};
        check(&[(Healthy, 115), (Waiting, 885)], "Wait");
        check(&[(Healthy, 115), (Confirmed, 600), (Booted, 285)], "Wait");
        check(&[(Healthy, 116), (Waiting, 884)], "Pass");
    }

    #[test]
    fn who_is_overdue_holds_a_phase_up_and_does_not_halt_it() {
        let mut late =
            evidence(&[(State::Healthy, 116), (State::Booted, 50), (State::Waiting, 800)]);
        late.overdue = 50;
        assert_eq!(Gate::default().judge(0, &late, 1), Verdict::Wait);
    }

    #[test]
    fn failures_that_prove_too_large_a_share_halt_at_once() {
        use State::{Failed, Healthy, RolledBack, TimedOut, Waiting};
        check(&[(Failed, 1), (Waiting, 999)], "Wait");
        check(
            &[(Failed, 1), (RolledBack, 1), (TimedOut, 1), (Waiting, 997)],
            "phase 1: 3 of 3 devices failed, more than 2.0% certainly do",
        );
        check(&[(Failed, 4), (Healthy, 96), (Waiting, 900)], "Wait");
        check(
            &[(Failed, 10), (Healthy, 90), (Waiting, 900)],
            "phase 1: 10 of 100 devices failed, more than 2.0% certainly do",
        );
    }

    #[test]
    fn in_a_small_phase_every_device_must_be_healthy() {
        use State::{Failed, Healthy, Skipped, Waiting};
        check(&[(Healthy, 115)], "Pass");
        check(&[(Healthy, 114), (Waiting, 1)], "Wait");
        let halt = "phase 1: 1 of 20 devices failed, and none may of so few";
        check(&[(Healthy, 19), (Failed, 1)], halt);
        check(&[(Healthy, 5), (Skipped, 900)], "Pass");
        check(&[(Skipped, 5)], "Pass");
    }

    #[test]
    fn who_is_excused_neither_halts_nor_passes_a_small_phase() {
        use State::{Healthy, RolledBack, Waiting};
        let judge = |all: &[(State, u64)], doubtful, excused| {
            let mut evidence = evidence(all);
            evidence.unreachable = Unreachable { doubtful, excused };
            Gate::default().judge(0, &evidence, 1)
        };
        assert_eq!(judge(&[(Healthy, 9), (RolledBack, 1)], 0, 1), Verdict::Pass);
        assert_eq!(judge(&[(Healthy, 9), (RolledBack, 1)], 1, 0), Verdict::Wait);
        assert_eq!(judge(&[(Healthy, 8), (RolledBack, 1), (Waiting, 1)], 0, 1), Verdict::Wait);
        assert_eq!(judge(&[(RolledBack, 10)], 0, 10), Verdict::Wait, "nothing is proven");
        assert!(matches!(judge(&[(Healthy, 8), (RolledBack, 2)], 0, 1), Verdict::Halt(_)));
    }

    #[test]
    fn who_is_doubtful_holds_a_phase_up_and_does_not_halt_it() {
        let mut evidence =
            evidence(&[(State::Healthy, 116), (State::RolledBack, 20), (State::Waiting, 800)]);
        assert!(matches!(Gate::default().judge(0, &evidence, 1), Verdict::Halt(_)));
        evidence.unreachable.doubtful = 20;
        assert_eq!(Gate::default().judge(0, &evidence, 1), Verdict::Wait);
        evidence.unreachable = Unreachable { doubtful: 0, excused: 20 };
        assert_eq!(Gate::default().judge(0, &evidence, 1), Verdict::Pass);
    }

    #[test]
    fn a_minimum_sample_is_waited_for() {
        let gate = Gate { sample_min: 500, ..Gate::default() };
        let healthy = |count| evidence(&[(State::Healthy, count), (State::Waiting, 1000)]);
        assert_eq!(gate.judge(0, &healthy(499), 1), Verdict::Wait);
        assert_eq!(gate.judge(0, &healthy(500), 1), Verdict::Pass);
    }

    #[test]
    fn a_gate_that_cannot_be_passed_any_more_halts() {
        let whole = Permille::new(1000).unwrap();
        let strict = Gate { healthy_permille: whole, failed_permille: whole, ..Gate::default() };
        let one = evidence(&[(State::Failed, 1), (State::Healthy, 900), (State::Waiting, 99)]);
        assert!(matches!(strict.judge(0, &one, 1), Verdict::Halt(_)));
    }

    #[test]
    fn bounds_that_share_their_error_ask_for_more() {
        let few = evidence(&[(State::Failed, 2), (State::Waiting, 998)]);
        assert!(matches!(Gate::default().judge(0, &few, 1), Verdict::Halt(_)));
        assert_eq!(Gate::default().judge(0, &few, 16), Verdict::Wait);
    }
}
