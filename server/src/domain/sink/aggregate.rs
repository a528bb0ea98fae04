//! What the telemetry of a whole product comes to: how many values of a reading, their sum, and the smallest
//! and largest of late. Never whose they are.

use super::reading::{Reading, Readings};

/// Most readings that are added up, by name: each is four series for every product.
pub const NAMES_MAX: usize = 32;

/// The smallest and largest are of this window and the one before, in milliseconds: a few scrapes.
const WINDOW_MS: u64 = 5 * 60 * 1000;

/// What is larger is no reading, and would drown the sum of all others for good.
const ABS_MAX: f64 = 1e15;

/// What the values of one reading come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Aggregate {
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    window: u64,
    now: Option<Range>,
    before: Option<Range>,
}

/// The smallest and the largest of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Aggregate {
    /// Adds a value; tells whether it counts.
    pub fn add(&mut self, value: f64, now_ms: u64) -> bool {
        if !(-ABS_MAX..=ABS_MAX).contains(&value) {
            return false;
        }
        let window = now_ms / WINDOW_MS;
        if window != self.window {
            let is_next = window == self.window.saturating_add(1);
            self.before = self.now.filter(|_| is_next);
            (self.window, self.now) = (window, None);
        }
        self.now = Some(Range::of(self.now, Range { min: value, max: value }));
        self.count += 1;
        self.sum += value;
        true
    }

    /// Returns the smallest and largest of this window and the one before.
    pub fn range(&self) -> Option<Range> {
        self.now.map(|now| Range::of(self.before, now))
    }
}

impl Range {
    fn of(one: Option<Self>, other: Self) -> Self {
        let Some(one) = one else { return other };
        Self { min: one.min.min(other.min), max: one.max.max(other.max) }
    }
}

/// Returns the numbers of these names.
pub fn numbers<'a>(
    names: &'a [String],
    readings: &'a Readings,
) -> impl Iterator<Item = (&'a str, f64)> {
    let wanted = readings.values.iter().filter(|(name, _)| names.contains(name));
    wanted.filter_map(|(name, reading)| match reading {
        Reading::Number(number) => Some((name.as_str(), *number)),
        Reading::Text(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_are_of_late_and_sums_are_of_all() {
        let mut aggregate = Aggregate::default();
        assert_eq!(aggregate.range(), None);
        for (value, at) in [(5.0, 0), (-1.0, 1), (3.0, WINDOW_MS), (4.0, WINDOW_MS + 1)] {
            assert!(aggregate.add(value, at));
        }
        assert_eq!(aggregate.range(), Some(Range { min: -1.0, max: 5.0 }));
        aggregate.add(3.5, 2 * WINDOW_MS);
        assert_eq!(aggregate.range(), Some(Range { min: 3.0, max: 4.0 }));
        aggregate.add(9.0, 4 * WINDOW_MS);
        assert_eq!(aggregate.range(), Some(Range { min: 9.0, max: 9.0 }));
        assert_eq!((aggregate.count, aggregate.sum), (6, 23.5));
    }

    #[test]
    fn one_device_cannot_drown_the_sum_of_all() {
        let mut aggregate = Aggregate::default();
        for value in [f64::MAX, -1e16, f64::INFINITY, f64::NAN] {
            assert!(!aggregate.add(value, 0), "{value}");
        }
        assert_eq!(aggregate, Aggregate::default());
    }
}
