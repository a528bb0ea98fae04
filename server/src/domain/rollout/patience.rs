//! Patience: what becomes of a deployment that nothing is heard of.
//!
//! Two moments. First it is *overdue*: a healthy device would have been heard of, so the release is
//! feared for and fewer devices are let in. Later it *times out*: an offer that nobody took goes to
//! somebody else, and a device that switched to the image and is silent is given up and counts as
//! broken. So is one that has the whole image and is silent: it polls once more before it switches
//! (D17), and nobody knows what came after that. Time in which the server itself was away does not
//! count. A download that failed for the network's sake is offered again, later each time. Not here: who
//! watches the moments pass, and who may put a release off.

use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use super::Plan;
use crate::domain::Deployment;

/// After how many seconds of silence a device is overdue that switched to the image or may have, the
/// soak aside: it may be without contact for half an hour before it goes back by itself (D18), and its
/// word comes with the next poll at the latest.
const OVERDUE_S: u64 = 45 * 60;

/// Longest time until a download that failed is offered again, unless the plan says a longer one at
/// first.
const AGAIN_S_MAX: u64 = 24 * 3600;

/// Within how many seconds a device is heard of again after the server was away: two polls.
const HEARD_AGAIN_S: u64 = 30 * 60;

/// Since when the server could have heard of a device.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Listening {
    /// When the server began to listen, in Unix milliseconds.
    pub since: u64,
    /// For how long it had been away then, in milliseconds.
    pub away_ms: u64,
    /// When the device was last seen with the whole image, if it was, in Unix milliseconds.
    pub seen_at: u64,
}

impl Plan {
    /// Returns from when on a deployment is overdue, in Unix milliseconds; `None` if it never is.
    pub fn overdue_at(&self, deployment: &Deployment, listening: Listening) -> Option<u64> {
        let patience_s = match deployment.state {
            State::Verified | State::Activated | State::Booted => OVERDUE_S,
            State::Confirmed => OVERDUE_S + self.soak_s(deployment),
            State::Waiting
            | State::Offered
            | State::Downloading
            | State::Healthy
            | State::Failed
            | State::RolledBack
            | State::TimedOut
            | State::Skipped => return None,
        };
        Some(listening.silence_ends(deployment, patience_s))
    }

    /// Returns when a deployment times out, in Unix milliseconds; `None` if it never does.
    pub fn times_out_at(&self, deployment: &Deployment, listening: Listening) -> Option<u64> {
        let timeouts = &self.timeouts;
        let patience_s = match deployment.state {
            State::Offered => u64::from(timeouts.offered_s),
            State::Downloading => u64::from(timeouts.downloading_s),
            State::Verified => {
                let lost_at = self.lost_at(deployment, listening);
                let refused_at = listening.patience_ends(deployment, timeouts.verified_s.into());
                return Some(lost_at.min(refused_at));
            }
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
        Some(listening.patience_ends(deployment, patience_s))
    }

    /// Returns what becomes of a deployment by a time, if time has run out: before the switch the
    /// release is offered once more, as often as the plan says; after it the device is given up.
    pub fn on_time(
        &self,
        deployment: &Deployment,
        listening: Listening,
        now_ms: u64,
    ) -> Option<Deployment> {
        let is_over = self.times_out_at(deployment, listening).is_some_and(|at| at <= now_ms);
        let is_lost =
            deployment.state == State::Verified && self.lost_at(deployment, listening) <= now_ms;
        let has_switched = is_lost || deployment.is_past_recall();
        let again = !has_switched && deployment.tries < self.tries_max;
        is_over.then(|| {
            if again { deployment.withdrawn(now_ms) } else { deployment.timed_out(now_ms) }
        })
    }

    /// Returns from when on a device whose download failed is offered the release again, after so many
    /// tries, in Unix milliseconds; `None` if it is not: it had all its tries, or the image or the device
    /// is at fault, and another try would end in the same way.
    pub fn tries_again_at(&self, tries: u32, code: ErrorCode, now_ms: u64) -> Option<u64> {
        let first_s = u64::from(self.timeouts.failed_s);
        let doubled_s = first_s.saturating_mul(1 << tries.saturating_sub(1).min(31));
        let wait_s = doubled_s.min(AGAIN_S_MAX.max(first_s));
        (code.is_network() && tries < self.tries_max).then(|| after(now_ms, wait_s))
    }

    /// Returns when a device with the whole image has been silent for too long to be waiting for a good
    /// moment: it would poll.
    fn lost_at(&self, deployment: &Deployment, listening: Listening) -> u64 {
        listening.silence_ends(deployment, self.timeouts.activated_s.into())
    }

    fn soak_s(&self, deployment: &Deployment) -> u64 {
        let phase = self.phases.get(usize::from(deployment.phase));
        phase.map_or(0, |phase| u64::from(phase.gate.soak_s))
    }
}

impl Listening {
    /// Returns when patience with a state ends. The time the server was away does not count, and after it
    /// everybody has time to be heard of again.
    fn patience_ends(self, deployment: &Deployment, patience_s: u64) -> u64 {
        let changed_at = deployment.changed_at;
        if changed_at >= self.since {
            return after(changed_at, patience_s);
        }
        let moved_on = changed_at.saturating_add(self.away_ms).min(self.since);
        let heard_again = after(self.since, patience_s.min(HEARD_AGAIN_S));
        after(moved_on, patience_s).max(heard_again)
    }

    /// Returns when patience with silence ends. Of who waits for a good moment polls count; of who has
    /// switched only its reports do.
    fn silence_ends(self, deployment: &Deployment, patience_s: u64) -> u64 {
        let ends = self.patience_ends(deployment, patience_s);
        let polls = deployment.state == State::Verified;
        if polls { ends.max(after(self.seen_at, patience_s)) } else { ends }
    }
}

/// Returns the time so many seconds later, in Unix milliseconds.
const fn after(at_ms: u64, seconds: u64) -> u64 {
    at_ms.saturating_add(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rollout::tests::plan;

    const ALWAYS: Listening = Listening { since: 0, away_ms: 0, seen_at: 0 };

    fn in_state(state: State) -> Deployment {
        Deployment { state, tries: 1, changed_at: 1_000, ..Deployment::waiting() }
    }

    #[test]
    fn an_offer_that_nobody_takes_is_made_again_as_often_as_the_plan_says() {
        let plan = Plan { tries_max: 2, ..plan(&[100]) };
        let first = in_state(State::Offered);
        let due = plan.times_out_at(&first, ALWAYS).unwrap();
        assert_eq!(plan.on_time(&first, ALWAYS, due - 1), None);
        let waiting = plan.on_time(&first, ALWAYS, due).unwrap();
        assert_eq!((waiting.state, waiting.tries), (State::Waiting, 1));
        let second = waiting.offered(0, due);
        assert_eq!(second.tries, 2);
        let lost = plan.on_time(&second, ALWAYS, u64::MAX).unwrap();
        assert_eq!(lost.state, State::TimedOut);
    }

    #[test]
    fn a_download_that_failed_is_offered_again_later_each_time_and_nothing_else_is() {
        let plan = Plan { tries_max: 10, ..plan(&[100]) };
        let again = |tries, code| {
            let at = plan.tries_again_at(tries, code, 1_000);
            at.map(|at| (at - 1_000) / 3_600_000)
        };
        let stalled = ErrorCode::DOWNLOAD_STALLED;
        assert_eq!(
            [1, 2, 5, 6, 9, 10].map(|tries| again(tries, stalled)),
            [Some(1), Some(2), Some(16), Some(24), Some(24), None]
        );
        for (code, name, _) in ErrorCode::ALL {
            assert_eq!(again(1, *code).is_some(), code.is_network(), "{name}");
        }
    }

    #[test]
    fn who_switched_and_is_silent_is_overdue_first_and_given_up_then() {
        let plan = plan(&[100]);
        for state in [State::Verified, State::Activated, State::Booted, State::Confirmed] {
            let silent = in_state(state);
            let overdue = plan.overdue_at(&silent, ALWAYS).unwrap();
            let over = plan.times_out_at(&silent, ALWAYS).unwrap();
            assert!(overdue < over, "{state}");
            let lost = plan.on_time(&silent, ALWAYS, over).unwrap();
            assert_eq!(lost.state, State::TimedOut, "{state}");
        }
    }

    #[test]
    fn who_has_the_image_and_waits_for_a_good_moment_is_no_loss_as_long_as_it_polls() {
        let plan = plan(&[100]);
        let verified = in_state(State::Verified);
        let week_ms = u64::from(plan.timeouts.verified_s) * 1000;
        let polling = |now_ms| Listening { seen_at: now_ms - 1_000, ..ALWAYS };
        assert!(plan.overdue_at(&verified, polling(week_ms)).unwrap() > week_ms);
        assert_eq!(plan.on_time(&verified, polling(week_ms), week_ms), None);
        let over = week_ms + 1_000;
        let withdrawn = plan.on_time(&verified, polling(over), over).unwrap();
        assert_eq!(withdrawn.state, State::Waiting);
    }

    #[test]
    fn time_in_which_the_server_was_away_is_nobodys_fault() {
        let plan = plan(&[100]);
        let ten_days_ms = 10 * 24 * 3_600_000;
        let back = Listening { since: ten_days_ms, away_ms: ten_days_ms, seen_at: 0 };
        for state in [State::Offered, State::Downloading, State::Verified, State::Activated] {
            let deployment = in_state(state);
            assert_eq!(plan.on_time(&deployment, back, back.since + 1_000), None, "{state}");
            let overdue_at = plan.overdue_at(&deployment, back);
            assert!(overdue_at.is_none_or(|at| at > back.since + 1_000), "{state}");
        }
    }

    #[test]
    fn a_server_that_starts_again_and_again_gives_up_all_the_same() {
        let plan = plan(&[100]);
        for state in [State::Offered, State::Verified, State::Activated, State::Confirmed] {
            let silent = in_state(state);
            let over = plan.times_out_at(&silent, ALWAYS).unwrap();
            let restarted = |since| Listening { since, away_ms: 30_000, seen_at: 0 };
            let early = restarted(over - 3_600_000);
            assert_eq!(plan.times_out_at(&silent, early), Some(over + 30_000), "{state}");
            let late = restarted(over - 1);
            let heard_again = late.since + HEARD_AGAIN_S * 1000;
            assert_eq!(plan.times_out_at(&silent, late), Some(heard_again), "{state}");
        }
    }

    #[test]
    fn who_has_ended_or_waits_has_all_the_time_in_the_world() {
        use State::{Failed, Healthy, RolledBack, Skipped, TimedOut, Waiting};
        for state in [Failed, Healthy, RolledBack, Skipped, TimedOut, Waiting] {
            let deployment = in_state(state);
            assert_eq!(plan(&[100]).on_time(&deployment, ALWAYS, u64::MAX), None, "{state}");
            assert_eq!(plan(&[100]).overdue_at(&deployment, ALWAYS), None, "{state}");
        }
    }
}
