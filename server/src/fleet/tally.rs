//! What the fleet did since the server started, for metrics: offers, decisions, and decisions that came too
//! late. Not here: counts of devices, which are in the ledger.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use crate::domain::Deployment;
use crate::domain::effect::{Effect, Moved};
use crate::domain::rollout::Action;

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct Labels {
    action: &'static str,
}

/// Counts what the fleet does. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    offers: Counter,
    gone_back: Counter,
    decisions: Family<Labels, Counter>,
    stale: Counter,
}

impl Tally {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("offers", "Releases offered to devices", self.offers.clone());
        let help = "Polls with another image than the one that the device was healthy with";
        registry.register("polls_contradicting", help, self.gone_back.clone());
        let help = "What rollouts decided by themselves, carried out";
        registry.register("decisions", help, self.decisions.clone());
        let help = "Decisions dropped because something had happened to the rollout since";
        registry.register("decisions_stale", help, self.stale.clone());
    }

    /// Counts what was stored.
    pub(super) fn done(&self, effect: &Effect<'_>) {
        if !effect.sightings.is_empty() {
            let count = |is_such: fn(&Deployment) -> bool| {
                let such = effect.deployments.iter().filter(|(_, _, it)| is_such(it));
                u64::try_from(such.count()).unwrap_or(u64::MAX)
            };
            self.offers.inc_by(count(|it| it.state == State::Offered));
            self.gone_back.inc_by(count(|it| it.code == ErrorCode::GONE_BACK));
        }
        for Moved { action, .. } in &effect.moved {
            let action = match action {
                Action::Advance => "advance",
                Action::AskApproval => "ask_approval",
                Action::Finish => "finish",
                Action::Halt(_) => "halt",
            };
            self.decisions.get_or_create(&Labels { action }).inc();
        }
    }

    /// Counts a decision that came too late.
    pub(super) fn stale(&self) {
        self.stale.inc();
    }
}
