//! What was refused over MQTT, and what listeners have missed. Read when somebody asks.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

use crate::mqtt::Shared;

/// Adds the counts to the metrics of the server.
pub fn register(registry: &mut Registry, shared: &Shared) {
    registry.register_collector(Box::new(Counts(shared.clone())));
}

#[derive(Debug)]
struct Counts(Shared);

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let missed = u64::try_from(self.0.audience.missed()).unwrap_or(u64::MAX);
        let help = "Messages that listeners were too slow for";
        let metric = encoder.encode_descriptor("mqtt_missed", help, None, MetricType::Counter)?;
        ConstCounter::new(missed).encode(metric)?;
        let help = "What clients were refused over MQTT, and why";
        let mut family =
            encoder.encode_descriptor("mqtt_refused", help, None, MetricType::Counter)?;
        for (part, reason, count) in self.0.refusals.all() {
            let labels = [("part", part.as_str()), ("reason", reason)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
