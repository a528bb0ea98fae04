//! Health: what telemetry says of devices with the new image beside those without it.
//!
//! A rule names a number or a word in telemetry and says when it is bad. A device is watched for one
//! soak, with the image or without it, and counts once in each: as ailing if it ever was in that time.
//! Both sides are watched for equally long, so that the release is not blamed for what befalls all
//! devices, and a rollout halts only when the share that ails is certainly larger with the image, by
//! the same bounds as for failures ([`super::bounds`]). A device on a stepping stone is on neither side. Not
//! here: who takes part.

use std::collections::HashMap;
use std::fmt;

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use waxwing_wire::report::State;

use super::bounds::{Error, Outcomes};
use super::permille::Permille;
use super::route::Route;
use crate::domain::Deployment;

/// Most rules of a plan: each asks for more evidence before any of them may halt the rollout.
pub const RULES_MAX: usize = 8;
/// Longest name of a metric, and longest word, in bytes: names of people's own, not texts.
pub const WORD_BYTES_MAX: usize = 64;
/// Most words of a rule: more reasons for a reset does no chip know.
pub const WORDS_MAX: usize = 16;

/// What is compared between devices with the image and devices without it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthRule {
    /// A field of the telemetry, such as `heap_low`.
    pub metric: String,
    /// When a device ails: `{"below": 16000}`, `{"above": 3}` or `{"one_of": ["panic"]}`.
    #[schema(value_type = Object)]
    pub ails: Ails,
    /// How much larger the share that ails may be with the image.
    #[serde(default = "margin")]
    pub margin_permille: Permille,
}

/// When a device ails.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ails {
    /// The number is larger.
    Above(i32),
    /// The number is smaller.
    Below(i32),
    /// The text is one of these.
    OneOf(Vec<String>),
}

/// On which side of a comparison a device is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// It runs the new image.
    With,
    /// It has not switched.
    Without,
}

/// What is known of both sides, for one rule. `broken` are those that ail.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Comparison {
    /// Devices that run the new image.
    pub with: Outcomes,
    /// Devices that have not switched.
    pub without: Outcomes,
}

/// Why a rollout stopped itself: more devices ail with the image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Worse {
    metric: String,
    seen: Comparison,
}

/// What the telemetry of a rollout's devices came to.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// By the number of the device.
    watches: HashMap<u32, Watch>,
    /// In the order of the rules.
    comparisons: Vec<Comparison>,
}

/// A device that is watched.
#[derive(Clone, Copy, Debug)]
struct Watch {
    side: Side,
    /// Since when, in Unix milliseconds; `None`: it has been counted.
    since: Option<u64>,
    found: Findings,
}

/// What was found by each rule, one bit each.
#[derive(Clone, Copy, Debug, Default)]
struct Findings {
    /// It could be told.
    told: u8,
    /// The device ailed.
    ails: u8,
}

impl Side {
    /// Returns the side of a device, by its part in the rollout; `None` of one of which nobody knows what
    /// it runs, and of one that runs a stepping stone: the rollout brought it neither nothing nor the image.
    pub fn of(
        deployment: Option<Deployment>,
        route: &Route<'_>,
        running: Option<&Version>,
    ) -> Option<Self> {
        let Some(deployment) = deployment else { return Some(Self::Without) };
        match deployment.state {
            State::Booted | State::Confirmed | State::Healthy => {
                route.is_end(deployment.hop).then_some(Self::With)
            }
            State::Waiting
            | State::Offered
            | State::Downloading
            | State::Verified
            | State::Failed => {
                (!runs_stone(route, deployment.hop, running)).then_some(Self::Without)
            }
            State::Activated | State::RolledBack | State::TimedOut | State::Skipped => None,
        }
    }
}

/// Tells whether a device that comes to a place of the route runs a stepping stone before it, as far as is
/// known.
fn runs_stone(route: &Route<'_>, hop: u8, running: Option<&Version>) -> bool {
    let is_before = |version| route.find(version).is_some_and(|(place, _)| place < hop);
    hop > 0 && running.is_none_or(is_before)
}

impl HealthRule {
    /// Checks a rule.
    ///
    /// # Errors
    ///
    /// The field that can never work, and what would be right.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let is_word = |word: &String| (1..=WORD_BYTES_MAX).contains(&word.len());
        if !is_word(&self.metric) {
            return Err(("metric", format!("1 to {WORD_BYTES_MAX} bytes.")));
        }
        match &self.ails {
            Ails::OneOf(words)
                if !(1..=WORDS_MAX).contains(&words.len()) || !words.iter().all(is_word) =>
            {
                Err((
                    "ails.one_of",
                    format!("1 to {WORDS_MAX} words of 1 to {WORD_BYTES_MAX} bytes."),
                ))
            }
            Ails::Above(_) | Ails::Below(_) | Ails::OneOf(_) => Ok(()),
        }
    }

    /// Tells whether a device ails; `None` if its telemetry does not say.
    fn ails(&self, telemetry: &Map<String, Value>) -> Option<bool> {
        let value = telemetry.get(&self.metric)?;
        match &self.ails {
            Ails::Above(limit) => value.as_f64().map(|number| number > f64::from(*limit)),
            Ails::Below(limit) => value.as_f64().map(|number| number < f64::from(*limit)),
            Ails::OneOf(words) => value.as_str().map(|text| words.iter().any(|word| word == text)),
        }
    }
}

impl Findings {
    fn of(rules: &[HealthRule], telemetry: &Map<String, Value>) -> Self {
        let mut found = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            let Some(ails) = rule.ails(telemetry) else { continue };
            found.told |= 1 << number;
            found.ails |= u8::from(ails) << number;
        }
        found
    }

    const fn and(self, later: Self) -> Self {
        Self { told: self.told | later.told, ails: self.ails | later.ails }
    }
}

impl Health {
    /// Takes in what a device on one side said at a time. It counts once it was watched for `watch_s`.
    pub fn hear(
        &mut self,
        rules: &[HealthRule],
        (device, side): (u32, Side),
        telemetry: &Map<String, Value>,
        (now_ms, watch_s): (u64, u32),
    ) {
        self.comparisons.resize(rules.len(), Comparison::default());
        let begun = Watch { side, since: Some(now_ms), found: Findings::default() };
        let watch = self.watches.entry(device).or_insert(begun);
        if watch.side != side {
            *watch = begun;
        }
        let Some(since) = watch.since else { return };
        watch.found = watch.found.and(Findings::of(rules, telemetry));
        if now_ms.saturating_sub(since) >= u64::from(watch_s) * 1000 {
            watch.since = None;
            let found = watch.found;
            self.count(side, found);
        }
    }

    /// Forgets who is watched: nothing more is counted.
    pub fn conclude(&mut self) {
        self.watches = HashMap::new();
    }

    /// Returns what is known of both sides for each rule, as far as anything was heard.
    pub fn comparisons(&self) -> &[Comparison] {
        &self.comparisons
    }

    fn count(&mut self, side: Side, found: Findings) {
        for (number, comparison) in self.comparisons.iter_mut().enumerate() {
            let outcomes = match side {
                Side::With => &mut comparison.with,
                Side::Without => &mut comparison.without,
            };
            if found.told & 1 << number == 0 {
                continue;
            }
            let ails = found.ails & 1 << number != 0;
            outcomes.broken += u64::from(ails);
            outcomes.well += u64::from(!ails);
        }
    }
}

impl Comparison {
    /// Tells whether the share that ails is certainly larger with the image than without it, by more than
    /// a margin. Both sides share the error.
    pub fn is_worse(&self, margin: Permille, error: Error) -> bool {
        let half = Error(error.0 / 2.0);
        self.with.lower_bound(half) > self.without.upper_bound(half) + margin.share()
    }
}

impl Worse {
    /// Returns why a rule is a reason to halt, if it is.
    pub(super) fn by(rule: &HealthRule, seen: Comparison, error: Error) -> Option<Self> {
        let is_worse = seen.is_worse(rule.margin_permille, error);
        is_worse.then(|| Self { metric: rule.metric.clone(), seen })
    }
}

impl fmt::Display for Worse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, seen: Comparison { with, without } } = self;
        write!(
            f,
            "telemetry: by `{metric}`, {} of {} devices ail with the image, {} of {} without it",
            with.broken,
            with.total(),
            without.broken,
            without.total()
        )
    }
}

/// Two in a hundred, as for failures.
const fn margin() -> Permille {
    Permille::TWO_IN_A_HUNDRED
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::release::tests::release;

    const SOAK_S: u32 = 60;
    const ERROR: Error = Error(0.01);

    fn rules() -> Vec<HealthRule> {
        serde_json::from_value(json!([
            {"metric": "heap_low", "ails": {"below": 16000}},
            {"metric": "reset", "ails": {"one_of": ["panic"]}, "margin_permille": 0},
        ]))
        .unwrap()
    }

    fn hear(health: &mut Health, device: (u32, Side), telemetry: &Value, now_s: u64) {
        let telemetry = telemetry.as_object().unwrap();
        health.hear(&rules(), device, telemetry, (now_s * 1000, SOAK_S));
    }

    fn outcomes(broken: u64, well: u64) -> Outcomes {
        Outcomes { broken, well }
    }

    #[test]
    fn a_device_counts_once_when_it_was_watched_for_a_soak() {
        let mut health = Health::default();
        let device = (1, Side::With);
        for (now_s, counted) in [(0, 0), (59, 0), (60, 1), (200, 1)] {
            hear(&mut health, device, &json!({"heap_low": 20_000}), now_s);
            assert_eq!(health.comparisons()[0].with, outcomes(0, counted), "{now_s}");
        }
        assert_eq!(health.comparisons()[1], Comparison::default(), "of the reset nothing was said");
    }

    #[test]
    fn who_ailed_once_while_it_was_watched_ails() {
        let mut health = Health::default();
        let device = (1, Side::Without);
        hear(&mut health, device, &json!({"heap_low": 20_000, "reset": "panic"}), 0);
        hear(&mut health, device, &json!({"heap_low": 15_999, "reset": "power"}), 30);
        hear(&mut health, device, &json!({"heap_low": 20_000, "reset": "power"}), 60);
        let ailing = Comparison { with: Outcomes::default(), without: outcomes(1, 0) };
        assert_eq!(health.comparisons(), [ailing, ailing]);
    }

    #[test]
    fn who_switches_is_watched_anew() {
        let mut health = Health::default();
        hear(&mut health, (1, Side::Without), &json!({"heap_low": 1}), 0);
        hear(&mut health, (1, Side::With), &json!({"heap_low": 20_000}), 59);
        hear(&mut health, (1, Side::With), &json!({"heap_low": 20_000}), 119);
        let seen = Comparison { with: outcomes(0, 1), without: Outcomes::default() };
        assert_eq!(health.comparisons()[0], seen);
    }

    #[test]
    fn telemetry_of_another_shape_says_nothing() {
        for foreign in [json!({}), json!({"heap_low": "many"}), json!({"heap_low": null})] {
            let mut health = Health::default();
            hear(&mut health, (1, Side::With), &foreign, 0);
            hear(&mut health, (1, Side::With), &foreign, 60);
            assert_eq!(health.comparisons()[0], Comparison::default(), "{foreign}");
        }
    }

    #[test]
    fn a_device_ails_beyond_a_limit_and_not_at_it() {
        let ails = |ails: Value, said: Value| {
            let rule = json!({"metric": "m", "ails": ails});
            let rule: HealthRule = serde_json::from_value(rule).unwrap();
            assert_eq!(rule.margin_permille, Permille::TWO_IN_A_HUNDRED, "unless it says so");
            rule.ails(json!({ "m": said }).as_object().unwrap())
        };
        assert_eq!(ails(json!({"below": 3}), json!(3)), Some(false));
        assert_eq!(ails(json!({"below": 3}), json!(2.9)), Some(true));
        assert_eq!(ails(json!({"above": 3}), json!(3)), Some(false));
        assert_eq!(ails(json!({"above": 3}), json!(3.1)), Some(true));
        assert_eq!(ails(json!({"one_of": ["a", "b"]}), json!("b")), Some(true));
        assert_eq!(ails(json!({"one_of": ["a", "b"]}), json!("ab")), Some(false));
        assert_eq!(ails(json!({"one_of": ["a", "b"]}), json!(1)), None);
    }

    #[test]
    fn a_device_is_with_the_image_from_its_first_boot_and_without_it_until_it_switches() {
        use State::{
            Activated, Booted, Confirmed, Downloading, Failed, Healthy, Offered, RolledBack,
            Skipped, TimedOut, Verified, Waiting,
        };
        let end = Arc::new(release("1.1.0"));
        let side = |deployment| Side::of(deployment, &Route::to(&end), None);
        assert_eq!(side(None), Some(Side::Without), "nothing was heard of it");
        let side = |state| side(Some(Deployment { state, ..Deployment::waiting() }));
        for state in [Waiting, Offered, Downloading, Verified, Failed] {
            assert_eq!(side(state), Some(Side::Without), "{state}");
        }
        for state in [Booted, Confirmed, Healthy] {
            assert_eq!(side(state), Some(Side::With), "{state}");
        }
        for state in [Activated, RolledBack, TimedOut, Skipped] {
            assert_eq!(side(state), None, "{state}");
        }
    }

    #[test]
    fn a_device_on_a_stepping_stone_is_on_neither_side_until_it_runs_the_image() {
        use State::{Confirmed, Downloading, Failed, Healthy, Offered, Waiting};
        let [stone, end] = ["1.1.0", "1.2.0"].map(|version| Arc::new(release(version)));
        let stones = [stone];
        let route = Route { stones: &stones, end: &end };
        let side = |hop, state, running: &str| {
            let deployment = Deployment { state, hop, ..Deployment::waiting() };
            Side::of(Some(deployment), &route, Some(&running.parse().unwrap()))
        };
        for (hop, state, running, expected) in [
            (0, Waiting, "1.0.0", Some(Side::Without)),
            (0, Downloading, "1.0.0", Some(Side::Without)),
            (0, Confirmed, "1.1.0", None),
            (0, Healthy, "1.1.0", None),
            (1, Waiting, "1.1.0", None),
            (1, Offered, "1.1.0", None),
            (1, Failed, "1.1.0", None),
            (1, Confirmed, "1.2.0", Some(Side::With)),
            // It never needed the stone.
            (1, Offered, "1.1.5", Some(Side::Without)),
        ] {
            assert_eq!(side(hop, state, running), expected, "{hop} {state} {running}");
        }
    }

    #[test]
    fn of_a_rollout_that_is_over_nobody_is_watched_and_what_was_counted_stays() {
        let mut health = Health::default();
        let well = json!({"heap_low": 20_000});
        hear(&mut health, (1, Side::With), &well, 0);
        hear(&mut health, (1, Side::With), &well, 60);
        health.conclude();
        assert!(health.watches.is_empty());
        assert_eq!(health.comparisons()[0].with, outcomes(0, 1));
    }

    #[test]
    fn a_rollout_is_worse_only_if_it_certainly_is() {
        let worse = |with, without| {
            let seen = Comparison { with, without };
            Worse::by(&rules()[0], seen, ERROR).map(|worse| worse.to_string())
        };
        let halt =
            "telemetry: by `heap_low`, 12 of 40 devices ail with the image, 3 of 500 without it";
        assert_eq!(worse(outcomes(12, 28), outcomes(3, 497)).as_deref(), Some(halt));
        assert_eq!(worse(outcomes(12, 28), outcomes(150, 350)), None, "all devices ail");
        assert_eq!(worse(outcomes(1, 0), outcomes(0, 500)), None, "too few");
        // The numbers are those of an independent program: without the margin 8 of 40 would do, and
        // with an error for each side 9.
        let least = (0..40).find(|ail| worse(outcomes(*ail, 40 - ail), outcomes(3, 497)).is_some());
        assert_eq!(least, Some(10));
        assert_eq!(worse(outcomes(40, 0), Outcomes::default()), None, "nothing to compare with");
    }

    #[test]
    fn rules_that_can_never_work_are_refused_with_their_field() {
        let refused = |rule: Value| {
            let rule: HealthRule = serde_json::from_value(rule).unwrap();
            rule.check().unwrap_err().0
        };
        assert_eq!(refused(json!({"metric": "", "ails": {"above": 1}})), "metric");
        assert_eq!(refused(json!({"metric": "a".repeat(65), "ails": {"above": 1}})), "metric");
        assert_eq!(refused(json!({"metric": "a", "ails": {"one_of": []}})), "ails.one_of");
        assert_eq!(refused(json!({"metric": "a", "ails": {"one_of": [""]}})), "ails.one_of");
        let many = vec!["a"; WORDS_MAX + 1];
        assert_eq!(refused(json!({"metric": "a", "ails": {"one_of": many}})), "ails.one_of");
        for rule in rules() {
            assert_eq!(rule.check(), Ok(()));
        }
        let unknown = json!({"metric": "a", "ails": {"about": 1}});
        assert!(serde_json::from_value::<HealthRule>(unknown).is_err());
    }

    proptest! {
        #[test]
        fn the_same_share_on_both_sides_hardly_ever_looks_worse(
            devices in prop::collection::vec((0_u8..10, 0_u8..10), 300)
        ) {
            let mut seen = Comparison::default();
            for (with, without) in devices {
                for (side, drawn) in [(&mut seen.with, with), (&mut seen.without, without)] {
                    side.broken += u64::from(drawn == 0);
                    side.well += u64::from(drawn != 0);
                }
                prop_assert!(!seen.is_worse(margin(), Error(1e-6)), "{:?}", seen);
            }
        }
    }
}
