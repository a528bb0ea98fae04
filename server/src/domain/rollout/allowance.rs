//! The allowance: how many devices may be in flight now.
//!
//! A device in flight may be harmed before anything is known of it. At first every one of them must
//! be feared for, so only as many are let in as the plan is ready to lose. Each device that becomes
//! healthy lowers the largest share that the release may still break, and more are let in: the
//! expected harm of those in flight stays the same. A good release spreads by a factor with each
//! soak; a bad one stays where it is. Not here: which devices are let in.

use super::evidence::Evidence;
use super::plan::{ERROR_PASS, Plan};

impl Plan {
    /// Returns how many devices may be in flight, given what is known of all phases together.
    pub fn allowance(&self, evidence: &Evidence) -> u64 {
        let share_max = evidence.due().upper_bound(ERROR_PASS);
        let by_risk = (f64::from(self.risk) / share_max).max(1.0);
        let allowed = to_devices(by_risk);
        self.in_flight_max.map_or(allowed, |max| allowed.min(u64::from(max)))
    }

    /// Returns how many more devices may be offered the release now. Those who are overdue keep their
    /// places, or a release that silences devices would be given others in turn until they time out.
    pub fn places(&self, evidence: &Evidence) -> u64 {
        self.allowance(evidence).saturating_sub(evidence.counts.in_flight())
    }
}

/// Rounds down; what is beyond any fleet stays there.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is positive"
)]
const fn to_devices(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use waxwing_wire::report::State;

    use super::super::tests::plan;
    use super::*;

    fn evidence(healthy: u64, failed: u64, in_flight: u64, overdue: u64) -> Evidence {
        let mut evidence = Evidence { overdue, ..Evidence::default() };
        evidence.counts.add_many(State::Healthy, healthy);
        evidence.counts.add_many(State::Failed, failed);
        evidence.counts.add_many(State::Booted, in_flight);
        evidence
    }

    #[test]
    fn of_an_unknown_release_only_as_many_are_in_flight_as_may_be_lost() {
        let plan = plan(&[100]);
        assert_eq!(plan.allowance(&evidence(0, 0, 0, 0)), u64::from(plan.risk));
        assert_eq!(plan.places(&evidence(0, 0, 10, 0)), u64::from(plan.risk) - 10);
        assert_eq!(plan.places(&evidence(0, 0, 20, 0)), 0);
    }

    #[test]
    fn healthy_devices_let_more_in_and_broken_ones_fewer() {
        let plan = plan(&[100]);
        let allowed = [0, 15, 100, 1_000, 10_000].map(|it| plan.allowance(&evidence(it, 0, 0, 0)));
        assert_eq!(allowed, [15, 53, 263, 2_143, 18_359]);
        assert!(plan.allowance(&evidence(80, 20, 0, 0)) < 53);
        assert!(plan.allowance(&evidence(80, 0, 20, 20)) < 53, "who is overdue counts as broken");
    }

    #[test]
    fn a_ceiling_holds_however_good_the_evidence() {
        let plan = Plan { in_flight_max: Some(40), ..plan(&[100]) };
        assert_eq!(plan.allowance(&evidence(10_000, 0, 0, 0)), 40);
        assert_eq!(plan.places(&evidence(10_000, 0, 40, 40)), 0);
    }

    #[test]
    fn who_is_overdue_is_not_replaced() {
        let plan = plan(&[100]);
        let risk = u64::from(plan.risk);
        assert_eq!(plan.places(&evidence(0, 0, risk, risk)), 0);
        assert_eq!(plan.places(&evidence(0, 2, risk, risk)), 0, "others have timed out");
    }

    proptest! {
        #[test]
        fn somebody_may_always_try_when_nobody_does(healthy in 0_u64..10_000, failed in 0_u64..10_000) {
            prop_assert!(plan(&[100]).places(&evidence(healthy, failed, 0, 0)) >= 1);
        }
    }
}
