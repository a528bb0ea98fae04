//! Patience: what becomes of a deployment that nothing is heard of.
//!
//! Two moments. First it is *overdue*: a healthy device would have been heard of, so the release is
//! feared for and fewer devices are let in. Later it *times out*: an offer that nobody took goes to
//! somebody else, and a device that switched to the image and is silent is given up and counts as
//! broken. Not here: who watches the moments pass.

use waxwing_wire::report::State;

use super::Plan;
use crate::domain::Deployment;

/// After how many seconds in one state a device that switched to the image is overdue, the soak
/// aside: it may be without contact for half an hour before it goes back by itself (D18), and its word
/// comes with the next poll at the latest.
const OVERDUE_S: u64 = 45 * 60;

impl Plan {
    /// Returns from when on a deployment is overdue, in Unix milliseconds; `None` if it never is.
    pub fn overdue_at(&self, deployment: &Deployment) -> Option<u64> {
        let patience_s = match deployment.state {
            State::Activated | State::Booted => OVERDUE_S,
            State::Confirmed => OVERDUE_S + self.soak_s(deployment),
            State::Waiting
            | State::Offered
            | State::Downloading
            | State::Verified
            | State::Healthy
            | State::Failed
            | State::RolledBack
            | State::TimedOut
            | State::Skipped => return None,
        };
        Some(deployment.changed_at.saturating_add(patience_s * 1000))
    }

    /// Returns when a deployment times out, in Unix milliseconds; `None` if it never does.
    pub fn times_out_at(&self, deployment: &Deployment) -> Option<u64> {
        let timeouts = &self.timeouts;
        let patience_s = match deployment.state {
            State::Offered => u64::from(timeouts.offered_s),
            State::Downloading => u64::from(timeouts.downloading_s),
            State::Verified => u64::from(timeouts.verified_s),
            State::Activated => u64::from(timeouts.activated_s),
            State::Booted => u64::from(timeouts.booted_s),
            State::Confirmed => u64::from(timeouts.confirmed_s) + self.soak_s(deployment),
            State::Waiting
            | State::Healthy
            | State::Failed
            | State::RolledBack
            | State::TimedOut
            | State::Skipped => return None,
        };
        Some(deployment.changed_at.saturating_add(patience_s * 1000))
    }

    /// Returns what becomes of a deployment by a time, if time has run out: before the switch the
    /// release is offered once more, as often as the plan says; after it the device is given up.
    pub fn on_time(&self, deployment: &Deployment, now_ms: u64) -> Option<Deployment> {
        let is_over = self.times_out_at(deployment).is_some_and(|at| at <= now_ms);
        let again = !deployment.is_past_recall() && deployment.tries < self.tries_max;
        is_over.then(|| {
            if again { deployment.withdrawn(now_ms) } else { deployment.timed_out(now_ms) }
        })
    }

    fn soak_s(&self, deployment: &Deployment) -> u64 {
        let phase = self.phases.get(usize::from(deployment.phase));
        phase.map_or(0, |phase| u64::from(phase.gate.soak_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rollout::tests::plan;

    fn in_state(state: State) -> Deployment {
        Deployment { state, tries: 1, changed_at: 1_000, ..Deployment::waiting() }
    }

    #[test]
    fn an_offer_that_nobody_takes_is_made_again_as_often_as_the_plan_says() {
        let plan = Plan { tries_max: 2, ..plan(&[100]) };
        let first = in_state(State::Offered);
        let due = plan.times_out_at(&first).unwrap();
        assert_eq!(plan.on_time(&first, due - 1), None);
        let waiting = plan.on_time(&first, due).unwrap();
        assert_eq!((waiting.state, waiting.tries), (State::Waiting, 1));
        let second = waiting.offered(0, due);
        assert_eq!(second.tries, 2);
        let lost = plan.on_time(&second, u64::MAX).unwrap();
        assert_eq!(lost.state, State::TimedOut);
    }

    #[test]
    fn who_switched_and_is_silent_is_overdue_first_and_given_up_then() {
        let plan = plan(&[100]);
        for state in [State::Activated, State::Booted, State::Confirmed] {
            let silent = in_state(state);
            let (overdue, over) = (plan.overdue_at(&silent), plan.times_out_at(&silent));
            assert!(overdue.unwrap() < over.unwrap(), "{state}");
            let lost = plan.on_time(&silent, over.unwrap()).unwrap();
            assert_eq!(lost.state, State::TimedOut, "{state}");
        }
    }

    #[test]
    fn who_has_ended_or_waits_has_all_the_time_in_the_world() {
        use State::{Failed, Healthy, RolledBack, Skipped, TimedOut, Waiting};
        for state in [Failed, Healthy, RolledBack, Skipped, TimedOut, Waiting] {
            let deployment = in_state(state);
            assert_eq!(plan(&[100]).on_time(&deployment, u64::MAX), None, "{state}");
            assert_eq!(plan(&[100]).overdue_at(&deployment), None, "{state}");
        }
    }
}
