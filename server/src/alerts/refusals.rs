//! Messages that were refused, for the alerts about them: how many, and whose.
//!
//! Not here: why a message is refused ([`crate::ingest`]), and the numbers for Prometheus.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use waxwing_wire::DeviceId;

use crate::domain::alert::EXAMPLES_MAX;
use crate::ingest::Refused;

/// What a refusal says of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It is not shown to come from its sender: by its signature, its sender or its number.
    Forged,
    /// It was sent at another time than now.
    Stale,
}

/// Refused messages since the server started.
#[derive(Debug, Default)]
pub struct Refusals {
    forged: Mutex<Tally>,
    stale: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    total: u64,
    /// The devices on whose connections the last ones came, each once.
    last: VecDeque<DeviceId>,
}

impl Refusal {
    const fn of(refused: &Refused) -> Option<Self> {
        match refused {
            Refused::Replay | Refused::Signature | Refused::WrongSender => Some(Self::Forged),
            Refused::Stale => Some(Self::Stale),
            Refused::Clock(_)
            | Refused::Kind(_)
            | Refused::Malformed(_)
            | Refused::NotInRollout
            | Refused::ShuttingDown
            | Refused::TooMany
            | Refused::Unavailable(_) => None,
        }
    }
}

impl Refusals {
    /// Takes note of a refusal.
    pub fn note(&self, device: &DeviceId, refused: &Refused) {
        let Some(refusal) = Refusal::of(refused) else { return };
        self.tally(refusal, |tally| {
            tally.total = tally.total.saturating_add(1);
            if tally.last.contains(device) {
                return;
            }
            tally.last.push_front(device.clone());
            tally.last.truncate(EXAMPLES_MAX);
        });
    }

    /// Returns how many there were, and on whose connections the last ones came.
    pub fn of(&self, refusal: Refusal) -> (u64, Vec<String>) {
        self.tally(refusal, |tally| {
            (tally.total, tally.last.iter().map(ToString::to_string).collect())
        })
    }

    fn tally<T>(&self, refusal: Refusal, look: impl FnOnce(&mut Tally) -> T) -> T {
        let tally = match refusal {
            Refusal::Forged => &self.forged,
            Refusal::Stale => &self.stale,
        };
        look(&mut tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
