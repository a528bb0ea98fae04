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
    /// So many devices of a phase failed that it cannot be passed any more.
    Hopeless(Hopeless),
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
    /// How many tried the image, or failed before.
    pub tried: u64,
    /// The largest share that might have failed.
    pub allowed: Permille,
}

/// A phase that could not be passed even if everybody else in it became healthy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hopeless {
    /// The phase, from 0.
    pub phase: usize,
    /// How many devices failed.
    pub failed: u64,
    /// How many take part in it.
    pub members: u64,
    /// The share that must certainly become healthy.
    pub healthy: Permille,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(failures) => failures.fmt(f),
            Self::Hopeless(hopeless) => hopeless.fmt(f),
            Self::Health(worse) => worse.fmt(f),
        }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, failed, tried, allowed } = *self;
        match phase {
            Some(phase) => write!(f, "phase {}: ", phase + 1)?,
            None => f.write_str("all phases together: ")?,
        }
        if allowed == Permille::NOTHING {
            return write!(f, "{failed} of {tried} devices failed, and none may of so few");
        }
        write!(f, "{failed} of {tried} devices failed, more than {allowed} certainly do")
    }
}

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, failed, members, healthy } = *self;
        write!(
            f,
            "phase {}: {failed} of its {members} devices failed, the others are too few to show that \
             {healthy} certainly become healthy",
            phase + 1
        )
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
        if let Some(reason) = self.reason_to_halt(Some(phase), evidence.tried(), bounds) {
            return Verdict::Halt(reason);
        }
        // Nobody is waited for who will not come.
        let is_over = evidence.counts.ended() == evidence.counts.total();
        let enough = is_over || ended.well >= u64::from(self.sample_min);
        let good = evidence.due().stay_below(self.unhealthy_max(), ERROR_PASS);
        if enough && good { Verdict::Pass } else { Verdict::Wait }
    }

    /// Returns why devices that tried the image and ended like this are a reason to halt, if they are.
    pub fn reason_to_halt(
        &self,
        phase: Option<usize>,
        tried: Outcomes,
        bounds: usize,
    ) -> Option<Reason> {
        let error = Error::one_of(ERROR_HALT, bounds);
        let halts = tried.exceed(self.failures_max().share(), error);
        halts.then(|| Reason::Failures(self.failures(phase, tried)))
    }

    /// Returns why a phase cannot be passed any more, if it cannot: not even by everybody else in it.
    pub fn reason_to_despair(&self, phase: usize, evidence: &Evidence) -> Option<Reason> {
        let (failed, members) = (evidence.outcomes().broken, evidence.taking_part());
        let at_best = Outcomes { broken: failed, well: members.saturating_sub(failed) };
        let can_pass = at_best.stay_below(self.unhealthy_max(), ERROR_PASS);
        let healthy = self.healthy_permille;
        (failed > 0 && !can_pass).then_some(Reason::Hopeless(Hopeless {
            phase,
            failed,
            members,
            healthy,
        }))
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

    fn failures(&self, phase: Option<usize>, tried: Outcomes) -> Failures {
        let allowed = self.failures_max();
        Failures { phase, failed: tried.broken, tried: tried.total(), allowed }
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
    fn devices_that_are_trying_the_image_speak_for_it() {
        use State::{Activated, Booted, Confirmed, Failed, Offered, RolledBack};
        let broken = [(Failed, 1), (RolledBack, 2), (Offered, 997)];
        assert!(matches!(Gate::default().judge(0, &evidence(&broken), 1), Verdict::Halt(_)));
        for trying in [Activated, Booted, Confirmed] {
            let many = [(RolledBack, 3), (trying, 97), (Offered, 900)];
            assert_eq!(Gate::default().judge(0, &evidence(&many), 1), Verdict::Wait, "{trying}");
        }
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
    fn a_minimum_sample_of_more_than_there_are_is_not_waited_for() {
        let gate = Gate { sample_min: 500, ..Gate::default() };
        let mut all = vec![(State::Healthy, 300), (State::Skipped, 400)];
        assert_eq!(gate.judge(0, &evidence(&all), 1), Verdict::Pass);
        all.push((State::Downloading, 1));
        assert_eq!(gate.judge(0, &evidence(&all), 1), Verdict::Wait);
    }

    #[test]
    fn a_phase_is_hopeless_when_everybody_else_could_not_pass_it() {
        let despairs = |all: &[(State, u64)]| {
            let reason = Gate::default().reason_to_despair(1, &evidence(all));
            reason.map(|reason| reason.to_string())
        };
        assert_eq!(despairs(&[(State::Failed, 1), (State::Waiting, 176)]), None);
        assert_eq!(despairs(&[(State::Waiting, 20)]), None);
        assert_eq!(
            despairs(&[(State::Failed, 1), (State::Healthy, 100), (State::Waiting, 75)]).unwrap(),
            "phase 2: 1 of its 176 devices failed, the others are too few to show that 95.0% \
             certainly become healthy"
        );
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
