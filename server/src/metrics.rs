//! Numbers about the server for Prometheus: fleet aggregates and listener health.
//!
//! Never a device id as a label: a million series help nobody. Not here: telemetry of devices.

use std::fmt;
use std::io;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::error::Elapsed;

/// Media type of [`Metrics::to_text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Which listener.
#[derive(Clone, Copy, Debug, Eq, EncodeLabelValue, Hash, PartialEq)]
pub enum Name {
    /// REST API.
    Admin,
    /// Polls and images.
    Device,
    /// EST without a client certificate.
    Enrol,
    /// MQTT.
    Mqtt,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Device => "device",
            Self::Enrol => "enrol",
            Self::Mqtt => "mqtt",
        })
    }
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, Eq, EncodeLabelValue, Hash, PartialEq)]
pub enum Handshake {
    /// With a connection.
    Done,
    /// With an error: no certificate, a foreign one, no TLS at all.
    Failed,
    /// At its deadline.
    TimedOut,
    /// Before it began: too many connections, or too many handshakes from one source.
    TooMany,
}

impl Handshake {
    /// Reads the outcome of a handshake under a deadline.
    pub const fn of<T>(outcome: &Result<io::Result<T>, Elapsed>) -> Self {
        match outcome {
            Ok(Ok(_)) => Self::Done,
            Ok(Err(_)) => Self::Failed,
            Err(_) => Self::TimedOut,
        }
    }
}

/// How a poll was answered.
#[derive(Clone, Copy, Debug, Eq, EncodeLabelValue, Hash, PartialEq)]
pub enum Poll {
    /// Nothing new: a timestamp.
    Idle,
    /// With a decision the device did not have.
    Decision,
    /// With an error.
    Refused,
}

/// How a certificate request was answered.
#[derive(Clone, Copy, Debug, Eq, EncodeLabelValue, Hash, PartialEq)]
pub enum Enrolment {
    /// With a certificate.
    Issued,
    /// With an error.
    Refused,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct HandshakeLabels {
    listener: Name,
    outcome: Handshake,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct PollLabels {
    outcome: Poll,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct EnrolmentLabels {
    outcome: Enrolment,
}

/// All metrics of the server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    handshakes: Family<HandshakeLabels, Counter>,
    polls_idle: Counter,
    polls_decided: Counter,
    polls_refused: Counter,
    enrolments: Family<EnrolmentLabels, Counter>,
    downloaded: Counter,
    connections: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Starts at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("waxwing");
        let handshakes = Family::default();
        registry.register("tls_handshakes", "TLS handshakes", handshakes.clone());
        let polls = Family::<PollLabels, Counter>::default();
        registry.register("polls", "Polls answered", polls.clone());
        let enrolments = Family::default();
        registry.register("enrolments", "Certificate requests answered", enrolments.clone());
        let downloaded = Counter::default();
        registry.register("image_bytes", "Bytes of images sent to devices", downloaded.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open TLS connections", connections.clone());
        // The counters of a poll are looked up once, not per poll.
        let poll = |outcome| polls.get_or_create(&PollLabels { outcome }).clone();
        let (polls_idle, polls_decided) = (poll(Poll::Idle), poll(Poll::Decision));
        let polls_refused = poll(Poll::Refused);
        Self {
            registry,
            handshakes,
            polls_idle,
            polls_decided,
            polls_refused,
            enrolments,
            downloaded,
            connections,
        }
    }

    /// Counts a handshake.
    pub fn handshake(&self, listener: Name, outcome: Handshake) {
        self.handshakes.get_or_create(&HandshakeLabels { listener, outcome }).inc();
    }

    /// Counts a poll.
    pub fn poll(&self, outcome: Poll) {
        match outcome {
            Poll::Decision => &self.polls_decided,
            Poll::Idle => &self.polls_idle,
            Poll::Refused => &self.polls_refused,
        }
        .inc();
    }

    /// Counts a certificate request.
    pub fn enrolment(&self, outcome: Enrolment) {
        self.enrolments.get_or_create(&EnrolmentLabels { outcome }).inc();
    }

    /// Counts bytes of an image sent.
    pub fn downloaded(&self, bytes: u64) {
        self.downloaded.inc_by(bytes);
    }

    /// Returns the gauge of open connections.
    pub fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// Returns the registry, for those who add their own metrics before the server starts.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Writes everything in the text format of Prometheus.
    pub fn to_text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_labels_and_devices_are_not() {
        let metrics = Metrics::new();
        metrics.handshake(Name::Device, Handshake::TimedOut);
        metrics.poll(Poll::Idle);
        let text = metrics.to_text().unwrap();
        assert!(
            text.contains(
                r#"waxwing_tls_handshakes_total{listener="Device",outcome="TimedOut"} 1"#
            ),
            "{text}"
        );
        assert!(text.contains(r#"waxwing_polls_total{outcome="Idle"} 1"#), "{text}");
    }
}
