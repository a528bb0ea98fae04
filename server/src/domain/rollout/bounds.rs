//! Evidence: bounds on the share of devices that a release breaks, true however often one looks.
//!
//! A rollout is judged after each report, and a fixed interval that is read again and again is wrong
//! sooner or later. So the bounds are a *confidence sequence* (D28): with the chosen probability the
//! true share lies within them at every moment of the rollout, not at one. It is the sequence of
//! Robbins' beta-binomial mixture: if the true share is `p`, the ratio
//!
//! ```text
//! M(p) = B(broken + 1/2, well + 1/2) / B(1/2, 1/2) / (p^broken (1 - p)^well)
//! ```
//!
//! is a martingale that begins at 1, and by Ville's inequality it ever exceeds `1 / error` with
//! probability `error` at most; shares for which it does are excluded. H. Robbins, *Statistical
//! methods related to the law of the iterated logarithm*, Ann. Math. Statist. 41 (1970); S. Howard,
//! A. Ramdas, J. `McAuliffe`, J. Sekhon, *Time-uniform, nonparametric, nonasymptotic confidence
//! sequences*, Ann. Statist. 49 (2021). That holds for outcomes in the order in which devices begin;
//! see [`super::evidence::Evidence::tried`] for those that have not ended. Not here: which outcomes count, and what follows from them.

use libm::{lgamma, log};

/// Halvings in the search for a bound: beyond these a share is exact to the last bit that matters.
const HALVINGS: u32 = 40;

/// How devices that tried a release ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outcomes {
    /// How many it broke.
    pub broken: u64,
    /// How many are well.
    pub well: u64,
}

/// How probable it may be that a bound is ever wrong, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Error(pub f64);

impl Error {
    /// Returns the share of one of so many bounds that share an error.
    pub fn one_of(whole: Self, bounds: usize) -> Self {
        Self(whole.0 / f64::from(u32::try_from(bounds.max(1)).unwrap_or(u32::MAX)))
    }
}

impl Outcomes {
    /// Returns how many devices these are.
    pub const fn total(self) -> u64 {
        self.broken + self.well
    }

    /// Tells whether the share of broken devices is certainly above `limit` (0 to 1).
    pub fn exceed(self, limit: f64, error: Error) -> bool {
        self.share() > limit && self.exclude(limit, error)
    }

    /// Tells whether the share of broken devices is certainly below `limit` (0 to 1).
    pub fn stay_below(self, limit: f64, error: Error) -> bool {
        self.total() > 0 && self.share() < limit && self.exclude(limit, error)
    }

    /// Returns the largest share of broken devices that these outcomes leave possible, from 0 to 1.
    pub fn upper_bound(self, error: Error) -> f64 {
        self.bound(1.0, error)
    }

    /// Returns the smallest share of broken devices that these outcomes leave possible, from 0 to 1.
    pub fn lower_bound(self, error: Error) -> f64 {
        self.bound(0.0, error)
    }

    /// Searches between what was seen, which is never excluded, and one end.
    fn bound(self, end: f64, error: Error) -> f64 {
        if !self.exclude(end, error) {
            return end;
        }
        let (mut possible, mut excluded) = (self.share(), end);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(possible, excluded);
            if self.exclude(middle, error) { excluded = middle } else { possible = middle }
        }
        excluded
    }

    fn exclude(self, share: f64, error: Error) -> bool {
        self.log_ratio(share) >= -log(error.0)
    }

    /// Returns the logarithm of `M(share)`.
    fn log_ratio(self, share: f64) -> f64 {
        let (broken, well) = (to_f64(self.broken), to_f64(self.well));
        let mixture = log_beta(broken + 0.5, well + 0.5) - log_beta(0.5, 0.5);
        mixture - log_power(share, broken) - log_power(1.0 - share, well)
    }

    /// Returns the share that was seen; of none, 0.
    fn share(self) -> f64 {
        to_f64(self.broken) / to_f64(self.total().max(1))
    }
}

fn log_beta(a: f64, b: f64) -> f64 {
    lgamma(a) + lgamma(b) - lgamma(a + b)
}

/// Returns the logarithm of `base ^ exponent`; anything to the power of 0 is 1.
fn log_power(base: f64, exponent: f64) -> f64 {
    if exponent > 0.0 { exponent * log(base) } else { 0.0 }
}

/// Devices are far fewer than the 2^53 up to which this is exact.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "exact for any number of devices"
)]
pub(super) const fn to_f64(devices: u64) -> f64 {
    devices as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ERROR: Error = Error(0.005);

    fn outcomes(broken: u64, well: u64) -> Outcomes {
        Outcomes { broken, well }
    }

    /// The numbers are those of an independent program (`math.lgamma` of Python).
    #[test]
    fn so_many_failures_prove_that_a_share_is_exceeded() {
        let needed = |limit, devices: u64| {
            (0..=devices).find(|broken| outcomes(*broken, devices - broken).exceed(limit, ERROR))
        };
        let of = |limit| [5, 10, 25, 50, 100, 200].map(|devices| needed(limit, devices).unwrap());
        assert_eq!(of(0.02), [3, 4, 5, 7, 10, 15]);
        assert_eq!(of(0.10), [4, 6, 10, 15, 24, 40]);
    }

    #[test]
    fn so_many_healthy_devices_prove_that_a_share_is_not_reached() {
        let needed = |limit| {
            (0..1_000).find(|well| outcomes(0, *well).stay_below(limit, Error(0.05))).unwrap()
        };
        assert_eq!([0.01, 0.02, 0.05, 0.1].map(needed), [680, 320, 116, 53]);
    }

    #[test]
    fn of_nothing_nothing_is_known() {
        let nothing = outcomes(0, 0);
        assert!(!nothing.exceed(0.0, ERROR) && !nothing.stay_below(1.0, ERROR));
        assert_eq!((nothing.lower_bound(ERROR), nothing.upper_bound(ERROR)), (0.0, 1.0));
    }

    #[test]
    fn the_ends_are_excluded_by_a_single_device() {
        assert!(outcomes(1, 1000).exceed(0.0, ERROR));
        assert!(outcomes(1000, 1).stay_below(1.0, ERROR));
        assert!(!outcomes(1000, 0).stay_below(1.0, ERROR));
    }

    proptest! {
        #[test]
        fn bounds_enclose_what_was_seen_and_agree_with_the_questions(
            broken in 0_u64..2_000, well in 0_u64..2_000, limit in 0.001_f64..0.999,
        ) {
            let seen = outcomes(broken, well);
            let (low, high) = (seen.lower_bound(ERROR), seen.upper_bound(ERROR));
            prop_assert!(low <= seen.share() && seen.share() <= high && high <= 1.0);
            if (limit - low).abs() > 1e-9 && (limit - high).abs() > 1e-9 {
                prop_assert_eq!(seen.exceed(limit, ERROR), limit < low);
                prop_assert_eq!(seen.total() > 0 && seen.stay_below(limit, ERROR), limit > high);
            }
        }

        #[test]
        fn more_failures_never_make_a_release_look_better(
            broken in 0_u64..500, well in 0_u64..500, more in 1_u64..50,
        ) {
            let (before, after) = (outcomes(broken, well), outcomes(broken + more, well));
            prop_assert!(after.upper_bound(ERROR) >= before.upper_bound(ERROR) - 1e-9);
        }
    }

    /// A generator of numbers that is the same everywhere: this is a count, not a guess.
    fn random(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        to_f64(*state >> 11) / to_f64(1 << 53)
    }

    #[test]
    fn looking_after_each_device_is_wrong_as_seldom_as_promised() {
        let (runs, share, mut wrong) = (1_000_u32, 0.02, 0_u32);
        for seed in 0..runs {
            let (mut state, mut seen) = (u64::from(seed), Outcomes::default());
            let is_wrong = (0..2_000).any(|_| {
                if random(&mut state) < share {
                    seen.broken += 1;
                } else {
                    seen.well += 1;
                }
                seen.exceed(share, ERROR)
            });
            wrong += u32::from(is_wrong);
        }
        assert!(f64::from(wrong) <= ERROR.0 * f64::from(runs) * 2.0, "{wrong} of {runs}");
    }
}
