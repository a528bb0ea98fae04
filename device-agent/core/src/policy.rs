//! When to ask, how long to wait, how often to try: pure functions of what they are given.
//!
//! Time is the device's uptime, randomness is an argument.

use core::time::Duration;

/// Parts per thousand by which a poll is drawn earlier: devices switched on together drift apart.
const JITTER_PERMILLE: u32 = 200;

/// The limits of one device. [`Policy::DEVICE`] is what a product ships; a simulation may be
/// quicker, but goes through the same functions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Shortest time between two polls, whatever the server says.
    pub poll_min: Duration,
    /// Longest time between two polls, whatever the server says.
    pub poll_max: Duration,
    /// First wait after a failure; doubles with each further one.
    pub back_off_min: Duration,
    /// Longest wait after a failure.
    pub back_off_max: Duration,
    /// How long the self-test of a new image may take.
    pub self_test_max: Duration,
    /// How long a new image may be without contact to the server (D18).
    pub no_contact_max: Duration,
    /// How often one image may be tried: downloads that turn out wrong, trials that fail.
    pub attempts_max: u32,
    /// How often in a row a download may break off without progress.
    pub stalls_max: u32,
    /// How many unexplained resets a new image survives while it is watched (D19).
    pub soak_resets_max: u32,
}

impl Policy {
    /// What a device does unless its product says otherwise.
    pub const DEVICE: Self = Self {
        poll_min: Duration::from_mins(1),
        poll_max: Duration::from_hours(24),
        back_off_min: Duration::from_mins(1),
        back_off_max: Duration::from_hours(24),
        self_test_max: Duration::from_mins(5),
        no_contact_max: Duration::from_mins(30),
        attempts_max: 3,
        stalls_max: 10,
        soak_resets_max: 3,
    };

    /// Returns how long to wait before the next poll: the server's wish within the device's
    /// limits, drawn up to a fifth earlier.
    pub fn poll_interval(&self, wish: Duration, random: u32) -> Duration {
        let wait = wish.clamp(self.poll_min, self.poll_max.max(self.poll_min));
        wait.saturating_sub(share(wait, JITTER_PERMILLE, random)).max(self.poll_min)
    }

    /// Returns how long to wait after the `failures`-th failure in a row (from 1): doubling
    /// between the limits, drawn from the upper half so that devices that failed together do not
    /// come back together.
    pub fn back_off(&self, failures: u32, random: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.back_off_min.saturating_mul(1 << doublings).min(self.back_off_max);
        full.saturating_sub(share(full, 500, random)).max(self.back_off_min.min(self.back_off_max))
    }

    /// Returns how long to wait when a server asks for `wait`: within the device's limits, never
    /// shorter than asked for otherwise, and up to half of it longer, for it asked everybody.
    pub fn later(&self, wait: Duration, random: u32) -> Duration {
        let wait = wait.clamp(self.back_off_min, self.back_off_max.max(self.back_off_min));
        wait.saturating_add(share(wait, 500, random))
    }
}

/// Returns a part of `whole`, from nothing up to `permille_max`, as `random` says.
fn share(whole: Duration, permille_max: u32, random: u32) -> Duration {
    let permille = random % (permille_max + 1);
    whole / 1000 * permille
}

/// A small generator for jitter (splitmix64). Not for secrets: a nonce comes from the device.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Starts from a seed that differs between devices and boots.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws the next number.
    pub fn draw(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [_, _, _, _, bytes @ ..] = mixed.to_be_bytes();
        u32::from_be_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy::DEVICE;

    proptest! {
        #[test]
        fn no_wish_of_the_server_gets_past_the_limits(seconds in any::<u32>(), random in any::<u32>()) {
            let wait = POLICY.poll_interval(Duration::from_secs(seconds.into()), random);
            prop_assert!((POLICY.poll_min..=POLICY.poll_max).contains(&wait));
        }

        #[test]
        fn nobody_comes_back_earlier_than_a_busy_server_asks(seconds in any::<u32>(), random in any::<u32>()) {
            let asked = Duration::from_secs(seconds.into());
            let wait = POLICY.later(asked, random);
            prop_assert!(wait >= asked.min(POLICY.back_off_max));
            prop_assert!(wait <= POLICY.back_off_max * 3 / 2);
        }

        #[test]
        fn waits_after_failures_stay_within_their_limits(failures in any::<u32>(), random in any::<u32>()) {
            let wait = POLICY.back_off(failures, random);
            prop_assert!((POLICY.back_off_min..=POLICY.back_off_max).contains(&wait));
        }
    }

    #[test]
    fn waits_double_up_to_a_day() {
        let waits: Vec<u64> = (1..=13).map(|n| POLICY.back_off(n, 0).as_secs() / 60).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440, 1440]);
    }

    #[test]
    fn devices_that_failed_together_come_back_over_half_of_the_wait() {
        for (failures, full) in [(4, Duration::from_mins(8)), (30, POLICY.back_off_max)] {
            let mut jitter = Jitter::new(7);
            let waits: Vec<Duration> =
                (0..1000).map(|_| POLICY.back_off(failures, jitter.draw())).collect();
            let (earliest, latest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(*earliest >= full / 2 && *latest <= full, "{earliest:?} to {latest:?}");
            assert!(latest.abs_diff(*earliest) > full * 48 / 100, "{earliest:?} to {latest:?}");
        }
    }

    #[test]
    fn jitter_spreads_devices_over_a_fifth_of_the_interval() {
        let hour = Duration::from_hours(1);
        let mut jitter = Jitter::new(7);
        let waits: Vec<Duration> =
            (0..1000).map(|_| POLICY.poll_interval(hour, jitter.draw())).collect();
        let (earliest, latest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(*earliest >= Duration::from_mins(48) && *latest <= hour);
        assert!(latest.abs_diff(*earliest) > Duration::from_mins(11), "{earliest:?} to {latest:?}");
    }

    #[test]
    fn devices_with_different_seeds_do_not_poll_together() {
        assert_ne!(Jitter::new(1).draw(), Jitter::new(2).draw());
    }
}
