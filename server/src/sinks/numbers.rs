//! What sinks did and how far they are, for Prometheus: by sink, never by device.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::sink::progress::Outcome;

type Number = Gauge<u64, AtomicU64>;

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct Labels {
    sink: String,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct OutcomeLabels {
    sink: String,
    outcome: &'static str,
}

/// Numbers about sinks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    messages: Family<OutcomeLabels, Counter>,
    behind: Family<Labels, Number>,
    dead: Family<Labels, Number>,
    dropped: Family<Labels, Counter>,
    answers: Family<OutcomeLabels, Counter>,
}

impl Numbers {
    /// Adds them to the metrics of the server.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Messages sent to sinks, by what came of it";
        registry.register("sink_messages", help, self.messages.clone());
        let help = "Messages in the log that the sink has not taken, at most";
        registry.register("sink_behind", help, self.behind.clone());
        let help = "Messages that the sink refused, or failed at too often, and that are kept";
        registry.register("sink_dead_letters", help, self.dead.clone());
        let help = "Dead letters that there was no room for";
        registry.register("sink_dead_letters_dropped", help, self.dropped.clone());
        let help = "Answers of back ends to devices, by what became of them";
        registry.register("sink_answers", help, self.answers.clone());
    }

    pub(super) fn count(&self, sink: &str, outcome: &Outcome) {
        let labels = OutcomeLabels { sink: sink.to_owned(), outcome: word(outcome) };
        self.messages.get_or_create(&labels).inc();
    }

    pub(super) fn answered(&self, sink: &str, outcome: &'static str) {
        let labels = OutcomeLabels { sink: sink.to_owned(), outcome };
        self.answers.get_or_create(&labels).inc();
    }

    pub(super) fn behind(&self, sink: &str, messages: u64) {
        self.behind.get_or_create(&labels(sink)).set(messages);
    }

    pub(super) fn dead(&self, sink: &str, letters: u64) {
        self.dead.get_or_create(&labels(sink)).set(letters);
    }

    pub(super) fn dropped(&self, sink: &str, letters: u64) {
        self.dropped.get_or_create(&labels(sink)).inc_by(letters);
    }
}

fn labels(sink: &str) -> Labels {
    Labels { sink: sink.to_owned() }
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Failed(_) => "failed",
        Outcome::Refused(_) => "refused",
        Outcome::Taken => "taken",
        Outcome::Unreachable { .. } => "unreachable",
    }
}
