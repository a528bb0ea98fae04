//! What is kept of what devices say.

use serde::{Deserialize, Serialize};

use super::{ConfigError, check};

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
}

impl Default for Messages {
    fn default() -> Self {
        Self { kept_hours: 7 * 24, bytes: 4 << 30 }
    }
}

impl Messages {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let hours = self.kept_hours;
        check(hours >= KEPT_HOURS_MIN, "messages.kept_hours", "must be at least 1")?;
        check(self.bytes >= BYTES_MIN, "messages.bytes", "must be at least 16 MiB")
    }
}
