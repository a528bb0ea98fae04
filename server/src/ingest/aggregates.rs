//! Adds up readings by product, for Prometheus: those that the configuration names, never a device.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use waxwing_wire::ProductId;

use crate::domain::sink::aggregate::{Aggregate, numbers};
use crate::domain::sink::reading::Readings;

type Number = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct Labels {
    product: String,
    reading: String,
}

/// Sums of readings. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Aggregates {
    names: Arc<[String]>,
    all: Arc<Mutex<HashMap<Labels, Aggregate>>>,
    values: Family<Labels, Counter>,
    sum: Family<Labels, Number>,
    min: Family<Labels, Number>,
    max: Family<Labels, Number>,
}

impl Aggregates {
    /// Adds up the readings of these names.
    pub fn new(names: &[String]) -> Self {
        Self { names: names.into(), ..Self::default() }
    }

    /// Adds them to the metrics of the server.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Values of a reading in telemetry";
        registry.register("telemetry_values", help, self.values.clone());
        registry.register("telemetry_sum", "Their sum", self.sum.clone());
        let help = "The smallest of the last five to ten minutes in which there were any";
        registry.register("telemetry_min", help, self.min.clone());
        registry.register("telemetry_max", "The largest of the same time", self.max.clone());
    }

    /// Adds the readings of a message.
    pub(super) fn add(&self, product: &ProductId, payload: &str, now_ms: u64) {
        if self.names.is_empty() {
            return;
        }
        let Ok(readings) = Readings::parse(payload, now_ms) else { return };
        for (name, value) in numbers(&self.names, &readings) {
            let labels = Labels { product: product.to_string(), reading: name.to_owned() };
            self.add_one(&labels, value, now_ms);
        }
    }

    fn add_one(&self, labels: &Labels, value: f64, now_ms: u64) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let aggregate = all.entry(labels.clone()).or_default();
        if !aggregate.add(value, now_ms) {
            return;
        }
        self.values.get_or_create(labels).inc();
        self.sum.get_or_create(labels).set(aggregate.sum);
        if let Some(range) = aggregate.range() {
            self.min.get_or_create(labels).set(range.min);
            self.max.get_or_create(labels).set(range.max);
        }
    }
}
