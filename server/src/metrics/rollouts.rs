//! Numbers about each rollout that is not over: by its name, never by device.
//!
//! Series come and go with rollouts, so that there are never more than a few for each that is open.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::Rollout;
use crate::domain::rollout::{Evidence, State};

/// Most rollouts that are shown one by one, those started last first: twenty series each. All of them are
/// counted.
const ROLLOUTS_MAX: usize = 100;

type Number = Gauge<u64, AtomicU64>;

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct RolloutLabels {
    rollout: String,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct RolloutStateLabels {
    rollout: String,
    state: &'static str,
}

/// Numbers about rollouts.
#[derive(Debug, Default)]
pub(super) struct Rollouts {
    open: Family<StateLabels, Number>,
    state: Family<RolloutStateLabels, Number>,
    devices: Family<RolloutStateLabels, Number>,
    phase: Family<RolloutLabels, Number>,
    phases: Family<RolloutLabels, Number>,
    broken: Family<RolloutLabels, Number>,
    overdue: Family<RolloutLabels, Number>,
    in_flight: Family<RolloutLabels, Number>,
    places: Family<RolloutLabels, Number>,
    risk: Family<RolloutLabels, Number>,
}

impl Rollouts {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Rollouts that are not over, by state";
        registry.register("rollouts", help, self.open.clone());
        let help = "1 for the state that the rollout is in";
        registry.register("rollout_state", help, self.state.clone());
        let help = "Devices of its started phases, by state";
        registry.register("rollout_devices", help, self.devices.clone());
        let help = "Phases that have started";
        registry.register("rollout_phase", help, self.phase.clone());
        registry.register("rollout_phases", "Phases of the plan", self.phases.clone());
        let help = "Devices that failed, went back or were given up, switched or not";
        registry.register("rollout_broken", help, self.broken.clone());
        let help = "Devices in flight that should have been heard of, and count as broken";
        registry.register("rollout_overdue", help, self.overdue.clone());
        let help = "Devices that were offered the release and have not come to an end";
        registry.register("rollout_in_flight", help, self.in_flight.clone());
        let help = "How many more devices could be let in now";
        registry.register("rollout_places", help, self.places.clone());
        let help = "Devices that may be lost before it is known whether the release is good";
        registry.register("rollout_risk", help, self.risk.clone());
    }

    /// Shows these rollouts, and no others any more.
    pub(super) fn set(&self, open: &[(&Rollout, Vec<Evidence>)]) {
        self.forget();
        for state in State::ALL.iter().filter(|state| !state.is_final()) {
            let count = open.iter().filter(|(rollout, _)| rollout.state == *state).count();
            let labels = StateLabels { state: state.as_str() };
            self.open.get_or_create(&labels).set(number(count));
        }
        let mut latest: Vec<_> = open.iter().collect();
        latest.sort_by_key(|(rollout, _)| std::cmp::Reverse(rollout.started_at));
        for (rollout, evidence) in latest.into_iter().take(ROLLOUTS_MAX) {
            self.show(rollout, &Evidence::sum(evidence));
        }
    }

    fn show(&self, rollout: &Rollout, all: &Evidence) {
        let name = || rollout.id.to_string();
        let labels = || RolloutLabels { rollout: name() };
        let in_state = |state| RolloutStateLabels { rollout: name(), state };
        self.state.get_or_create(&in_state(rollout.state.as_str())).set(1);
        for (state, count) in all.counts.iter() {
            self.devices.get_or_create(&in_state(state.as_str())).set(count);
        }
        for (family, value) in [
            (&self.phase, number(rollout.started().count())),
            (&self.phases, number(rollout.plan.phases.len())),
            (&self.broken, all.counts.failed()),
            (&self.overdue, all.overdue),
            (&self.in_flight, all.counts.in_flight()),
            (&self.places, rollout.plan.places(all)),
            (&self.risk, u64::from(rollout.plan.risk)),
        ] {
            family.get_or_create(&labels()).set(value);
        }
    }

    fn forget(&self) {
        self.state.clear();
        self.devices.clear();
        let families = [&self.phase, &self.phases, &self.broken, &self.overdue, &self.in_flight];
        families.into_iter().chain([&self.places, &self.risk]).for_each(Family::clear);
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use waxwing_wire::report;

    use super::*;
    use crate::domain::rollout::tests::{finish, rollout};

    fn text(shown: &Rollouts) -> String {
        let mut registry = Registry::with_prefix("waxwing");
        shown.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn rollouts_that_are_over_are_shown_no_more() {
        let shown = Rollouts::default();
        let mut running = rollout("r-1", &[50, 100]);
        running.start(std::iter::empty(), 5).unwrap();
        let mut evidence = Evidence::default();
        evidence.counts.add_many(report::State::Booted, 3);
        evidence.counts.add_many(report::State::RolledBack, 2);
        evidence.overdue = 1;
        shown.set(&[(&running, vec![evidence])]);
        let lines = text(&shown);
        for line in [
            r#"waxwing_rollouts{state="running"} 1"#,
            r#"waxwing_rollout_state{rollout="r-1",state="running"} 1"#,
            r#"waxwing_rollout_devices{rollout="r-1",state="booted"} 3"#,
            r#"waxwing_rollout_broken{rollout="r-1"} 2"#,
            r#"waxwing_rollout_overdue{rollout="r-1"} 1"#,
            r#"waxwing_rollout_in_flight{rollout="r-1"} 3"#,
            r#"waxwing_rollout_phase{rollout="r-1"} 1"#,
            r#"waxwing_rollout_phases{rollout="r-1"} 2"#,
            r#"waxwing_rollout_risk{rollout="r-1"} 15"#,
        ] {
            assert!(lines.lines().any(|other| other == line), "{line} in {lines}");
        }
        finish(&mut running, 6);
        shown.set(&[]);
        assert!(!text(&shown).contains("r-1"));
    }

    #[test]
    fn however_many_rollouts_there_are_so_many_are_shown_one_by_one() {
        let all: Vec<_> = (0..300).map(|n| rollout(&format!("r-{n}"), &[100])).collect();
        let open: Vec<_> = all.iter().map(|rollout| (rollout, Vec::new())).collect();
        let shown = Rollouts::default();
        shown.set(&open);
        let lines = text(&shown);
        let one_by_one = lines.lines().filter(|line| line.starts_with("waxwing_rollout_risk{"));
        assert_eq!(one_by_one.count(), ROLLOUTS_MAX);
        assert!(lines.contains(r#"waxwing_rollouts{state="draft"} 300"#), "{lines}");
    }
}
