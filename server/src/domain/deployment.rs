//! A deployment: one device's part in one rollout. It moves forward only, and only by what the
//! device signed.
//!
//! ```text
//! waiting -> offered -> downloading -> verified -> activated -> booted -> confirmed -> healthy
//!      \________________ any of these ______________________________/
//!                             \-> failed | rolled_back | skipped
//! ```
//!
//! Reports may come late, twice or out of order: steps may be jumped over, never taken back.

use waxwing_wire::ErrorCode;
use waxwing_wire::report::{Report, State};

use super::Release;

/// One device's part in one rollout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deployment {
    /// How far it is.
    pub state: State,
    /// Why it ended badly, if it did.
    pub code: ErrorCode,
    /// Which try it was.
    pub attempt: u32,
    /// When the server learned so, in Unix milliseconds.
    pub changed_at: u64,
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
        Self { state: State::Waiting, code: ErrorCode::NONE, attempt: 0, changed_at: 0 }
    }

    /// Begins a deployment whose release the Director named to the device.
    pub const fn offered(now_ms: u64) -> Self {
        Self { state: State::Offered, changed_at: now_ms, ..Self::waiting() }
    }

    /// Ends a deployment for which there is nothing to do.
    pub const fn skipped(now_ms: u64) -> Self {
        Self { state: State::Skipped, changed_at: now_ms, ..Self::waiting() }
    }

    /// Takes in what the device said. `release` is what the rollout brings.
    pub fn on_report(&self, report: &Report, release: &Release, now_ms: u64) -> Step {
        if let Some(contradiction) = contradiction(report, release) {
            return Step::Contradicts(contradiction);
        }
        let from = if self.is_skipped_by_server() { State::Waiting } else { self.state };
        match (from.is_final(), report.state.is_final()) {
            (true, true) if from != report.state => Step::Contradicts(Contradiction::Ended),
            (true, _) => Step::Late,
            (false, false) if report.state <= from => Step::Late,
            (false, _) => Step::Applied(Self {
                state: report.state,
                code: report.code,
                attempt: report.attempt,
                changed_at: now_ms,
            }),
        }
    }

    /// Tells whether the server guessed that there is nothing to do. The device knows better: its
    /// reports may still be on their way.
    pub const fn is_skipped_by_server(&self) -> bool {
        matches!(self.state, State::Skipped) && self.attempt == 0
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
    if report.release != release.version {
        return Some(Contradiction::Release);
    }
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
mod tests {
    use waxwing_wire::{Digest, RolloutId};

    use super::*;
    use crate::domain::release::tests::release;

    fn report(state: State) -> Report {
        Report {
            rollout: RolloutId::parse("r-1").unwrap(),
            release: release("1.1.0").version,
            state,
            code: ErrorCode::NONE,
            fw_sha256: release("1.1.0").sha256,
            attempt: 1,
            measured_at: 0,
        }
    }

    fn after(states: &[State]) -> (Deployment, Vec<Step>) {
        let mut deployment = Deployment::waiting();
        let mut steps = Vec::new();
        for state in states {
            let step = deployment.on_report(&report(*state), &release("1.1.0"), 7);
            if let Step::Applied(next) = step {
                deployment = next;
            }
            steps.push(step);
        }
        (deployment, steps)
    }

    #[test]
    fn a_deployment_never_goes_backwards() {
        let said = State::ALL;
        for first in said {
            for second in said {
                let (once, _) = after(&[first]);
                let (twice, _) = after(&[first, second]);
                assert!(twice.state >= once.state || twice.state.is_final(), "{first} {second}");
                assert!(!once.state.is_final() || twice == once, "{first} then {second}");
            }
        }
    }

    #[test]
    fn reports_out_of_order_are_late_and_lost_ones_are_jumped_over() {
        let (end, steps) = after(&[State::Healthy, State::Downloading, State::Confirmed]);
        assert_eq!(end.state, State::Healthy);
        assert_eq!(steps[1..], [Step::Late, Step::Late]);
    }

    #[test]
    fn another_ending_contradicts() {
        let (end, steps) = after(&[State::RolledBack, State::Healthy, State::RolledBack]);
        assert_eq!(end.state, State::RolledBack);
        assert_eq!(steps[1..], [Step::Contradicts(Contradiction::Ended), Step::Late]);
    }

    #[test]
    fn the_word_of_the_device_overrules_a_skip_by_the_server() {
        let step = Deployment::skipped(3).on_report(&report(State::Booted), &release("1.1.0"), 7);
        assert!(matches!(step, Step::Applied(Deployment { state: State::Booted, .. })), "{step:?}");
        let (end, steps) = after(&[State::Skipped, State::Booted]);
        assert_eq!((end.state, steps[1]), (State::Skipped, Step::Late));
    }

    #[test]
    fn a_device_that_runs_another_image_is_not_healthy() {
        let mut lie = report(State::Healthy);
        lie.fw_sha256 = Digest([9; 32]);
        let step = Deployment::waiting().on_report(&lie, &release("1.1.0"), 7);
        assert_eq!(step, Step::Contradicts(Contradiction::Image));
    }

    #[test]
    fn another_release_and_states_of_the_server_contradict() {
        let step = Deployment::waiting().on_report(&report(State::Healthy), &release("2.0.0"), 7);
        assert_eq!(step, Step::Contradicts(Contradiction::Release));
        for state in [State::Waiting, State::Offered, State::TimedOut] {
            let step = Deployment::waiting().on_report(&report(state), &release("1.1.0"), 7);
            assert_eq!(step, Step::Contradicts(Contradiction::State), "{state}");
        }
    }
}
