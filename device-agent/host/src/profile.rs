//! Which devices of a fleet have which trouble.
//!
//! A profile is about what is around the agent: line, power, flash, application, clock. The agent
//! knows nothing of it (D21). Not here: what happens then, which is [`Trouble`](crate::Trouble)'s.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What goes wrong around a device.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// A sector of the slot for updates keeps nothing.
    BadSector,
    /// Nothing.
    #[default]
    Clean,
    /// The clock counts from 49.7 days on, where 32 bits of milliseconds end, and a quarter too fast.
    Clock,
    /// Every image but the one it was made with crashes before it is confirmed.
    Crash,
    /// Its user puts every restart off for a few seconds, whether that is allowed or not.
    Defer,
    /// After each silence, what comes is half a second late.
    Latency,
    /// A fifth of all connections is never made, and many others break.
    Loss,
    /// The power goes every 20 to 100 operations of the flash, in the middle of one.
    PowerCuts,
    /// 16 KiB a second come in.
    Slow,
}

impl Profile {
    /// Every profile, by name.
    pub const ALL: [Self; 9] = [
        Self::BadSector,
        Self::Clean,
        Self::Clock,
        Self::Crash,
        Self::Defer,
        Self::Latency,
        Self::Loss,
        Self::PowerCuts,
        Self::Slow,
    ];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadSector => "bad-sector",
            Self::Clean => "clean",
            Self::Clock => "clock",
            Self::Crash => "crash",
            Self::Defer => "defer",
            Self::Latency => "latency",
            Self::Loss => "loss",
            Self::PowerCuts => "power-cuts",
            Self::Slow => "slow",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = MixError;

    fn from_str(name: &str) -> Result<Self, MixError> {
        let profile = Self::ALL.into_iter().find(|profile| profile.as_str() == name);
        profile.ok_or_else(|| MixError::Name(name.into()))
    }
}

/// How many per cent of a fleet have which profile. The others have no trouble.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(try_from = "BTreeMap<Profile, u32>")]
pub struct Mix(BTreeMap<Profile, u32>);

impl Mix {
    /// Returns the profile of a device by its number: the same in every run, and as spread over
    /// any hundred devices in a row as over the fleet.
    pub fn of(&self, number: u32) -> Profile {
        // 61 and 100 have no divisor in common: a hundred numbers in a row are each per cent once.
        let mut percent = number % 100 * 61 % 100;
        for (profile, share) in &self.0 {
            match percent.checked_sub(*share) {
                Some(rest) => percent = rest,
                None => return *profile,
            }
        }
        Profile::Clean
    }
}

/// There is no such mix of profiles.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MixError {
    /// There is no such profile.
    #[error(
        "no profile {0:?}: use bad-sector, clean, clock, crash, defer, latency, loss, power-cuts or slow"
    )]
    Name(String),
    /// The share is no number of per cent.
    #[error("{0:?} is no share: write such as loss=20")]
    Share(String),
    /// More devices than there are.
    #[error("the profiles are of {0} per cent of the devices")]
    TooMuch(u32),
}

impl TryFrom<BTreeMap<Profile, u32>> for Mix {
    type Error = MixError;

    fn try_from(shares: BTreeMap<Profile, u32>) -> Result<Self, MixError> {
        let sum = shares.values().fold(0_u32, |sum, share| sum.saturating_add(*share));
        if sum > 100 { Err(MixError::TooMuch(sum)) } else { Ok(Self(shares)) }
    }
}

/// As on a command line: `loss=20,power-cuts=10`, or `crash` for all devices.
impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let shares = text.split(',').map(share).collect::<Result<BTreeMap<_, _>, _>>()?;
        Self::try_from(shares)
    }
}

fn share(text: &str) -> Result<(Profile, u32), MixError> {
    let (name, share) = text.split_once('=').unwrap_or((text, "100"));
    let share = share.trim().parse().map_err(|_| MixError::Share(text.into()))?;
    Ok((name.trim().parse()?, share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hundred_devices_have_the_shares_that_were_asked_for() {
        let mix: Mix = "loss=20, power-cuts=3,slow=1".parse().unwrap();
        for hundred in [0..100, 4900..5000] {
            let count = |profile| hundred.clone().filter(|n| mix.of(*n) == profile).count();
            assert_eq!(Profile::ALL.map(count), [0, 76, 0, 0, 0, 0, 20, 3, 1]);
        }
        let all: Mix = "crash".parse().unwrap();
        assert!((0..100).all(|number| all.of(number) == Profile::Crash));
        assert_eq!(Mix::default().of(7), Profile::Clean);
    }

    #[test]
    fn a_file_and_a_command_line_say_the_same() {
        let file: Mix = toml::from_str("loss = 20\npower-cuts = 3").unwrap();
        assert_eq!("power-cuts=3,loss=20".parse(), Ok(file));
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str| text.parse::<Mix>().unwrap_err();
        assert_eq!(refused("rain=10"), MixError::Name("rain".into()));
        assert_eq!(refused("loss=many"), MixError::Share("loss=many".into()));
        assert_eq!(refused("loss=60,slow=41"), MixError::TooMuch(101));
        for (text, named) in [("rain = 1", "rain"), ("loss = 101", "101 per cent")] {
            let error = toml::from_str::<Mix>(text).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
