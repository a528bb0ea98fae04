//! Uptime.

use core::time::Duration;

use embassy_time::Instant;
use waxwing_agent::network::Clock;

/// Time since the chip started.
#[derive(Clone, Copy, Debug)]
pub struct Uptime;

impl Clock for Uptime {
    fn now(&self) -> Duration {
        Duration::from_micros(Instant::now().as_micros())
    }
}
