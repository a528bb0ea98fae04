//! Deferral: how far the users of devices may put a release off.
//!
//! A device counts for itself, also over resets, and says each time that its user put it off and until
//! when. Until then it gives its place to others: what is not in flight cannot be harmed, and is not
//! missed. Whoever puts off more than the plan allows is not listened to, and times out as everybody.
//! Not here: what a device shows its user, which is up to its application.

use waxwing_tuf::uptane::Deferrable;
use waxwing_wire::report::{DEFERRAL_S_MAX, Deferral};

use super::plan::{BadPlan, Plan, Urgency, bad};
use crate::domain::Deployment;

/// How often a user may put a release off at most: every day for a month.
pub const DEFERRALS_MAX: u8 = 30;

impl Plan {
    /// Returns what devices are told.
    pub fn deferrable(&self) -> Deferrable {
        match self.urgency {
            Urgency::Security | Urgency::Forced => Deferrable::default(),
            Urgency::Deferrable { times, until } => {
                Deferrable { times, until: until.map_or(u64::MAX, |until| until / 1000) }
            }
        }
    }

    /// Returns until when a device is left alone whose user puts the release off, in Unix milliseconds;
    /// `None` if that may not be, or is over.
    pub fn put_off_until(
        &self,
        deployment: &Deployment,
        deferral: Deferral,
        now_ms: u64,
    ) -> Option<u64> {
        let allowed = self.deferrable();
        let is_allowed = deployment.deferred < deferral.times && deferral.times <= allowed.times;
        let latest = now_ms.saturating_add(u64::from(DEFERRAL_S_MAX) * 1000);
        let until_s = deferral.until.min(allowed.until);
        let until = until_s.saturating_mul(1000).min(latest);
        (is_allowed && until > now_ms).then_some(until)
    }

    /// Returns for how long users may put the release off altogether, in seconds.
    pub fn deferrals_s(&self) -> u64 {
        u64::from(self.deferrable().times) * u64::from(DEFERRAL_S_MAX)
    }

    /// Refuses a plan by which nobody could ever put the release off.
    pub(super) fn check_deferral_at(&self, now_ms: u64) -> Result<(), BadPlan> {
        let begins_at = self.not_before.unwrap_or(0).max(now_ms);
        match self.urgency {
            Urgency::Deferrable { until: Some(until), .. } if until <= begins_at => {
                let detail = "The date must lie ahead, and after `not_before`: until then users \
                              may put the release off.";
                Err(bad("urgency.deferrable.until", detail.to_owned()))
            }
            Urgency::Deferrable { .. } | Urgency::Forced | Urgency::Security => Ok(()),
        }
    }

    pub(super) fn check_urgency(&self) -> Result<(), BadPlan> {
        match self.urgency {
            Urgency::Deferrable { times, .. } if !(1..=DEFERRALS_MAX).contains(&times) => {
                let detail = format!("1 to {DEFERRALS_MAX} times; `forced` if not at all.");
                Err(bad("urgency.deferrable.times", detail))
            }
            Urgency::Deferrable { .. } | Urgency::Forced | Urgency::Security => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    const NOW_MS: u64 = 1_795_176_000_000;
    const HOUR_MS: u64 = 3_600_000;

    fn deferrable(times: u8, until: Option<u64>) -> Plan {
        Plan { urgency: Urgency::Deferrable { times, until }, ..plan(&[100]) }
    }

    /// Puts off for so many hours from now, for the `times`-th time; gives for how many it is taken.
    fn taken(plan: &Plan, deferred: u8, times: u8, hours: u64) -> Option<u64> {
        let deployment = Deployment { deferred, ..Deployment::waiting() };
        let deferral = Deferral { times, until: (NOW_MS + hours * HOUR_MS) / 1000 };
        let until = plan.put_off_until(&deployment, deferral, NOW_MS);
        until.map(|until| (until - NOW_MS) / HOUR_MS)
    }

    #[test]
    fn users_are_listened_to_as_often_as_the_plan_says_and_for_a_day_at_most() {
        let plan = deferrable(2, None);
        assert_eq!(taken(&plan, 0, 1, 5), Some(5));
        assert_eq!(taken(&plan, 1, 2, 1_000_000), Some(24));
        assert_eq!(taken(&plan, 0, 2, 5), Some(5), "a report was lost");
        assert_eq!(taken(&plan, 1, 1, 5), None, "it was heard before");
        assert_eq!(taken(&plan, 2, 3, 5), None, "once too often");
        assert_eq!(taken(&plan, 0, 1, 0), None, "it is over");
        let until = deferrable(2, Some(NOW_MS + 3 * HOUR_MS));
        assert_eq!(taken(&until, 0, 1, 5), Some(3));
        assert_eq!(taken(&deferrable(2, Some(NOW_MS)), 0, 1, 5), None, "the date has passed");
    }

    #[test]
    fn nobody_puts_off_what_is_forced_or_closes_a_hole() {
        for urgency in [Urgency::Forced, Urgency::Security] {
            let plan = Plan { urgency, ..plan(&[100]) };
            assert_eq!((taken(&plan, 0, 1, 5), plan.deferrable().times), (None, 0));
        }
        let told = deferrable(3, Some(NOW_MS)).deferrable();
        assert_eq!(told, Deferrable { times: 3, until: NOW_MS / 1000 });
    }

    #[test]
    fn a_plan_by_which_nobody_could_put_anything_off_or_for_ever_is_refused() {
        for times in [0, DEFERRALS_MAX + 1] {
            let refused = deferrable(times, None).check().unwrap_err();
            assert_eq!(refused.field, "urgency.deferrable.times");
        }
        assert_eq!(deferrable(DEFERRALS_MAX, None).check(), Ok(()));
        for until in [NOW_MS, 0] {
            let refused = deferrable(1, Some(until)).check_at(NOW_MS).unwrap_err();
            assert_eq!(refused.field, "urgency.deferrable.until");
        }
        let late = Plan { not_before: Some(NOW_MS + 9), ..deferrable(1, Some(NOW_MS + HOUR_MS)) };
        assert_eq!(late.check_at(NOW_MS), Ok(()));
        let never = Plan { not_before: Some(NOW_MS + HOUR_MS), ..late };
        assert!(never.check_at(NOW_MS).is_err());
    }
}
