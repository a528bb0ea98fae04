//! Numbers about a broker of others.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct Labels {
    through: &'static str,
}

const INTAKE: Labels = Labels { through: "intake" };
const SERVER: Labels = Labels { through: "server" };

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct Outcome {
    outcome: &'static str,
}

/// Counts what comes from the broker, and what goes there.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Only where there is a broker: without one nothing is amiss.
    connected: Family<Labels, Gauge>,
    commands: Family<Outcome, Counter>,
    messages: Family<Labels, Counter>,
}

impl Numbers {
    /// Makes the numbers known.
    pub(crate) fn registered(registry: &mut Registry) -> Self {
        let numbers = Self::default();
        let help = "1 while the server is connected to the broker of others, if there is to be one";
        registry.register("broker_connected", help, numbers.connected.clone());
        let help = "Packets with commands that the broker took or refused: two for each command";
        registry.register("broker_commands", help, numbers.commands.clone());
        let help = "Messages taken from the broker, by the process that took them";
        registry.register("broker_messages", help, numbers.messages.clone());
        numbers
    }

    pub(super) fn connected(&self, connected: bool) {
        self.connected.get_or_create(&SERVER).set(connected.into());
    }

    /// Counts what the broker said to a command.
    pub(super) fn answered(&self, taken: bool) {
        let outcome = if taken { "taken" } else { "refused" };
        self.commands.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a message that this process took.
    pub(super) fn taken_here(&self) {
        self.messages.get_or_create(&SERVER).inc();
    }

    /// Counts a message that another process handed over.
    pub(super) fn handed_over(&self) {
        self.messages.get_or_create(&INTAKE).inc();
    }
}
