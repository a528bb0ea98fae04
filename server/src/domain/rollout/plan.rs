//! A plan: what an operator wants to happen, and how much may go wrong.
//!
//! It never changes once the rollout is drafted. Not here: how far the rollout is, and what follows
//! from the evidence.

use semver::Version;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waxwing_wire::report::SOAK_S_MAX;
use waxwing_wire::{GroupId, RolloutId};

use super::bounds::{Error, Outcomes};
use super::health::{HealthRule, RULES_MAX};
use super::permille::Permille;
use super::window::{Window, longest_pause_days};

/// Seconds of a day.
const DAY_S: u32 = 24 * 3600;
/// Most phases of a rollout: more would outlive the release.
pub const PHASES_MAX: usize = 16;
/// Most maintenance windows: one for each day of the week, and as many exceptions.
pub const WINDOWS_MAX: usize = 14;
/// Most stepping stones: each is a download and a restart for the device.
pub const STONES_MAX: usize = 8;
/// Most tries of a device: a release that fails so often fails always.
pub const TRIES_MAX: u32 = 10;
/// How far ahead a rollout may begin, in milliseconds: a year. What is meant for later is a mistake, such as
/// another unit of time, and would never begin.
pub const AHEAD_MS_MAX: u64 = 366 * 24 * 3600 * 1000;
/// Longest time-out in seconds: half a year. Whoever is silent for longer is lost.
pub const TIMEOUT_S_MAX: u32 = 183 * 24 * 3600;

/// How probable it may be that a phase is passed although too few of its devices would become
/// healthy.
pub const ERROR_PASS: Error = Error(0.05);
/// How probable it may be that a rollout is halted although few enough of its devices fail. All its
/// bounds share it.
pub const ERROR_HALT: Error = Error(0.01);

/// What is to happen.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Its phases: each reaches further than the one before, the last one reaches everybody.
    pub phases: Vec<PhasePlan>,
    /// How many devices may be expected to be harmed before it is known whether the release is
    /// good: so many are in flight at first, and more as the evidence allows.
    pub risk: u32,
    /// How many devices may be in flight at most, however good the evidence is.
    pub in_flight_max: Option<u32>,
    /// Before this time nothing is offered, in Unix milliseconds.
    pub not_before: Option<u64>,
    /// When devices may be interrupted, in their own time; at any time if there is none.
    #[schema(value_type = Vec<String>, example = json!(["Mon,Tue,Wed 22:00-04:00"]))]
    pub windows: Vec<Window>,
    /// How many bytes of images may be sent, in bytes per second.
    pub bytes_per_s: Option<u64>,
    /// How long a device may stay in a state.
    pub timeouts: Timeouts,
    /// How often a device is offered a release that it does not take, or whose download fails.
    pub tries_max: u32,
    /// Whether a device's user may put the update off.
    pub urgency: Urgency,
    /// Which of two rollouts decides about a device that both reach: the higher one, then the newer.
    pub priority: u8,
    /// Releases that devices which are older must run in between, oldest first.
    #[schema(value_type = Vec<String>)]
    pub stepping_stones: Vec<Version>,
    /// Only devices that switched to the image of this rollout: the way back from it.
    #[schema(value_type = Option<String>)]
    pub switched_by: Option<RolloutId>,
    /// What is compared, by telemetry, between devices with the image and devices without it.
    pub health: Vec<HealthRule>,
    /// Whether the rollout goes on when everybody has come to an end, for devices that join the group
    /// later. An operator ends it then.
    pub open_ended: bool,
}

/// A part of the group.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PhasePlan {
    /// Whom it reaches: `{"percent": 10}`, `{"count": 50}` or `{"group": "lab"}`.
    #[schema(value_type = Object)]
    pub size: Size,
    /// What must be seen before the next one.
    #[serde(default)]
    pub gate: Gate,
}

/// Whom a phase reaches.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// A share of the group, the phases before included.
    Percent(u8),
    /// So many devices of the group, the phases before included.
    Count(u32),
    /// The devices of the group that are in this one too.
    Group(GroupId),
}

/// What must be seen before the next phase.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// The share that must certainly become healthy.
    pub healthy_permille: Permille,
    /// The share that may certainly fail before the rollout halts.
    pub failed_permille: Permille,
    /// How many devices must have become healthy at least.
    pub sample_min: u32,
    /// For how many seconds a device must stay well before it says so.
    pub soak_s: u32,
    /// Whether somebody else than who made the plan must agree.
    pub approval: bool,
}

/// How long a device may stay in a state, in seconds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For how long the last phase waits for devices that do not poll.
    pub waiting_s: u32,
    /// From the offer to the first word about it.
    pub offered_s: u32,
    /// For the download.
    pub downloading_s: u32,
    /// From the last byte to the switch: applications may wait for a good moment.
    pub verified_s: u32,
    /// From the switch to the boot.
    pub activated_s: u32,
    /// From the boot to the confirmation.
    pub booted_s: u32,
    /// From the confirmation to the end of the soak, the soak itself aside.
    pub confirmed_s: u32,
    /// From a download that failed for the network's sake to the next offer; doubles with each.
    pub failed_s: u32,
}

/// Whether a device's user may put the update off.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Closes a hole: no window and no user holds it up.
    Security,
    /// No user holds it up.
    Forced,
    /// The user may put it off, for a day at most at once.
    Deferrable {
        /// How often.
        times: u8,
        /// Until when at the latest, in Unix milliseconds.
        until: Option<u64>,
    },
}

impl Default for Plan {
    /// To everybody at once as far as phases go: how fast is a matter of the evidence.
    fn default() -> Self {
        Self {
            phases: vec![PhasePlan { size: Size::Percent(100), gate: Gate::default() }],
            risk: 15,
            in_flight_max: None,
            not_before: None,
            windows: Vec::new(),
            bytes_per_s: None,
            timeouts: Timeouts::default(),
            tries_max: 3,
            urgency: Urgency::Forced,
            priority: 0,
            stepping_stones: Vec::new(),
            switched_by: None,
            health: Vec::new(),
            open_ended: false,
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            healthy_permille: Permille::NINETEEN_IN_TWENTY,
            failed_permille: Permille::TWO_IN_A_HUNDRED,
            sample_min: 1,
            soak_s: 1800,
            approval: false,
        }
    }
}

impl Default for Timeouts {
    /// A device that switched and is not heard of for two hours does not come back by itself.
    fn default() -> Self {
        const HOUR: u32 = 3600;
        Self {
            waiting_s: 14 * 24 * HOUR,
            offered_s: 24 * HOUR,
            downloading_s: 24 * HOUR,
            verified_s: 7 * 24 * HOUR,
            activated_s: 2 * HOUR,
            booted_s: 2 * HOUR,
            confirmed_s: 2 * HOUR,
            failed_s: HOUR,
        }
    }
}

impl Gate {
    /// Returns the share of failures from which on the gate cannot be passed.
    pub fn failures_max(&self) -> Permille {
        self.failed_permille.min(self.healthy_permille.rest())
    }

    /// Returns the share of devices, from 0 to 1, below which those that do not become healthy must
    /// certainly stay.
    pub fn unhealthy_max(&self) -> f64 {
        1.0 - self.healthy_permille.share()
    }

    /// Tells whether so many devices are too few for the bound to be passed even if all of them
    /// become healthy. Then all of them must (D28).
    pub fn is_small(&self, members: u64) -> bool {
        let all_well = Outcomes { broken: 0, well: members };
        !all_well.stay_below(self.unhealthy_max(), ERROR_PASS)
    }
}

/// Why a plan is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub struct BadPlan {
    /// The field, such as `phases[1].size`.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub detail: String,
}

impl Plan {
    /// Checks what can be known without the fleet.
    ///
    /// # Errors
    ///
    /// [`BadPlan`] names the first field that can never work.
    pub fn check(&self) -> Result<(), BadPlan> {
        self.check_phases()?;
        self.check_windows()?;
        let numbers = [
            ("windows", self.windows.len() <= WINDOWS_MAX, format!("At most {WINDOWS_MAX}.")),
            ("risk", self.risk > 0, "At least 1: somebody has to be first.".to_owned()),
            ("in_flight_max", self.in_flight_max != Some(0), "At least 1, or none.".to_owned()),
            ("bytes_per_s", self.bytes_per_s != Some(0), "At least 1, or none.".to_owned()),
            ("tries_max", (1..=TRIES_MAX).contains(&self.tries_max), format!("1 to {TRIES_MAX}.")),
        ];
        let wrong = numbers.into_iter().find(|(_, good, _)| !good);
        wrong.map_or(Ok(()), |(field, _, detail)| Err(bad(field, detail)))?;
        self.check_stones()?;
        self.check_urgency()?;
        self.check_health()?;
        self.timeouts.check()
    }

    /// Checks what depends on the time at which the plan is made, or carried out.
    ///
    /// # Errors
    ///
    /// [`BadPlan`] names a time that is too late.
    pub fn check_at(&self, now_ms: u64) -> Result<(), BadPlan> {
        if self.not_before.is_some_and(|at| at > now_ms.saturating_add(AHEAD_MS_MAX)) {
            let detail = "At most a year ahead, in milliseconds since 1970.";
            return Err(bad("not_before", detail.to_owned()));
        }
        self.check_deferral_at(now_ms)
    }

    /// Returns the plan for the way back from a rollout with this one: for everybody at once as far as
    /// phases go, for whoever has the bad image has it already.
    #[must_use]
    pub fn way_back(&self, from: RolloutId) -> Self {
        Self {
            priority: self.priority,
            urgency: self.urgency,
            windows: self.windows.clone(),
            bytes_per_s: self.bytes_per_s,
            switched_by: Some(from),
            open_ended: false,
            ..Self::default()
        }
    }

    /// Returns for how many seconds a device is watched, with the image or without it: as long as it
    /// may have to stay well.
    pub fn watch_s(&self) -> u32 {
        self.phases.iter().map(|phase| phase.gate.soak_s).max().unwrap_or(0)
    }

    fn check_health(&self) -> Result<(), BadPlan> {
        if self.health.len() > RULES_MAX {
            return Err(bad("health", format!("At most {RULES_MAX} rules.")));
        }
        self.health.iter().enumerate().try_for_each(|(number, rule)| {
            rule.check().map_err(|(field, detail)| bad(format!("health[{number}].{field}"), detail))
        })
    }

    fn check_windows(&self) -> Result<(), BadPlan> {
        for (number, window) in self.windows.iter().enumerate() {
            let never = |error| format!("The window never opens: {error}.");
            window.check().map_err(|error| bad(format!("windows[{number}]"), never(error)))?;
        }
        let days = longest_pause_days(&self.windows);
        if self.timeouts.waiting_s >= days * DAY_S {
            return Ok(());
        }
        let detail = format!(
            "At least {} seconds: the rollout would end before the next window, which is {days} days away.",
            days * DAY_S
        );
        Err(bad("timeouts.waiting_s", detail))
    }

    fn check_stones(&self) -> Result<(), BadPlan> {
        let rise = self.stepping_stones.is_sorted_by(|one, next| one < next);
        if rise && self.stepping_stones.len() <= STONES_MAX {
            return Ok(());
        }
        let detail = format!("At most {STONES_MAX} versions, each newer than the one before.");
        Err(bad("stepping_stones", detail))
    }

    fn check_phases(&self) -> Result<(), BadPlan> {
        if !(1..=PHASES_MAX).contains(&self.phases.len()) {
            return Err(bad("phases", format!("1 to {PHASES_MAX} phases.")));
        }
        if self.phases.last().map(|last| &last.size) != Some(&Size::Percent(100)) {
            let detail = "The last phase must reach 100 percent, or the rollout never ends.";
            return Err(bad("phases", detail.to_owned()));
        }
        let (mut percent, mut count) = (0, 0);
        for (number, phase) in self.phases.iter().enumerate() {
            let rises = match phase.size {
                Size::Percent(next) => std::mem::replace(&mut percent, next) < next && next <= 100,
                Size::Count(next) => std::mem::replace(&mut count, next) < next,
                Size::Group(_) => true,
            };
            if !rises {
                let detail =
                    "Each phase must reach further than the one before, up to 100 percent.";
                return Err(bad(format!("phases[{number}].size"), detail.to_owned()));
            }
            phase
                .gate
                .check()
                .map_err(|(field, detail)| bad(format!("phases[{number}].gate.{field}"), detail))?;
        }
        Ok(())
    }
}

impl Gate {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.sample_min == 0 {
            return Err(("sample_min", "At least 1: nothing proves nothing.".to_owned()));
        }
        if self.soak_s > SOAK_S_MAX {
            return Err(("soak_s", format!("At most {SOAK_S_MAX} seconds.")));
        }
        Ok(())
    }
}

impl Timeouts {
    fn check(&self) -> Result<(), BadPlan> {
        let all = [
            ("waiting_s", self.waiting_s),
            ("offered_s", self.offered_s),
            ("downloading_s", self.downloading_s),
            ("verified_s", self.verified_s),
            ("activated_s", self.activated_s),
            ("booted_s", self.booted_s),
            ("confirmed_s", self.confirmed_s),
            ("failed_s", self.failed_s),
        ];
        let wrong = all.into_iter().find(|(_, seconds)| !(1..=TIMEOUT_S_MAX).contains(seconds));
        wrong.map_or(Ok(()), |(field, _)| {
            Err(bad(format!("timeouts.{field}"), format!("1 to {TIMEOUT_S_MAX} seconds.")))
        })
    }
}

pub(super) fn bad(field: impl Into<String>, detail: String) -> BadPlan {
    BadPlan { field: field.into(), detail }
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    fn refused(plan: &Plan) -> String {
        plan.check().unwrap_err().field
    }

    #[test]
    fn a_plan_that_says_nothing_is_the_default_plan() {
        let plan: Plan = serde_json::from_str("{}").unwrap();
        assert_eq!((plan.check(), plan), (Ok(()), Plan::default()));
    }

    #[test]
    fn a_plan_is_kept_as_it_was_written() {
        let text = r#"{"phases":[{"size":{"group":"lab"}},{"size":{"count":50},"gate":{"approval":true}},
            {"size":{"percent":100}}],"windows":["Mon,Sun 22:00-04:00"],
            "urgency":{"deferrable":{"times":3,"until":null}}}"#;
        let plan: Plan = serde_json::from_str(text).unwrap();
        assert_eq!(plan.check(), Ok(()));
        let kept: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(kept, plan);
    }

    #[test]
    fn phases_must_rise_to_everybody() {
        for bad in [&[][..], &[50], &[0, 100], &[100, 100], &[50, 10, 100], &[10, 101], &[1; 17]] {
            assert!(refused(&plan(bad)).starts_with("phases"), "{bad:?}");
        }
        for good in [&[100][..], &[10, 50, 100]] {
            assert_eq!(plan(good).check(), Ok(()), "{good:?}");
        }
        let mut counted = plan(&[1, 2, 100]);
        counted.phases[0].size = Size::Count(50);
        counted.phases[1].size = Size::Count(50);
        assert_eq!(refused(&counted), "phases[1].size");
    }

    #[test]
    fn what_can_never_work_is_refused_with_its_field() {
        let with = |change: fn(&mut Plan)| {
            let mut plan = plan(&[10, 100]);
            change(&mut plan);
            refused(&plan)
        };
        assert_eq!(with(|plan| plan.risk = 0), "risk");
        assert_eq!(with(|plan| plan.in_flight_max = Some(0)), "in_flight_max");
        assert_eq!(with(|plan| plan.bytes_per_s = Some(0)), "bytes_per_s");
        assert_eq!(with(|plan| plan.tries_max = 0), "tries_max");
        let stones = |plan: &mut Plan, all: &[u64]| {
            plan.stepping_stones = all.iter().map(|minor| Version::new(1, *minor, 0)).collect();
        };
        let mut stony = plan(&[100]);
        stones(&mut stony, &[2, 1]);
        assert_eq!(refused(&stony), "stepping_stones");
        stones(&mut stony, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(refused(&stony), "stepping_stones");
        assert_eq!(with(|plan| plan.timeouts.booted_s = 0), "timeouts.booted_s");
        assert_eq!(with(|plan| plan.phases[0].gate.sample_min = 0), "phases[0].gate.sample_min");
        assert_eq!(with(|plan| plan.phases[1].gate.soak_s = u32::MAX), "phases[1].gate.soak_s");
        let rule = || serde_json::from_str(r#"{"metric": "m", "ails": {"above": 1}}"#).unwrap();
        let ruled = |rules| Plan { health: (0..rules).map(|_| rule()).collect(), ..plan(&[100]) };
        assert_eq!(refused(&ruled(RULES_MAX + 1)), "health");
        assert_eq!(ruled(RULES_MAX).check(), Ok(()));
        let never = Window { days: 1, from_min: 60, to_min: 60 };
        let mut plan = plan(&[100]);
        plan.windows = vec![never];
        assert_eq!(refused(&plan), "windows[0]");
        plan.windows = vec!["Tue,Sat 02:00-04:00".parse().unwrap()];
        plan.timeouts.waiting_s = 4 * DAY_S - 1;
        assert_eq!(refused(&plan), "timeouts.waiting_s");
        plan.timeouts.waiting_s = 4 * DAY_S;
        assert_eq!(plan.check(), Ok(()));
    }

    #[test]
    fn a_rollout_that_would_begin_in_another_age_is_refused() {
        let beginning = |not_before| Plan { not_before, ..plan(&[100]) }.check_at(5);
        for never in [u64::MAX, 6 + AHEAD_MS_MAX] {
            assert_eq!(beginning(Some(never)).unwrap_err().field, "not_before");
        }
        for good in [None, Some(0), Some(5 + AHEAD_MS_MAX)] {
            assert_eq!(beginning(good), Ok(()));
        }
    }

    #[test]
    fn a_share_above_the_whole_is_refused() {
        let error = serde_json::from_str::<Gate>(r#"{"healthy_permille": 1001}"#).unwrap_err();
        assert!(error.to_string().contains("0 to 1000"), "{error}");
    }
}
