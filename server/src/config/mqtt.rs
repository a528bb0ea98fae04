//! How much one device may send over MQTT.

use serde::{Deserialize, Serialize};

use super::{ConfigError, check};
use crate::mqtt::Limits;

/// What one device may send, on the average and at once.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Messages that a device may send each second, on the average.
    pub messages_per_s: u32,
    /// Bytes that a device may send each second, on the average.
    pub bytes_per_s: u32,
    /// For how many seconds' worth of both it may send at once.
    pub burst_s: u32,
}

impl Default for Mqtt {
    fn default() -> Self {
        // A reading every twentieth of a second, or the backlog of a day with one every three minutes.
        Self { messages_per_s: 20, bytes_per_s: 64 << 10, burst_s: 30 }
    }
}

impl Mqtt {
    /// Returns the limits.
    pub const fn limits(&self) -> Limits {
        let Self { messages_per_s, bytes_per_s, burst_s } = *self;
        Limits { messages_per_s, bytes_per_s, burst_s }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check(self.messages_per_s > 0, "mqtt.messages_per_s", "must be positive")?;
        check(self.bytes_per_s > 0, "mqtt.bytes_per_s", "must be positive")?;
        check(self.burst_s > 0, "mqtt.burst_s", "must be positive")
    }
}
