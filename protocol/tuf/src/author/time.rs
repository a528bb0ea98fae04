//! Times as TUF writes them. Everything else about time is in [`crate::time`].

use std::borrow::Cow;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Time;

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        let malformed = || D::Error::custom("not a time of the form 2026-11-20T09:30:00Z");
        Self::parse(&text).ok_or_else(malformed)
    }
}

/// Returns the time that lies `life` after `from`, in whole seconds.
pub fn expiry(from: Time, life: Duration) -> Time {
    Time::from_seconds(from.as_seconds().saturating_add(life.as_secs()))
}
