//! How much a device may send: packets and bytes, on the average and at once.
//!
//! A leaky bucket for each (the virtual scheduling of ITU-T I.371): no timer, two times per device. It
//! is the device's and not the connection's: who connects again gets no more. Not here: what is done
//! with what is too much.

use std::time::Duration;

/// What one device may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Messages each second on the average.
    pub messages_per_s: u32,
    /// Bytes each second on the average, everything included.
    pub bytes_per_s: u32,
    /// For how many seconds' worth at once.
    pub burst_s: u32,
}

impl Limits {
    /// No limits, for tests of something else.
    pub const NONE: Self = Self { messages_per_s: u32::MAX, bytes_per_s: u32::MAX, burst_s: 3600 };
}

/// Packets other than messages that a device may send for each message: it acknowledges, releases and
/// asks for signs of life, too.
const OTHERS_PER_MESSAGE: u32 = 4;

/// How far a device may get into debt with what it sent before it was read: so many bursts. Who floods
/// us is not shut out for longer.
const DEBT_MAX: u32 = 2;

/// What a device has sent lately.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Meter {
    messages: Bucket,
    others: Bucket,
    bytes: Bucket,
}

impl Meter {
    /// Counts bytes that came.
    pub(super) fn read(&mut self, limits: &Limits, now: Duration, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes.pour(cost(bytes, limits.bytes_per_s), limits.burst(), now);
    }

    /// Counts a message, and tells whether the device may send it.
    pub(super) fn message(&mut self, limits: &Limits, now: Duration) -> bool {
        let fits = !self.bytes.is_over(limits.burst(), now);
        fits && self.messages.take(cost(1, limits.messages_per_s), limits.burst(), now)
    }

    /// Counts another packet, and tells whether the device may send it.
    pub(super) fn other(&mut self, limits: &Limits, now: Duration) -> bool {
        let per_s = limits.messages_per_s.saturating_mul(OTHERS_PER_MESSAGE);
        self.others.take(cost(1, per_s), limits.burst(), now)
    }

    /// Returns when it will be as if the device had sent nothing.
    pub(super) fn clear_at(&self) -> Duration {
        self.messages.clear_at.max(self.others.clear_at).max(self.bytes.clear_at)
    }
}

impl Limits {
    fn burst(&self) -> Duration {
        Duration::from_secs(self.burst_s.into())
    }
}

/// Returns the time in which so many may come.
fn cost(count: u32, per_s: u32) -> Duration {
    Duration::from_secs(count.into()) / per_s.max(1)
}

/// Empties with time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Bucket {
    /// When it is empty.
    clear_at: Duration,
}

impl Bucket {
    /// Adds something if there is room for it.
    fn take(&mut self, cost: Duration, burst: Duration, now: Duration) -> bool {
        let filled = self.clear_at.max(now).saturating_add(cost);
        let fits = filled.saturating_sub(now) <= burst;
        if fits {
            self.clear_at = filled;
        }
        fits
    }

    /// Adds what is there in any case.
    fn pour(&mut self, cost: Duration, burst: Duration, now: Duration) {
        let filled = self.clear_at.max(now).saturating_add(cost);
        self.clear_at = filled.min(now.saturating_add(burst * DEBT_MAX));
    }

    fn is_over(&self, burst: Duration, now: Duration) -> bool {
        self.clear_at.saturating_sub(now) > burst
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { messages_per_s: 2, bytes_per_s: 100, burst_s: 5 };

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_burst_is_let_through_and_then_no_more_than_the_average() {
        let mut meter = Meter::default();
        let mut allowed = |now| (0..100).filter(|_| meter.message(&LIMITS, now)).count();
        assert_eq!(allowed(seconds(1000)), 10);
        assert_eq!(allowed(seconds(1000)), 0);
        assert_eq!(allowed(seconds(1001)), 2);
        assert_eq!(allowed(seconds(5000)), 10);
    }

    #[test]
    fn too_many_bytes_hold_messages_up_but_not_for_ever() {
        let mut meter = Meter::default();
        let now = seconds(1000);
        meter.read(&LIMITS, now, 500);
        assert!(meter.message(&LIMITS, now));
        meter.read(&LIMITS, now, 1);
        assert!(!meter.message(&LIMITS, now));
        meter.read(&LIMITS, now, usize::MAX);
        assert!(!meter.message(&LIMITS, now + seconds(4)));
        assert!(meter.message(&LIMITS, now + seconds(5)));
    }

    #[test]
    fn limits_that_are_none_or_nothing_do_no_harm() {
        let mut meter = Meter::default();
        for now in [Duration::ZERO, Duration::MAX] {
            meter.read(&Limits::NONE, now, usize::MAX);
            assert!(meter.message(&Limits::NONE, now) || now == Duration::MAX);
        }
        let nothing = Limits { messages_per_s: 0, bytes_per_s: 0, burst_s: 0 };
        assert!(!Meter::default().message(&nothing, Duration::ZERO));
    }

    /// Counts second by second what is still in the bucket, in halves of a message.
    fn model(times_ms: &[u64]) -> Vec<bool> {
        let (mut level_ms, mut last) = (0_u64, 0);
        let allowed = |&at: &u64| {
            level_ms = level_ms.saturating_sub(at - last);
            last = at;
            let fits = level_ms + 500 <= 5000;
            level_ms += if fits { 500 } else { 0 };
            fits
        };
        times_ms.iter().map(allowed).collect()
    }

    proptest! {
        #[test]
        fn a_device_may_send_what_a_leaky_bucket_has_room_for(
            gaps in prop::collection::vec(prop_oneof![0..10_u64, 0..2000_u64], 0..200)
        ) {
            let mut at = 1_000_000;
            let times = gaps.iter().map(|gap| { at += gap; at }).collect::<Vec<_>>();
            let mut meter = Meter::default();
            let allowed = times.iter().map(|at| meter.message(&LIMITS, Duration::from_millis(*at)));
            prop_assert_eq!(allowed.collect::<Vec<_>>(), model(&times));
        }
    }
}
