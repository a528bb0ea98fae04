//! Time as a port: the one place that reads the system's clocks, and a fake for tests.
//!
//! Not here: timers. Loops sleep with tokio and pass the time they see into step functions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time for what is signed and stored, monotonic time for deadlines.
pub trait Clock: Send + Sync + 'static {
    /// Returns Unix time in milliseconds. May jump when the system's clock is set.
    fn now_ms(&self) -> u64;

    /// Returns the time since some fixed start. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The clocks of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct FakeClock {
    start_ms: u64,
    now_ms: AtomicU64,
    /// How wrong the wall clock is, in milliseconds.
    ahead: AtomicU64,
}

impl FakeClock {
    /// Starts at a Unix time in milliseconds.
    pub fn new(now_ms: u64) -> Self {
        Self { start_ms: now_ms, now_ms: AtomicU64::new(now_ms), ahead: AtomicU64::new(0) }
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Sets the wall clock wrong by this much, or right again by nothing.
    pub fn set_ahead(&self, by: Duration) {
        self.ahead.store(millis(by), Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst).saturating_add(self.ahead.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::SeqCst).saturating_sub(self.start_ms))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
