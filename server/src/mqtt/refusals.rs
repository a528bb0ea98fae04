//! How often clients were refused something, and why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::reason::Reason;

/// What was refused.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Part {
    /// CONNECT: the client was not let in.
    Connect,
    /// Everything that follows: the connection was ended.
    Connection,
    /// A message.
    Publish,
    /// A subscription.
    Subscribe,
}

impl Part {
    /// Returns the word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Connection => "connection",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// Counts refusals. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Counts>>);

type Counts = BTreeMap<(Part, &'static str), u64>;

impl Refusals {
    /// Returns all counts: what was refused, with which reason, how often.
    pub fn all(&self) -> Vec<(Part, &'static str, u64)> {
        self.lock().iter().map(|((part, reason), count)| (*part, *reason, *count)).collect()
    }

    /// Returns how often something was refused with a reason.
    pub fn of(&self, part: Part, reason: &str) -> u64 {
        let counts = self.lock();
        let found = counts.iter().find(|((other, word), _)| *other == part && *word == reason);
        found.map_or(0, |(_, count)| *count)
    }

    pub(super) fn count(&self, part: Part, reason: Reason) {
        *self.lock().entry((part, reason.as_str())).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // A count is never left half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
