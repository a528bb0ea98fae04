//! What is kept of what devices say.

use serde::{Deserialize, Serialize};

use super::{ConfigError, check};
use crate::domain::sink::aggregate::NAMES_MAX;
use crate::domain::sink::reading::NAME_BYTES_MAX;

/// Shortest time in hours that messages are kept: far longer than a copy of one would be fresh.
const KEPT_HOURS_MIN: u32 = 1;

/// Smallest limit of the message log in bytes: room for a batch and its indexes.
const BYTES_MIN: u64 = 16 << 20;

/// The message log.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Messages {
    /// Hours for which messages are kept.
    pub kept_hours: u32,
    /// Bytes that the log may take on the disk, a batch more or less. Older messages are forgotten sooner if they take
    /// more; when none can be forgotten, devices are told to send again later.
    pub bytes: u64,
    /// Readings in telemetry that are added up by product for Prometheus, by name: `celsius`,
    /// `battery.volts`. At most 32.
    pub aggregates: Vec<String>,
}

impl Default for Messages {
    fn default() -> Self {
        Self { kept_hours: 7 * 24, bytes: 4 << 30, aggregates: Vec::new() }
    }
}

impl Messages {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let hours = self.kept_hours;
        check(hours >= KEPT_HOURS_MIN, "messages.kept_hours", "must be at least 1")?;
        check(self.bytes >= BYTES_MIN, "messages.bytes", "must be at least 16 MiB")?;
        let are_few = self.aggregates.len() <= NAMES_MAX;
        let are_short = self.aggregates.iter().all(|name| name.len() <= NAME_BYTES_MAX);
        let rule = "must be 32 names of at most 128 bytes, at most";
        check(are_few && are_short, "messages.aggregates", rule)
    }
}
