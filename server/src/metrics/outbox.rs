//! Numbers about messages to others on their way: to webhooks, and by mail.
//!
//! Not here: to whom; a series for each of them helps nobody.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::webhook::delivery::State;

/// What came of an attempt to send a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// The receiver has it.
    Delivered,
    /// It is sent again later.
    Failed,
    /// It was the last one.
    GivenUp,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct StateLabels {
    state: &'static str,
}

/// Numbers about one outbox.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    attempts: Family<OutcomeLabels, Counter>,
    messages: Family<StateLabels, Gauge<u64, AtomicU64>>,
}

impl Outbox {
    /// Makes the numbers known: `<name>_attempts` and `<name>_messages`.
    pub(super) fn registered(registry: &mut Registry, name: &str) -> Self {
        let outbox = Self::default();
        let help = format!("Messages sent ({name}), by what came of it");
        registry.register(format!("{name}_attempts"), help, outbox.attempts.clone());
        let help = format!("Messages in the outbox ({name}), by state");
        registry.register(format!("{name}_messages"), help, outbox.messages.clone());
        outbox
    }

    /// Counts an attempt.
    pub(super) fn attempt(&self, attempt: Attempt) {
        let outcome = match attempt {
            Attempt::Delivered => "delivered",
            Attempt::Failed => "failed",
            Attempt::GivenUp => "given_up",
        };
        self.attempts.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Sets how many messages are in each state.
    pub(super) fn set(&self, counts: &[(State, u64)]) {
        for state in State::ALL {
            let count = counts.iter().find(|(other, _)| other == state).map_or(0, |(_, it)| *it);
            let labels = StateLabels { state: state.as_str() };
            self.messages.get_or_create(&labels).set(count);
        }
    }
}
