//! Numbers about the server for Prometheus: fleet aggregates and listener health.
//!
//! Never a device id as a label: a million series help nobody. Not here: telemetry of devices.

mod alerts;
mod listener;
pub mod mqtt;
mod outbox;
mod rollouts;

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use self::alerts::Alerts;
pub use self::listener::{Handshake, Name};
pub use self::outbox::Attempt;
use self::outbox::Outbox;
use self::rollouts::Rollouts;
use crate::broker;
use crate::domain::Rollout;
use crate::domain::alert::Alert;
use crate::domain::expiry::Expiry;
use crate::domain::rollout::{Counts, Evidence};
use crate::domain::webhook::delivery;
use crate::expiries::Devices;

/// Media type of [`Metrics::to_text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Count = Gauge<u64, AtomicU64>;

/// How a poll was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Poll {
    /// With a decision the device did not have.
    Decided,
    /// Nothing new: a timestamp.
    Idle,
    /// With an error.
    Refused,
}

/// How a certificate request was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Enrolment {
    /// With a certificate.
    Issued,
    /// With an error.
    Refused,
}

/// What became of a new server CA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reload {
    /// It was taken up.
    Done,
    /// It cannot be used, and the one before stays.
    Refused,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct HandshakeLabels {
    listener: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct ListenerLabels {
    listener: &'static str,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct SubjectLabels {
    subject: String,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct LevelLabels {
    level: &'static str,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct StateLabels {
    state: &'static str,
}

/// All metrics of the server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    handshakes: Family<HandshakeLabels, Counter>,
    connections: Family<ListenerLabels, Gauge>,
    unwelcome: Family<ListenerLabels, Counter>,
    // The counters of a poll are looked up once, not per poll.
    polls_decided: Counter,
    polls_idle: Counter,
    polls_refused: Counter,
    certificates_issued: Counter,
    certificates_refused: Counter,
    reloads_done: Counter,
    reloads_refused: Counter,
    image_bytes: Counter,
    deployments: Family<StateLabels, Count>,
    rollouts: Rollouts,
    expiry_seconds: Family<SubjectLabels, Gauge>,
    expiry_level: Family<SubjectLabels, Gauge>,
    device_certificates: Family<LevelLabels, Count>,
    audit_broken: Gauge,
    webhooks: Outbox,
    mail: Outbox,
    alerts: Alerts,
    broker: broker::Numbers,
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
        let connections = Family::default();
        registry.register("connections", "Open TLS connections", connections.clone());
        let unwelcome = Family::default();
        let help =
            "Requests of somebody who may not ask: no token, an unknown or revoked certificate";
        registry.register("unwelcome_requests", help, unwelcome.clone());
        let polls = Family::default();
        registry.register("polls", "Polls answered", polls.clone());
        let requests = Family::default();
        registry.register("certificate_requests", "EST requests answered", requests.clone());
        let reloads = Family::default();
        registry.register("server_ca_reloads", "New server CAs looked at", reloads.clone());
        let image_bytes = Counter::default();
        registry.register("image_bytes", "Bytes of images asked for", image_bytes.clone());
        let deployments = Family::default();
        let help = "Devices in rollouts that are not over, by state";
        registry.register("deployments", help, deployments.clone());
        let expiry_seconds = Family::default();
        let help = "Seconds until it expires; negative once it has";
        registry.register("expiry_seconds", help, expiry_seconds.clone());
        let expiry_level = Family::default();
        let help = "How urgent that is: 0 ok, 1 notice, 2 warning, 3 critical, 4 expired";
        registry.register("expiry_level", help, expiry_level.clone());
        let device_certificates = Family::default();
        let help = "Device certificates in use, by how soon they expire";
        registry.register("device_certificates", help, device_certificates.clone());
        let audit_broken = Gauge::default();
        let help = "1 if the audit log is not as it was written, as of the last look";
        registry.register("audit_broken", help, audit_broken.clone());
        let rollouts = Rollouts::default();
        rollouts.register(&mut registry);
        Self {
            handshakes,
            connections,
            unwelcome,
            polls_decided: of(&polls, "decided"),
            polls_idle: of(&polls, "idle"),
            polls_refused: of(&polls, "refused"),
            certificates_issued: of(&requests, "issued"),
            certificates_refused: of(&requests, "refused"),
            reloads_done: of(&reloads, "done"),
            reloads_refused: of(&reloads, "refused"),
            image_bytes,
            deployments,
            rollouts,
            expiry_seconds,
            expiry_level,
            device_certificates,
            audit_broken,
            webhooks: Outbox::registered(&mut registry, "webhook"),
            mail: Outbox::registered(&mut registry, "mail"),
            alerts: Alerts::registered(&mut registry),
            broker: broker::Numbers::registered(&mut registry),
            registry,
        }
    }

    /// Returns the numbers about a broker of others.
    pub const fn broker(&self) -> &broker::Numbers {
        &self.broker
    }

    /// Counts a handshake.
    pub fn handshake(&self, listener: Name, outcome: Handshake) {
        let labels = HandshakeLabels { listener: listener.as_str(), outcome: outcome.as_str() };
        self.handshakes.get_or_create(&labels).inc();
    }

    /// Counts a request of somebody who may not ask.
    pub fn unwelcome(&self, listener: Name) {
        self.unwelcome.get_or_create(&ListenerLabels { listener: listener.as_str() }).inc();
    }

    /// Returns how many connections and requests of a listener were refused so far.
    pub fn refused(&self, listener: Name) -> u64 {
        let listener = listener.as_str();
        let count = |outcome: Handshake| {
            let labels = HandshakeLabels { listener, outcome: outcome.as_str() };
            self.handshakes.get_or_create(&labels).get()
        };
        let handshakes = [Handshake::Failed, Handshake::TimedOut, Handshake::TooMany].map(count);
        let requests = self.unwelcome.get_or_create(&ListenerLabels { listener }).get();
        handshakes.into_iter().fold(requests, u64::saturating_add)
    }

    /// Counts a connection for as long as the answer is held.
    pub fn connection(&self, listener: Name) -> OpenConnection {
        let labels = ListenerLabels { listener: listener.as_str() };
        let gauge = self.connections.get_or_create(&labels).clone();
        gauge.inc();
        OpenConnection(gauge)
    }

    /// Counts a poll.
    pub fn poll(&self, outcome: Poll) {
        match outcome {
            Poll::Decided => &self.polls_decided,
            Poll::Idle => &self.polls_idle,
            Poll::Refused => &self.polls_refused,
        }
        .inc();
    }

    /// Counts a certificate request.
    pub fn enrolment(&self, outcome: Enrolment) {
        match outcome {
            Enrolment::Issued => &self.certificates_issued,
            Enrolment::Refused => &self.certificates_refused,
        }
        .inc();
    }

    /// Counts a new server CA.
    pub fn reload(&self, outcome: Reload) {
        match outcome {
            Reload::Done => &self.reloads_done,
            Reload::Refused => &self.reloads_refused,
        }
        .inc();
    }

    /// Counts bytes of an image that were asked for.
    pub fn image_bytes(&self, bytes: u64) {
        self.image_bytes.inc_by(bytes);
    }

    /// Sets the numbers of the rollouts that are not over, and of all their devices.
    pub fn rollouts(&self, open: &[(&Rollout, Vec<Evidence>)]) {
        let counts = open.iter().map(|(_, evidence)| Evidence::sum(evidence).counts);
        let counts = Counts::sum(&counts.collect::<Vec<_>>());
        self.rollouts.set(open);
        for (state, count) in counts.iter() {
            let labels = StateLabels { state: state.as_str() };
            self.deployments.get_or_create(&labels).set(count);
        }
    }

    /// Sets how soon everything expires. What does not expire any more is not shown any more.
    pub fn expiries(&self, expiries: &[Expiry], now_ms: u64) {
        self.expiry_seconds.clear();
        self.expiry_level.clear();
        for expiry in expiries {
            let labels = SubjectLabels { subject: expiry.subject.clone() };
            self.expiry_seconds.get_or_create(&labels).set(expiry.seconds_left(now_ms));
            let rank = expiry.level(now_ms).rank();
            self.expiry_level.get_or_create(&labels).set(rank.into());
        }
    }

    /// Sets how soon the certificates of devices expire.
    pub fn device_certificates(&self, devices: &Devices) {
        for (level, count) in devices.iter() {
            let labels = LevelLabels { level: level.as_str() };
            self.device_certificates.get_or_create(&labels).set(count);
        }
    }

    /// Sets whether the audit log is as it was written.
    pub fn audit(&self, is_whole: bool) {
        self.audit_broken.set(i64::from(!is_whole));
    }

    /// Counts an attempt to send a message to a webhook.
    pub fn webhook(&self, attempt: Attempt) {
        self.webhooks.attempt(attempt);
    }

    /// Sets how many messages to webhooks are in each state.
    pub fn outbox(&self, counts: &[(delivery::State, u64)]) {
        self.webhooks.set(counts);
    }

    /// Counts an attempt to send mail.
    pub fn mail(&self, attempt: Attempt) {
        self.mail.attempt(attempt);
    }

    /// Sets how many messages by mail are in each state.
    pub fn mails(&self, counts: &[(delivery::State, u64)]) {
        self.mail.set(counts);
    }

    /// Sets how many alerts there are that are not over.
    pub fn alerts(&self, open: &[Alert]) {
        self.alerts.set(open);
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

/// A connection that is counted as open.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn of(family: &Family<OutcomeLabels, Counter>, outcome: &'static str) -> Counter {
    family.get_or_create(&OutcomeLabels { outcome }).clone()
}

#[cfg(test)]
mod tests {
    use waxwing_wire::report::State;

    use super::*;
    use crate::domain::rollout::tests::rollout;

    #[track_caller]
    fn check(metrics: &Metrics, line: &str) {
        let text = metrics.to_text().unwrap();
        assert!(text.lines().any(|other| other == line), "{line} in {text}");
    }

    #[test]
    fn outcomes_are_labels_and_devices_are_not() {
        let metrics = Metrics::new();
        metrics.handshake(Name::Device, Handshake::TimedOut);
        metrics.poll(Poll::Idle);
        metrics.enrolment(Enrolment::Refused);
        let mut evidence = Evidence::default();
        evidence.counts.add_many(State::Healthy, 3);
        metrics.rollouts(&[(&rollout("r-1", &[100]), vec![evidence])]);
        check(&metrics, r#"waxwing_tls_handshakes_total{listener="device",outcome="timed_out"} 1"#);
        check(&metrics, r#"waxwing_polls_total{outcome="idle"} 1"#);
        check(&metrics, r#"waxwing_certificate_requests_total{outcome="refused"} 1"#);
        check(&metrics, r#"waxwing_deployments{state="healthy"} 3"#);
    }

    #[test]
    fn a_connection_is_counted_while_it_is_open() {
        let metrics = Metrics::new();
        let open = metrics.connection(Name::Mqtt);
        check(&metrics, r#"waxwing_connections{listener="mqtt"} 1"#);
        drop(open);
        check(&metrics, r#"waxwing_connections{listener="mqtt"} 0"#);
    }
}
