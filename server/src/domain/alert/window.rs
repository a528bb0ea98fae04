//! How much something that only rises rose within a window.
//!
//! Bounded: a window keeps so many samples, whatever its length. Not here: a clock; times are those of one
//! that never goes back.

use std::collections::VecDeque;

/// Samples of a window: it is longer than asked for by one part in so many at most.
const SAMPLES_MAX: u64 = 60;

/// Samples of something that only rises.
#[derive(Clone, Debug, Default)]
pub struct Window(VecDeque<Sample>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at_ms: u64,
    total: u64,
}

impl Window {
    /// Begins with a sample: what was before it does not count.
    pub fn begun(total: u64, at_ms: u64) -> Self {
        Self(VecDeque::from([Sample { at_ms, total }]))
    }

    /// Takes a sample, and returns by how much it rose within the window. Before the first sample it was
    /// nothing, unless the window begins with one.
    pub fn rise(&mut self, total: u64, window_ms: u64, now_ms: u64) -> u64 {
        let begins_at = now_ms.saturating_sub(window_ms);
        // The last sample before the window is where it begins.
        while self.0.get(1).is_some_and(|second| second.at_ms <= begins_at) {
            self.0.pop_front();
        }
        let first = self.0.front().map_or(0, |first| first.total);
        let pause_ms = window_ms / SAMPLES_MAX;
        let is_due = self.0.back().is_none_or(|last| now_ms.saturating_sub(last.at_ms) >= pause_ms);
        if is_due {
            self.0.push_back(Sample { at_ms: now_ms, total });
        }
        total.saturating_sub(first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    #[test]
    fn only_what_rose_within_the_window_counts() {
        let mut window = Window::default();
        for (now_ms, total, expected) in [
            (0, 0, 0),
            (10_000, 5, 5),
            (50_000, 7, 7),
            (60_000, 7, 7),
            (70_000, 8, 3),
            (500_000, 8, 0),
        ] {
            assert_eq!(window.rise(total, 60_000, now_ms), expected, "{now_ms}");
        }
    }

    #[test]
    fn what_was_before_a_window_that_begins_with_a_sample_does_not_count() {
        let mut window = Window::begun(70, 5_000);
        assert_eq!(window.rise(70, 60_000, 5_000), 0);
        assert_eq!(window.rise(72, 60_000, 9_000), 2);
    }

    proptest! {
        #[test]
        fn a_window_is_never_shorter_than_asked_for_nor_much_longer(
            steps in vec((0_u64..30_000, 0_u64..5), 1..200),
            window_ms in 60_000_u64..600_000,
        ) {
            let (mut window, mut now_ms, mut total) = (Window::default(), 0, 0);
            let mut rises = vec![(0, 0)];
            window.rise(0, window_ms, 0);
            for (by_ms, more) in steps {
                (now_ms, total) = (now_ms + by_ms, total + more);
                rises.push((now_ms, more));
                let found = window.rise(total, window_ms, now_ms);
                let within = |length: u64| -> u64 {
                    let begins_at = now_ms.saturating_sub(length);
                    rises.iter().filter(|(at, _)| *at > begins_at).map(|(_, more)| more).sum()
                };
                // A sample is as late as the one after it, and the look after that.
                let longest = window_ms + window_ms / SAMPLES_MAX + 2 * 30_000;
                prop_assert!(found >= within(window_ms) && found <= within(longest));
                prop_assert!(window.0.len() <= 64);
            }
        }
    }
}
