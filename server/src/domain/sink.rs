//! Sinks: other systems that get what devices say, each at its own pace.
//!
//! The message log is the queue; a sink is a place in it ([`progress`]). Not here: how a message is sent.

pub mod aggregate;
pub mod line;
pub mod progress;
pub mod reading;

use waxwing_wire::topic::Kind;

use super::words;

/// Most sinks: each reads the whole log.
pub const SINKS_MAX: usize = 16;

/// Dead letters that are kept of one sink. Beyond, the oldest goes; its message is in the log for as long as
/// any other.
pub const DEAD_LETTERS_MAX: u32 = 10_000;

words!(
    /// What kind of system it is.
    System {
        /// Whatever takes a POST of JSON, and may answer the device.
        Http "http",
        /// InfluxDB, or what else takes its line protocol.
        Influxdb "influxdb",
        /// Another MQTT broker.
        Mqtt "mqtt",
    }
);

words!(
    /// What messages are about, as far as sinks get them.
    Subject {
        /// Answers to commands.
        Response "response",
        /// Readings.
        Telemetry "telemetry",
    }
);

impl Subject {
    /// Returns what messages of a topic are about; sinks get no others.
    pub const fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Response => Some(Self::Response),
            Kind::Telemetry => Some(Self::Telemetry),
            Kind::Command | Kind::Report | Kind::State => None,
        }
    }
}
