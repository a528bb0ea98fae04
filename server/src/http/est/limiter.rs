//! Bounds how many wrong tokens one source may send.
//!
//! A token has 128 random bits, so this is not what keeps it from being guessed; it tells a device
//! with a wrong token to wait, and keeps the log from being flooded. Good tokens pass whatever else
//! their source sends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::listener::network;

/// The time over which failures are counted.
pub const WINDOW: Duration = Duration::from_mins(1);

/// Most sources remembered; beyond it, all unknown ones share one place.
const SOURCES_MAX: usize = 10_000;

/// Counts the failures of each source in the present window.
#[derive(Debug)]
pub struct Limiter {
    failures_max: u32,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Duration,
    failures: HashMap<Option<IpAddr>, u32>,
}

impl Limiter {
    /// Allows so many failures per source and minute.
    pub fn new(failures_max: u32) -> Self {
        Self { failures_max, window: Mutex::default() }
    }

    /// Tells whether the source may try; `now` is monotonic.
    pub fn allows(&self, source: IpAddr, now: Duration) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.turn(now);
        let place = window.place(source);
        window.failures.get(&place).is_none_or(|failures| *failures < self.failures_max)
    }

    /// Counts a failure.
    pub fn failed(&self, source: IpAddr, now: Duration) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.turn(now);
        let place = window.place(source);
        *window.failures.entry(place).or_default() += 1;
    }
}

impl Window {
    fn turn(&mut self, now: Duration) {
        if now.saturating_sub(self.began) >= WINDOW {
            *self = Self { began: now, failures: HashMap::new() };
        }
    }

    fn place(&self, source: IpAddr) -> Option<IpAddr> {
        let source = Some(network(source));
        let has_room = self.failures.len() < SOURCES_MAX || self.failures.contains_key(&source);
        source.filter(|_| has_room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_guesses_has_to_wait_and_others_do_not() {
        let limiter = Limiter::new(2);
        let [guesser, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        for _ in 0..2 {
            assert!(limiter.allows(guesser, Duration::ZERO));
            limiter.failed(guesser, Duration::ZERO);
        }
        assert!(!limiter.allows(guesser, Duration::from_secs(59)));
        assert!(limiter.allows(other, Duration::from_secs(59)));
        assert!(limiter.allows(guesser, WINDOW));
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = Limiter::new(1);
        for number in 0..20_000u32 {
            limiter.failed(IpAddr::V4(number.into()), Duration::ZERO);
        }
        assert_eq!(limiter.window.lock().unwrap().failures.len(), SOURCES_MAX + 1);
        assert!(!limiter.allows("192.0.2.1".parse().unwrap(), Duration::ZERO));
    }
}
