//! The one place that looks at a clock.

use std::time::Duration;

use tokio::time::Instant;

use waxwing_agent::network::Clock;

/// Where a wrong clock begins: half a minute before 32 bits of milliseconds end.
const WRONG_BEGIN: Duration = Duration::from_secs(4_294_967 - 30);
/// How fast a wrong clock runs: a quarter too fast.
const WRONG_PERCENT: u32 = 125;

/// Uptime of a device: time since it was last switched on.
#[derive(Clone, Copy, Debug)]
pub struct Uptime {
    began: Instant,
    first: Duration,
    percent: u32,
}

impl Uptime {
    /// Starts from zero.
    #[expect(clippy::disallowed_methods, reason = "the clock port of the host")]
    pub fn start() -> Self {
        Self { began: Instant::now(), first: Duration::ZERO, percent: 100 }
    }

    /// Starts a clock that is wrong: 49.7 days ahead, and too fast.
    pub fn start_wrong() -> Self {
        Self { first: WRONG_BEGIN, percent: WRONG_PERCENT, ..Self::start() }
    }

    /// Waits until the device has been up for so long.
    pub async fn reaches(&self, uptime: Duration) {
        let wait = uptime.saturating_sub(self.first).saturating_mul(100) / self.percent;
        match self.began.checked_add(wait) {
            Some(instant) => tokio::time::sleep_until(instant).await,
            // Further away than a clock can count.
            None => std::future::pending().await,
        }
    }
}

impl Clock for Uptime {
    fn now(&self) -> Duration {
        self.first.saturating_add(self.began.elapsed().saturating_mul(self.percent) / 100)
    }
}

/// Returns the time of this machine, in Unix seconds. Only a gateway goes by it: devices are told by the
/// Director.
#[expect(clippy::disallowed_methods, reason = "the clock port of the host")]
pub fn unix_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wrong_clock_is_far_ahead_and_too_fast_and_agrees_with_itself() {
        let (right, wrong) = (Uptime::start(), Uptime::start_wrong());
        assert_eq!((right.now(), wrong.now()), (Duration::ZERO, WRONG_BEGIN));
        right.reaches(Duration::from_mins(1)).await;
        assert_eq!(wrong.now(), WRONG_BEGIN + Duration::from_secs(75));
        wrong.reaches(WRONG_BEGIN + Duration::from_secs(100)).await;
        assert_eq!(right.now(), Duration::from_secs(80));
        assert!(wrong.now() > Duration::from_millis(u32::MAX.into()));
    }
}
