//! How many messages were taken in or refused, and why.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use waxwing_wire::topic::Kind;

use super::{Accepted, Refused};

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct Labels {
    kind: &'static str,
    outcome: &'static str,
}

/// Counts messages by kind and outcome. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Counters(Family<Labels, Counter>);

impl Counters {
    /// Adds the counters to the metrics of the server.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("messages", "Messages of devices by kind and outcome", self.0.clone());
    }

    /// Returns how many messages of a kind had an outcome.
    pub fn of(&self, kind: Kind, outcome: &'static str) -> u64 {
        self.0.get_or_create(&Labels { kind: kind.as_str(), outcome }).get()
    }

    pub(super) fn count(&self, kind: Kind, outcome: &Result<Accepted, Refused>) {
        let outcome = word(outcome);
        self.0.get_or_create(&Labels { kind: kind.as_str(), outcome }).inc();
    }
}

/// The word for what became of a message: stable, for numbers and programs.
pub const fn word(outcome: &Result<Accepted, Refused>) -> &'static str {
    match outcome {
        Ok(Accepted::Applied) => "applied",
        Ok(Accepted::Contradicts) => "contradicts",
        Ok(Accepted::Duplicate) => "duplicate",
        Ok(Accepted::Late) => "late",
        Err(Refused::Clock(_)) => "refused_clock",
        Err(Refused::Kind(_)) => "refused_kind",
        Err(Refused::Malformed(_)) => "refused_malformed",
        Err(Refused::NotInRollout) => "refused_not_in_rollout",
        Err(Refused::Replay) => "refused_replay",
        Err(Refused::ShuttingDown) => "refused_shutting_down",
        Err(Refused::Signature) => "refused_signature",
        Err(Refused::Stale) => "refused_stale",
        Err(Refused::TooMany) => "refused_too_many",
        Err(Refused::Unavailable(_)) => "refused_unavailable",
        Err(Refused::WrongSender) => "refused_wrong_sender",
    }
}
