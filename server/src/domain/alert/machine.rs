//! The machine of one alert.
//!
//! ```text
//!          at the threshold          for long enough
//! quiet ----------------------> pending ----------> firing -----> resolved
//!   ^                              |                | ^  below the lower mark,
//!   '------- below it again -------'                '-'  for long enough
//! ```
//!
//! Between the lower mark and the threshold nothing changes: a number that goes up and down there is told
//! once. Not here: who is told.

use super::Settings;
use crate::domain::words;

words!(
    /// How far an alert is that is shown.
    Stage {
        /// The threshold is reached, not for long enough yet.
        Pending "pending",
        /// Somebody must know.
        Firing "firing",
        /// It is over.
        Resolved "resolved",
    }
);

/// How far an alert is. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// There is nothing to say.
    Quiet,
    /// The threshold is reached, not for long enough yet.
    Pending {
        /// Since when.
        since: u64,
    },
    /// Somebody must know.
    Firing {
        /// Since when.
        since: u64,
        /// Since when the number is below the lower mark, if it is.
        below_since: Option<u64>,
    },
    /// It is over for good: what comes after it is another alert.
    Resolved {
        /// From when it fired.
        since: u64,
        /// Until when.
        at: u64,
    },
}

impl State {
    /// Returns the word for it in the database and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Pending { .. } => Stage::Pending.as_str(),
            Self::Firing { .. } => Stage::Firing.as_str(),
            Self::Resolved { .. } => Stage::Resolved.as_str(),
        }
    }

    /// Takes note of the number at a time. A clock that was set back makes nothing wait for the time
    /// it has shown before.
    #[must_use]
    pub fn on(self, value: u64, settings: &Settings, now_ms: u64) -> Self {
        let is_high = value >= settings.threshold;
        match self {
            Self::Quiet if is_high => Self::pending(now_ms, settings, now_ms),
            Self::Quiet | Self::Resolved { .. } => self,
            Self::Pending { since } if is_high => Self::pending(since, settings, now_ms),
            Self::Pending { .. } => Self::Quiet,
            Self::Firing { since, below_since } if value < settings.clear_below => {
                let below_since = below_since.map_or(now_ms, |then| then.min(now_ms));
                if has_lasted(below_since, settings.clear_for_s, now_ms) {
                    return Self::Resolved { since, at: now_ms };
                }
                Self::Firing { since, below_since: Some(below_since) }
            }
            Self::Firing { since, .. } => Self::Firing { since, below_since: None },
        }
    }

    /// Ends it: nobody asks any more.
    #[must_use]
    pub const fn ended(self, now_ms: u64) -> Self {
        match self {
            Self::Quiet | Self::Pending { .. } => Self::Quiet,
            Self::Firing { since, .. } => Self::Resolved { since, at: now_ms },
            Self::Resolved { .. } => self,
        }
    }

    fn pending(since: u64, settings: &Settings, now_ms: u64) -> Self {
        let since = since.min(now_ms);
        if has_lasted(since, settings.for_s, now_ms) {
            return Self::Firing { since: now_ms, below_since: None };
        }
        Self::Pending { since }
    }
}

fn has_lasted(since: u64, seconds: u32, now_ms: u64) -> bool {
    now_ms.saturating_sub(since) / 1000 >= u64::from(seconds)
}

#[cfg(test)]
mod tests;
