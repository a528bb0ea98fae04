//! How far a sink is in the message log: what is sent next, when again, and what is given up.
//!
//! ```text
//!                 .-------------------- later: failed, or the sink is away
//!                 v                    |
//! read -------> open -----> sent ------+--> taken
//!   (for others: done at once)         '--> dead letter: refused, or failed too often
//! ```
//!
//! The cursor lies before the oldest open message, so that after a crash nothing open is skipped. What lies
//! up to `sent` may have been sent before, and is marked when it is sent again; `sent` is durable before
//! anything behind it goes out. Messages of one lane go out in order: behind one that waits, none is due.
//! Positions are those of the log. Not here: the messages themselves.

use std::collections::{BTreeMap, HashSet};

use waxwing_wire::DeviceId;

/// Messages that may be open at once: those that fail keep none of other lanes waiting until there are so many.
pub const OPEN_MAX: usize = 1024;

/// How often a message is tried while the sink takes others: with the waits between, two minutes.
pub const TRIES_MAX: u32 = 8;

/// Refusals in a row, while nothing is taken, that are believed to be about messages; more are about the sink,
/// such as a wrong address, and nothing is given up for that.
const REFUSALS_MAX: u32 = 100;

/// The first wait in milliseconds: a restart of the sink.
const FIRST_WAIT_MS: u64 = 1_000;

/// The longest wait in milliseconds: after an outage of hours, messages flow within a minute.
const WAIT_MS_MAX: u64 = 60_000;

/// What is durable of a sink.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cursor {
    /// Nothing up to here is to be sent.
    pub taken: u64,
    /// Everything up to here may have been sent.
    pub sent: u64,
}

/// What came of sending a message. The texts say why, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The sink could not deal with this message now.
    Failed(String),
    /// The sink will never take this message.
    Refused(String),
    /// The sink has it.
    Taken,
    /// The sink is not there, or does not let us in: whatever the message is.
    Unreachable {
        /// Why.
        reason: String,
        /// How long it asked to be left alone, in milliseconds.
        retry_after_ms: Option<u64>,
    },
}

/// A message that is given up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dead {
    /// Which one.
    pub position: u64,
    /// Why, for people.
    pub reason: String,
    /// How often it was sent.
    pub tries: u32,
}

/// What a message has to be in order with: what the same device said. None of a sink without an order.
pub type Lane = Option<DeviceId>;

/// How far a sink is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    /// The last position that was looked at.
    read: u64,
    sent: u64,
    open: BTreeMap<u64, Open>,
    /// Rounds in a row in which the sink took nothing.
    failures: u32,
    refusals: u32,
    /// Before then nothing is sent, in milliseconds.
    due_at: u64,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Open {
    lane: Lane,
    tries: u32,
    due_at: u64,
}

impl Progress {
    /// Goes on behind a cursor.
    pub const fn resume(cursor: Cursor) -> Self {
        Self {
            read: cursor.taken,
            sent: cursor.sent,
            open: BTreeMap::new(),
            failures: 0,
            refusals: 0,
            due_at: 0,
        }
    }

    /// Takes note that the log was read up to a position; those of its messages that are for this sink are
    /// open now.
    pub fn read(&mut self, up_to: u64, wanted: impl IntoIterator<Item = (u64, Lane)>) {
        let open = |(position, lane)| (position, Open { lane, ..Open::default() });
        self.open.extend(wanted.into_iter().map(open));
        self.read = self.read.max(up_to);
    }

    /// Returns the messages to send now, in order, at most `max`.
    pub fn due(&self, now_ms: u64, max: usize) -> Vec<u64> {
        if self.rests(now_ms) {
            return Vec::new();
        }
        let mut waiting = HashSet::new();
        let due = self.open.iter().filter(|(_, open)| {
            if open.due_at > now_ms {
                waiting.extend(&open.lane);
                return false;
            }
            !open.lane.as_ref().is_some_and(|lane| waiting.contains(lane))
        });
        due.map(|(position, _)| *position).take(max).collect()
    }

    /// Takes note that messages are about to be sent. [`Self::cursor`] is to be durable first.
    pub fn send(&mut self, batch: &[u64]) {
        self.sent = batch.iter().copied().fold(self.sent, u64::max);
    }

    /// Takes note of what came of a batch, and returns what is given up. `jitter` is any number: where many
    /// sinks failed at once, not all are asked at once again.
    pub fn settle(&mut self, outcomes: Vec<(u64, Outcome)>, now_ms: u64, jitter: u16) -> Vec<Dead> {
        let takes = outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Taken);
        let all_taken = outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Taken);
        let mut retry_after_ms = 0;
        let mut dead = Vec::new();
        for (index, (position, outcome)) in outcomes.into_iter().enumerate() {
            if takes {
                self.refusals = 0;
            }
            match outcome {
                Outcome::Taken => {
                    self.open.remove(&position);
                }
                Outcome::Refused(reason) => dead.extend(self.refused(position, reason)),
                // While the sink takes nothing, only the first message is to blame.
                Outcome::Failed(reason) if takes || index == 0 => {
                    dead.extend(self.failed(position, reason, now_ms, jitter));
                }
                Outcome::Failed(_) => {}
                Outcome::Unreachable { retry_after_ms: asked, .. } => {
                    retry_after_ms = retry_after_ms.max(asked.unwrap_or(0));
                }
            }
        }
        if takes || all_taken || !dead.is_empty() {
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            let wait = wait_ms(self.failures, jitter).max(retry_after_ms.min(WAIT_MS_MAX));
            self.due_at = now_ms.saturating_add(wait);
        }
        dead
    }

    /// Returns what is to be durable.
    pub fn cursor(&self) -> Cursor {
        let first_open =
            self.open.first_key_value().map(|(position, _)| position.saturating_sub(1));
        Cursor { taken: first_open.unwrap_or(self.read), sent: self.sent }
    }

    /// Returns behind which position the log is to be read next.
    pub const fn position(&self) -> u64 {
        self.read
    }

    /// Returns how many more messages may be open.
    pub fn room(&self) -> usize {
        OPEN_MAX.saturating_sub(self.open.len())
    }

    /// Tells whether a message is open.
    pub fn is_open(&self, position: u64) -> bool {
        self.open.contains_key(&position)
    }

    /// Tells whether a message may have been sent before.
    pub const fn may_be_known(&self, position: u64) -> bool {
        position <= self.sent
    }

    /// Tells whether the sink is left alone for now.
    pub const fn rests(&self, now_ms: u64) -> bool {
        now_ms < self.due_at
    }

    /// Returns how many rounds in a row the sink took nothing.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns when the next open message is due, in milliseconds: the first of each lane, behind which the
    /// others wait.
    pub fn due_at(&self) -> Option<u64> {
        let mut lanes = HashSet::new();
        let firsts = self.open.values().filter(|open| match &open.lane {
            Some(lane) => lanes.insert(lane),
            None => true,
        });
        let first = firsts.map(|open| open.due_at).min()?;
        Some(first.max(self.due_at))
    }

    fn refused(&mut self, position: u64, reason: String) -> Option<Dead> {
        if self.refusals >= REFUSALS_MAX {
            return None;
        }
        self.refusals += 1;
        let open = self.open.remove(&position)?;
        Some(Dead { position, reason, tries: open.tries + 1 })
    }

    fn failed(&mut self, position: u64, reason: String, now_ms: u64, jitter: u16) -> Option<Dead> {
        let open = self.open.get_mut(&position)?;
        open.tries += 1;
        open.due_at = now_ms.saturating_add(wait_ms(open.tries, jitter));
        if open.tries < TRIES_MAX {
            return None;
        }
        let tries = self.open.remove(&position)?.tries;
        Some(Dead { position, reason, tries })
    }
}

/// Returns how long to wait after so many failures: between half of the wait and all of it.
fn wait_ms(failures: u32, jitter: u16) -> u64 {
    let factor = 2_u64.saturating_pow(failures.saturating_sub(1));
    let half = FIRST_WAIT_MS.saturating_mul(factor).min(WAIT_MS_MAX) / 2;
    half + half * u64::from(jitter) / u64::from(u16::MAX)
}

#[cfg(test)]
mod tests;
