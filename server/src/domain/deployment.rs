//! A deployment: one device's part in one rollout. It moves forward by what the device signed; the
//! server itself offers, and gives up on who is silent.
//!
//! ```text
//! waiting -> offered -> downloading -> verified -> activated -> booted -> confirmed -> healthy
//!      \________________ any of these ______________________________/
//!                             \-> failed | rolled_back | skipped | timed_out
//! ```
//!
//! Reports may come late, twice or out of order: steps may be jumped over, never taken back. What the
//! server guessed, that there is nothing to do or that nothing is to be expected, the word of the
//! device overrules.

use std::cmp::Ordering;

use waxwing_wire::ErrorCode;
use waxwing_wire::report::{Report, State};

use super::Release;
use super::rollout::Route;

/// One device's part in one rollout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deployment {
    /// How far it is.
    pub state: State,
    /// Why it ended badly, if it did.
    pub code: ErrorCode,
    /// Which try of the device it was.
    pub attempt: u32,
    /// How often the server offered the release.
    pub tries: u32,
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
        let tries = if hop == self.hop { self.tries.saturating_add(1) } else { 1 };
        Self { state: State::Offered, tries, hop, ..self.anew().decided(now_ms) }
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
        Self { tries: self.tries, hop: self.hop, ..Self::in_phase(self.phase) }
    }

    const fn decided(self, now_ms: u64) -> Self {
        Self { changed_at: now_ms, decided_at: now_ms, ..self }
    }

    /// Gives up on a device that is silent.
    #[must_use]
    pub const fn timed_out(self, now_ms: u64) -> Self {
        Self { state: State::TimedOut, changed_at: now_ms, ..self }
    }

    /// Takes in what the device said. `route` is what the rollout brings.
    pub fn on_report(&self, report: &Report, route: &Route<'_>, now_ms: u64) -> Step {
        let Some((hop, release)) = route.find(&report.release) else {
            return Step::Contradicts(Contradiction::Release);
        };
        if let Some(contradiction) = contradiction(report, release) {
            return Step::Contradicts(contradiction);
        }
        match (self.known_on(hop), report.state.is_final()) {
            (None, _) => Step::Late,
            (Some(from), true) if from.is_final() && from != report.state => {
                Step::Contradicts(Contradiction::Ended)
            }
            (Some(from), _) if from.is_final() => Step::Late,
            (Some(from), false) if report.state <= from => Step::Late,
            (Some(_), _) => Step::Applied(self.moved(report, hop, route, now_ms)),
        }
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

    fn moved(&self, report: &Report, hop: u8, route: &Route<'_>, now_ms: u64) -> Self {
        if report.state == State::Healthy && !route.is_end(hop) {
            return Self { hop: hop + 1, ..Self::in_phase(self.phase).decided(now_ms) };
        }
        let decided_at = if self.is_in_flight() { self.decided_at } else { now_ms };
        Self {
            state: report.state,
            code: report.code,
            attempt: report.attempt,
            tries: self.tries,
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
mod tests {
    use std::sync::Arc;

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
            let step =
                deployment.on_report(&report(*state), &Route::to(&Arc::new(release("1.1.0"))), 7);
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
        let step = Deployment::waiting().skipped(3).on_report(
            &report(State::Booted),
            &Route::to(&Arc::new(release("1.1.0"))),
            7,
        );
        assert!(matches!(step, Step::Applied(Deployment { state: State::Booted, .. })), "{step:?}");
        let (end, steps) = after(&[State::Skipped, State::Booted]);
        assert_eq!((end.state, steps[1]), (State::Skipped, Step::Late));
    }

    #[test]
    fn a_device_that_runs_another_image_is_not_healthy() {
        let mut lie = report(State::Healthy);
        lie.fw_sha256 = Digest([9; 32]);
        let step =
            Deployment::waiting().on_report(&lie, &Route::to(&Arc::new(release("1.1.0"))), 7);
        assert_eq!(step, Step::Contradicts(Contradiction::Image));
    }

    #[test]
    fn another_release_and_states_of_the_server_contradict() {
        let step = Deployment::waiting().on_report(
            &report(State::Healthy),
            &Route::to(&Arc::new(release("2.0.0"))),
            7,
        );
        assert_eq!(step, Step::Contradicts(Contradiction::Release));
        for state in [State::Waiting, State::Offered, State::TimedOut] {
            let step = Deployment::waiting().on_report(
                &report(state),
                &Route::to(&Arc::new(release("1.1.0"))),
                7,
            );
            assert_eq!(step, Step::Contradicts(Contradiction::State), "{state}");
        }
    }

    #[test]
    fn a_device_that_was_given_up_and_is_heard_of_counts_again() {
        let lost = Deployment { state: State::Booted, ..Deployment::waiting() }.timed_out(3);
        let step =
            lost.on_report(&report(State::Healthy), &Route::to(&Arc::new(release("1.1.0"))), 7);
        assert!(
            matches!(step, Step::Applied(Deployment { state: State::Healthy, .. })),
            "{step:?}"
        );
    }

    #[test]
    fn a_stepping_stone_that_is_healthy_leads_on_and_one_that_failed_ends() {
        let (stones, end) = ([Arc::new(release("1.1.0"))], Arc::new(release("2.0.0")));
        let route = Route { stones: &stones, end: &end };
        let offered = Deployment::waiting().offered(0, 3);
        let Step::Applied(next) = offered.on_report(&report(State::Healthy), &route, 7) else {
            panic!("the report is true")
        };
        assert_eq!((next.state, next.hop, next.tries), (State::Waiting, 1, 0));
        assert_eq!(next.on_report(&report(State::Healthy), &route, 8), Step::Late);
        let failed = offered.on_report(&report(State::RolledBack), &route, 7);
        assert!(matches!(
            failed,
            Step::Applied(Deployment { state: State::RolledBack, hop: 0, .. })
        ));
    }
}
