//! The one place that looks at a clock.

use std::time::Duration;

use tokio::time::Instant;

use waxwing_agent::network::Clock;

/// Uptime of a device: time since it was last switched on.
#[derive(Clone, Copy, Debug)]
pub struct Uptime(Instant);

impl Uptime {
    /// Starts from zero.
    #[expect(clippy::disallowed_methods, reason = "the clock port of the host")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Waits until the device has been up for so long.
    pub async fn reaches(&self, uptime: Duration) {
        match self.0.checked_add(uptime) {
            Some(instant) => tokio::time::sleep_until(instant).await,
            // Further away than a clock can count.
            None => std::future::pending().await,
        }
    }
}

impl Clock for Uptime {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
