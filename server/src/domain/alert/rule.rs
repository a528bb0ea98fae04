//! Rules: what is looked for, and from when on somebody is told.
//!
//! Every kind has a rule with usual settings that is on, whether or not the database knows of it: a row
//! that is lost turns nothing off. Not here: looking.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use waxwing_wire::ProductId;

use crate::domain::words;

/// Largest threshold: more than there will ever be devices.
const THRESHOLD_MAX: u64 = 1_000_000_000;

/// Most rules that differ from the usual ones: each of them is asked for every few seconds.
pub const CHANGED_RULES_MAX: usize = 100;

/// Longest time in seconds that a number must stay high before somebody is told: a day. What takes
/// longer is told too late.
const FOR_S_MAX: u32 = DAY_S;

/// Longest time in seconds that it must stay low until that is over: a week.
const CLEAR_FOR_S_MAX: u32 = 7 * DAY_S;

const DAY_S: u32 = 24 * 3600;

words!(
    /// What a rule looks for.
    Kind {
        /// Certificates and metadata that end; a subject for each of the server's, and for each product.
        CertificateExpiring "certificate_expiring",
        /// Messages of devices that were sent at another time than now.
        ClockSkew "clock_skew",
        /// Devices that were not heard of; a subject for each product.
        DeviceLost "device_lost",
        /// Connections and requests that were refused; a subject for each listener.
        RefusedConnections "refused_connections",
        /// Rollouts that stopped themselves; a subject for each.
        RolloutHalted "rollout_halted",
        /// Seconds by which the server's clock is not where it should be (D5).
        ServerClock "server_clock",
        /// Messages that are not shown to come from their sender.
        SignatureFailures "signature_failures",
        /// Spent enrolment tokens that came with another key (D13); a subject for each product.
        TokenMisused "token_misused",
        /// Devices on which an update failed; a subject for each product.
        UpdateFailed "update_failed",
    }
);

words!(
    /// How urgent an alert is.
    Severity {
        /// Now.
        Critical "critical",
        /// Soon.
        Warning "warning",
    }
);

impl Kind {
    /// Returns which windows make sense, in seconds; only 0 where there is none. What is counted in memory
    /// is counted for a day at most.
    pub const fn windows_s(self) -> RangeInclusive<u32> {
        match self {
            Self::CertificateExpiring => DAY_S..=90 * DAY_S,
            Self::ClockSkew | Self::RefusedConnections | Self::SignatureFailures => 60..=DAY_S,
            Self::DeviceLost => 900..=90 * DAY_S,
            Self::RolloutHalted | Self::ServerClock => 0..=0,
            Self::TokenMisused | Self::UpdateFailed => 60..=30 * DAY_S,
        }
    }

    /// Tells whether a product may have a rule of its own.
    pub const fn is_about_products(self) -> bool {
        match self {
            Self::CertificateExpiring
            | Self::DeviceLost
            | Self::RolloutHalted
            | Self::TokenMisused
            | Self::UpdateFailed => true,
            Self::ClockSkew
            | Self::RefusedConnections
            | Self::ServerClock
            | Self::SignatureFailures => false,
        }
    }
}

/// The name of a rule: its kind, and its product if it is for one alone, such as `rollout_halted@th1`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleName {
    /// What it looks for.
    pub kind: Kind,
    /// The product whose rule it is, in the place of the rule for all.
    pub product: Option<ProductId>,
}

/// The text names no rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no such rule")]
pub struct NoRule;

/// A rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// What operators may change.
    pub settings: Settings,
    /// How often they did.
    pub revision: u64,
    /// Who did last, and when, in Unix milliseconds.
    pub changed: Option<(String, u64)>,
}

/// What operators may change of a rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether anything is looked for.
    pub enabled: bool,
    /// How urgent an alert is.
    pub severity: Severity,
    /// The number from which on it fires.
    pub threshold: u64,
    /// The number below which it is over.
    pub clear_below: u64,
    /// The time that is looked at, in seconds: what that means, the kind says.
    pub window_s: u32,
    /// For how many seconds the threshold must be reached.
    pub for_s: u32,
    /// For how many seconds the number must stay below the lower mark.
    pub clear_for_s: u32,
}

/// Why settings make no sense.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field} is {from} to {to}")]
pub struct Unfit {
    /// The field.
    pub field: &'static str,
    /// The least that makes sense.
    pub from: u64,
    /// The most.
    pub to: u64,
}

impl Rule {
    /// Returns the rule of a kind as it is before anybody changes it.
    pub fn usual(kind: Kind) -> Self {
        Self { name: kind.into(), settings: Settings::usual(kind), revision: 0, changed: None }
    }

    /// Returns all rules: those that operators changed, and the usual ones.
    pub fn all(changed: Vec<Self>) -> Vec<Self> {
        let is_usual = |kind: &&Kind| !changed.iter().any(|rule| rule.name == (**kind).into());
        let usual: Vec<_> = Kind::ALL.iter().filter(is_usual).copied().map(Self::usual).collect();
        let mut all: Vec<_> = changed.into_iter().chain(usual).collect();
        all.sort_by_key(|rule| rule.name.to_string());
        all
    }

    /// Tells whether it is this rule, of all of its kind, that is for a product.
    pub fn is_for(&self, product: &ProductId, all: &[Self]) -> bool {
        let own = RuleName { kind: self.name.kind, product: Some(product.clone()) };
        match &self.name.product {
            Some(_) => self.name == own,
            None => !all.iter().any(|other| other.name == own),
        }
    }
}

impl From<Kind> for RuleName {
    fn from(kind: Kind) -> Self {
        Self { kind, product: None }
    }
}

impl Settings {
    /// Returns the settings of a kind as they are before anybody changes them.
    pub const fn usual(kind: Kind) -> Self {
        use Severity::{Critical, Warning};
        // Severity, threshold and lower mark, window, how long it must stay away.
        let (severity, (threshold, clear_below), window_s, clear_for_s) = match kind {
            Kind::CertificateExpiring => (Warning, (1, 1), 14 * DAY_S, 0),
            Kind::ClockSkew => (Warning, (10, 5), 600, 600),
            Kind::DeviceLost | Kind::UpdateFailed => (Warning, (1, 1), DAY_S, 0),
            Kind::RefusedConnections => (Warning, (300, 150), 300, 600),
            Kind::RolloutHalted => (Critical, (1, 1), 0, 0),
            Kind::ServerClock => (Critical, (60, 30), 0, 0),
            Kind::SignatureFailures => (Critical, (10, 5), 600, 600),
            Kind::TokenMisused => (Critical, (1, 1), DAY_S, 0),
        };
        Self { enabled: true, severity, threshold, clear_below, window_s, for_s: 0, clear_for_s }
    }

    /// Checks that they make sense for a kind.
    ///
    /// # Errors
    ///
    /// [`Unfit`] names the field and its bounds.
    pub fn check(&self, kind: Kind) -> Result<(), Unfit> {
        let windows = kind.windows_s();
        let bounds = [
            ("threshold", self.threshold, (1, THRESHOLD_MAX)),
            ("clear_below", self.clear_below, (1, self.threshold)),
            (
                "window_s",
                self.window_s.into(),
                ((*windows.start()).into(), (*windows.end()).into()),
            ),
            ("for_s", self.for_s.into(), (0, FOR_S_MAX.into())),
            ("clear_for_s", self.clear_for_s.into(), (0, CLEAR_FOR_S_MAX.into())),
        ];
        let unfit = bounds.into_iter().find(|(_, value, (from, to))| value < from || value > to);
        unfit.map_or(Ok(()), |(field, _, (from, to))| Err(Unfit { field, from, to }))
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.product {
            Some(product) => write!(f, "{}@{product}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl FromStr for RuleName {
    type Err = NoRule;

    fn from_str(text: &str) -> Result<Self, NoRule> {
        let (kind, product) =
            text.split_once('@').map_or((text, None), |(kind, product)| (kind, Some(product)));
        let kind = Kind::parse(kind).ok_or(NoRule)?;
        let product = product.map(ProductId::parse).transpose().map_err(|_| NoRule)?;
        if product.is_some() && !kind.is_about_products() {
            return Err(NoRule);
        }
        Ok(Self { kind, product })
    }
}

impl Serialize for RuleName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RuleName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_rule_is_on_and_makes_sense() {
        let all = Rule::all(Vec::new());
        assert_eq!(all.len(), Kind::ALL.len());
        for Rule { name, settings, .. } in all {
            assert!(settings.enabled, "{name}");
            assert_eq!(settings.check(name.kind), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_rule_that_was_changed_takes_the_place_of_the_usual_one() {
        let mut changed = Rule::usual(Kind::RolloutHalted);
        changed.settings.enabled = false;
        let all = Rule::all(vec![changed.clone()]);
        assert_eq!(all.len(), Kind::ALL.len());
        assert!(all.contains(&changed));
    }

    #[test]
    fn a_product_has_the_rule_for_all_or_one_of_its_own() {
        let general = Rule::usual(Kind::RolloutHalted);
        let name: RuleName = "rollout_halted@th1".parse().unwrap();
        assert_eq!(name.to_string(), "rollout_halted@th1");
        let own = Rule { name, ..general.clone() };
        let all = Rule::all(vec![own.clone()]);
        assert_eq!(all.len(), Kind::ALL.len() + 1);
        let [th1, th2] = ["th1", "th2"].map(|product| ProductId::parse(product).unwrap());
        let is_for = |rule: &Rule| [&th1, &th2].map(|product| rule.is_for(product, &all));
        assert_eq!((is_for(&general), is_for(&own)), ([false, true], [true, false]));
        for wrong in [
            "rollout_halted@",
            "rollout_halted@a/b",
            "clock_skew@th1",
            "nonsense",
            "nonsense@th1",
            "",
        ] {
            assert_eq!(wrong.parse::<RuleName>(), Err(NoRule), "{wrong}");
        }
    }

    #[test]
    fn settings_out_of_bounds_are_named_with_the_bounds() {
        let usual = Settings::usual(Kind::RolloutHalted);
        for (settings, field) in [
            (Settings { threshold: 0, ..usual.clone() }, "threshold"),
            (Settings { threshold: THRESHOLD_MAX + 1, ..usual.clone() }, "threshold"),
            (Settings { clear_below: 0, ..usual.clone() }, "clear_below"),
            (Settings { clear_below: 2, ..usual.clone() }, "clear_below"),
            (Settings { window_s: 1, ..usual.clone() }, "window_s"),
            (Settings { for_s: FOR_S_MAX + 1, ..usual.clone() }, "for_s"),
            (Settings { clear_for_s: CLEAR_FOR_S_MAX + 1, ..usual }, "clear_for_s"),
        ] {
            assert_eq!(settings.check(Kind::RolloutHalted).unwrap_err().field, field);
        }
    }
}
