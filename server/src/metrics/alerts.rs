//! Numbers about alerts: by rule and state, never by subject.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::alert::{Alert, Kind, Stage};

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct Labels {
    rule: &'static str,
    state: &'static str,
}

/// Numbers about alerts.
#[derive(Debug, Default)]
pub(super) struct Alerts(Family<Labels, Gauge<u64, AtomicU64>>);

impl Alerts {
    /// Makes the numbers known.
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let alerts = Self::default();
        registry.register(
            "alerts",
            "Alerts that are not over, by rule and state",
            alerts.0.clone(),
        );
        alerts
    }

    /// Sets how many alerts there are; the rules of products count with those for all.
    pub(super) fn set(&self, open: &[Alert]) {
        let mut counts = BTreeMap::new();
        for alert in open {
            *counts.entry((alert.rule.kind.as_str(), alert.state.as_str())).or_insert(0) += 1;
        }
        let states = [Stage::Pending, Stage::Firing].map(Stage::as_str);
        for (kind, state) in Kind::ALL.iter().flat_map(|kind| states.map(|state| (kind, state))) {
            let labels = Labels { rule: kind.as_str(), state };
            let count = counts.get(&(kind.as_str(), state)).copied().unwrap_or(0);
            self.0.get_or_create(&labels).set(count);
        }
    }
}
