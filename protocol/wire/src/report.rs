//! A report: what the agent says about a deployment. It travels as the payload of an
//! [`crate::envelope`].

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use semver::Version;

use crate::code::ErrorCode;
use crate::id::{Digest, RolloutId};
use crate::json::Object;

/// Longest soak, in seconds: a week is long enough for any fault that shows by itself. Until it ends an
/// image of an older security version may come back, so a device watches no longer whoever orders it.
pub const SOAK_S_MAX: u32 = 7 * 24 * 3600;

/// Longest time for which a user puts a restart off at once, in seconds: a day. Who is asked every day
/// does not forget, and a rollout knows how long it may have to wait.
pub const DEFERRAL_S_MAX: u32 = 24 * 3600;

/// One device's part in one rollout, in order of life.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// In the group, not yet offered anything.
    Waiting,
    /// The Director named the release to the device.
    Offered,
    /// The device accepted the offer and fetches the image.
    Downloading,
    /// The whole image is in flash and is the signed one.
    Verified,
    /// The boot loader will start the image at the next reset.
    Activated,
    /// The image runs, on trial.
    Booted,
    /// The image proved itself and is kept.
    Confirmed,
    /// The image stayed well for its soak time.
    Healthy,
    /// The update ended before the image ran.
    Failed,
    /// The image ran and the device went back to the old one.
    RolledBack,
    /// The device was not heard of in time.
    TimedOut,
    /// There was nothing to do, or the device may not take part.
    Skipped,
}

impl State {
    /// Every state, in order of life.
    pub const ALL: [Self; 12] = [
        Self::Waiting,
        Self::Offered,
        Self::Downloading,
        Self::Verified,
        Self::Activated,
        Self::Booted,
        Self::Confirmed,
        Self::Healthy,
        Self::Failed,
        Self::RolledBack,
        Self::TimedOut,
        Self::Skipped,
    ];

    /// Returns the word used in messages, tables and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Offered => "offered",
            Self::Downloading => "downloading",
            Self::Verified => "verified",
            Self::Activated => "activated",
            Self::Booted => "booted",
            Self::Confirmed => "confirmed",
            Self::Healthy => "healthy",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::TimedOut => "timed_out",
            Self::Skipped => "skipped",
        }
    }

    /// Tells whether nothing can follow.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Healthy | Self::Failed | Self::RolledBack | Self::TimedOut | Self::Skipped => {
                true
            }
            Self::Waiting
            | Self::Offered
            | Self::Downloading
            | Self::Verified
            | Self::Activated
            | Self::Booted
            | Self::Confirmed => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UnknownState)
    }
}

crate::id::serde_as_text!(State);

/// The text is no deployment state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownState;

impl fmt::Display for UnknownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a deployment state")
    }
}

impl core::error::Error for UnknownState {}

/// What the agent says about a deployment.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(deny_unknown_fields)
)]
pub struct Report {
    /// The rollout the deployment belongs to.
    pub rollout: RolloutId,
    /// The release it brings.
    pub release: Version,
    /// The state just reached.
    pub state: State,
    /// Why, for `failed` and `rolled_back`; else [`ErrorCode::NONE`].
    pub code: ErrorCode,
    /// SHA-256 of the image that runs while this is said.
    pub fw_sha256: Digest,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// When the state was reached, in Unix seconds by the device's best knowledge (D24).
    pub measured_at: u64,
    /// How the device's user put the restart off, for `verified`.
    #[cfg_attr(
        feature = "serde",
        serde(
            default,
            deserialize_with = "crate::named::optional",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub deferred: Option<Deferral>,
}

/// The user of a device puts the restart into a new image off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(deny_unknown_fields)
)]
pub struct Deferral {
    /// How often so far, from 1.
    pub times: u8,
    /// Until when this time, in Unix seconds.
    pub until: u64,
}

impl Report {
    /// Encodes the report as compact JSON.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        let object = Object::new(&mut out)
            .text("rollout", &self.rollout)
            .text("release", &self.release)
            .text("state", self.state)
            .number("code", self.code.0.into())
            .text("fw_sha256", self.fw_sha256)
            .number("attempt", self.attempt.into())
            .number("measured_at", self.measured_at);
        match self.deferred {
            Some(deferral) => object.json("deferred", |out| deferral.encode(out)),
            None => object,
        }
        .end();
        out
    }

    /// Decodes a report.
    ///
    /// # Errors
    ///
    /// [`crate::Malformed`] names what is wrong.
    #[cfg(feature = "serde")]
    pub fn decode(json: &str) -> Result<Self, crate::Malformed> {
        crate::named::from_str(json)
    }
}

impl Deferral {
    fn encode(self, out: &mut String) {
        Object::new(out).number("times", self.times.into()).number("until", self.until).end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Report {
        Report {
            rollout: RolloutId::parse("r-1").unwrap(),
            release: Version::new(1, 4, 2),
            state: State::RolledBack,
            code: ErrorCode::SELF_TEST,
            fw_sha256: Digest([0xab; 32]),
            attempt: 1,
            measured_at: 1_795_167_000,
            deferred: None,
        }
    }

    fn put_off() -> Report {
        let deferred = Some(Deferral { times: 2, until: 1_795_170_600 });
        Report { state: State::Verified, code: ErrorCode::NONE, deferred, ..sample() }
    }

    #[test]
    fn golden_vector_of_a_report() {
        insta::assert_snapshot!(sample().encode(), @r#"{"rollout":"r-1","release":"1.4.2","state":"rolled_back","code":502,"fw_sha256":"abababababababababababababababababababababababababababababababab","attempt":1,"measured_at":1795167000}"#);
    }

    #[test]
    fn golden_vector_of_a_deferral() {
        insta::assert_snapshot!(put_off().encode(), @r#"{"rollout":"r-1","release":"1.4.2","state":"verified","code":0,"fw_sha256":"abababababababababababababababababababababababababababababababab","attempt":1,"measured_at":1795167000,"deferred":{"times":2,"until":1795170600}}"#);
    }

    #[test]
    fn what_a_device_encodes_a_server_decodes() {
        for report in [sample(), put_off()] {
            assert_eq!(Report::decode(&report.encode()), Ok(report));
        }
    }

    #[test]
    fn unknown_missing_and_mistyped_fields_are_named() {
        let good = put_off().encode().replace("verified", "rolled_back");
        for (from, to, named) in [
            ("\"attempt\"", "\"atempt\"", "atempt"),
            (",\"measured_at\":1795167000", "", "measured_at"),
            ("\"code\":0", "\"code\":-1", "-1"),
            ("\"times\":2", "\"times\":256", "256"),
            ("\"until\"", "\"untill\"", "untill"),
            ("rolled_back", "rolled", "deployment state"),
            ("\"r-1\"", "\"../r\"", "a name is"),
        ] {
            let error = Report::decode(&good.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn states_survive_the_round_trip() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("success".parse::<State>(), Err(UnknownState));
    }
}
