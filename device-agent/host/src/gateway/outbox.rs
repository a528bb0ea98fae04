//! Messages on their way: held until the server says what became of them, or they are too old.
//!
//! In memory: a message that a gateway loses, its device still has, for it hears of it from nobody else than
//! the server. The gateway cannot seal it anew, so what the server would call stale is given back (D24).
//! Not here: the way.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use waxwing_wire::envelope::Header;
use waxwing_wire::frame::Outcome;
use waxwing_wire::relay::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, Carried, Told};
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, MessageId};

/// Most bytes that are held: half an hour of a hundred sensors.
const HELD_BYTES_MAX: usize = 8 << 20;
/// Most messages that are held; each costs some memory besides.
const HELD_MAX: usize = 8192;
/// How long a message is held: what the server takes for fresh, without what links and clocks cost.
const HELD_FOR: Duration = Duration::from_mins(4);

/// Where the word about a message goes, if somebody still waits for it.
pub(super) type Word = oneshot::Sender<Outcome>;

/// Messages that are held, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    held: VecDeque<Held>,
    bytes: usize,
    tickets: u64,
}

#[derive(Debug)]
struct Held {
    ticket: u64,
    device: DeviceId,
    message_id: MessageId,
    kind: Kind,
    envelope: String,
    since: Duration,
    word: Word,
}

/// Messages that are handed over together.
#[derive(Debug)]
pub(super) struct Batch(Vec<(u64, Kind, String)>);

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = Carried<'_>> {
        self.0.iter().map(|(_, kind, envelope)| Carried { kind: *kind, envelope })
    }
}

/// There is no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Full;

impl Outbox {
    /// Holds a message, in place of an older one with the same id.
    pub(super) fn put(
        &mut self,
        header: &Header,
        kind: Kind,
        envelope: &str,
        now: Duration,
        word: Word,
    ) -> Result<(), Full> {
        let (device, message_id) = (header.device_id.clone(), header.message_id.clone());
        self.remove(|it| it.device == device && it.message_id == message_id);
        if self.held.len() >= HELD_MAX || self.bytes + envelope.len() > HELD_BYTES_MAX {
            return Err(Full);
        }
        self.tickets += 1;
        self.bytes += envelope.len();
        let (ticket, envelope) = (self.tickets, envelope.to_owned());
        self.held.push_back(Held { ticket, device, message_id, kind, envelope, since: now, word });
        Ok(())
    }

    /// Returns what to hand over next, and gives back what is too old.
    pub(super) fn batch(&mut self, now: Duration) -> Batch {
        for old in self.remove(|it| now.saturating_sub(it.since) > HELD_FOR) {
            let _ = old.word.send(Outcome::Stale);
        }
        let mut bytes = 0;
        let fits = |it: &&Held| {
            bytes += Carried { kind: it.kind, envelope: &it.envelope }.batch_bytes();
            bytes <= BATCH_BYTES_MAX
        };
        let first = self.held.iter().take(BATCH_MESSAGES_MAX).take_while(fits);
        Batch(first.map(|it| (it.ticket, it.kind, it.envelope.clone())).collect())
    }

    /// Takes note of what the server said about each message of a batch; returns whether all are done with.
    pub(super) fn settle(&mut self, batch: &Batch, told: &[Told]) -> bool {
        for ((ticket, ..), told) in batch.0.iter().zip(told) {
            if told.outcome != Outcome::Later {
                for done in self.remove(|it| it.ticket == *ticket) {
                    let _ = done.word.send(told.outcome);
                }
            }
        }
        told.iter().all(|told| told.outcome != Outcome::Later)
    }

    fn remove(&mut self, is_meant: impl Fn(&Held) -> bool) -> VecDeque<Held> {
        let (meant, kept) = self.held.drain(..).partition(is_meant);
        self.held = kept;
        self.bytes = self.held.iter().map(|it| it.envelope.len()).sum();
        meant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn put(outbox: &mut Outbox, id: &str, envelope: &str) -> oneshot::Receiver<Outcome> {
        let (word, told) = oneshot::channel();
        let header = Header {
            device_id: DeviceId::parse("d-1").unwrap(),
            timestamp: 0,
            message_id: MessageId::parse(id).unwrap(),
        };
        outbox.put(&header, Kind::Telemetry, envelope, NOW, word).unwrap();
        told
    }

    fn told(outcome: Outcome) -> Told {
        Told { device_id: None, message_id: None, outcome, code: String::new() }
    }

    fn envelopes(batch: &Batch) -> Vec<&str> {
        batch.messages().map(|it| it.envelope).collect()
    }

    #[test]
    fn each_message_is_held_until_the_server_says_what_became_of_it() {
        let mut outbox = Outbox::default();
        let words = ["a", "b", "c"].map(|id| put(&mut outbox, id, id));
        let batch = outbox.batch(NOW);
        assert_eq!(envelopes(&batch), ["a", "b", "c"]);
        let said = [Outcome::Stored, Outcome::Later, Outcome::Refused].map(told);
        assert!(!outbox.settle(&batch, &said));
        let [mut a, mut b, mut c] = words;
        assert_eq!((a.try_recv(), c.try_recv()), (Ok(Outcome::Stored), Ok(Outcome::Refused)));
        assert!(b.try_recv().is_err());
        let batch = outbox.batch(NOW);
        assert_eq!(envelopes(&batch), ["b"]);
        assert!(outbox.settle(&batch, &[told(Outcome::Stored)]));
        assert_eq!((b.try_recv(), outbox.bytes, outbox.held.len()), (Ok(Outcome::Stored), 0, 0));
    }

    #[test]
    fn a_message_that_comes_again_takes_the_place_of_the_first() {
        let mut outbox = Outbox::default();
        let mut first = put(&mut outbox, "a", "old");
        let batch = outbox.batch(NOW);
        let mut second = put(&mut outbox, "a", "new");
        assert!(outbox.settle(&batch, &[told(Outcome::Stale)]), "the old one is nobody's any more");
        assert!(first.try_recv().is_err() && second.try_recv().is_err());
        assert_eq!(envelopes(&outbox.batch(NOW)), ["new"]);
    }

    #[test]
    fn what_the_server_would_call_stale_is_given_back() {
        let mut outbox = Outbox::default();
        let mut word = put(&mut outbox, "a", "a");
        assert!(!outbox.batch(NOW + HELD_FOR).is_empty());
        assert!(outbox.batch(NOW + HELD_FOR + Duration::from_secs(1)).is_empty());
        assert_eq!(word.try_recv(), Ok(Outcome::Stale));
    }

    #[test]
    fn a_flood_fills_neither_memory_nor_a_batch() {
        let mut outbox = Outbox::default();
        let long = "x".repeat(8192);
        let mut words = Vec::new();
        let header = |n: usize| Header {
            device_id: DeviceId::parse("d-1").unwrap(),
            timestamp: 0,
            message_id: MessageId::parse(&format!("m-{n}")).unwrap(),
        };
        loop {
            let (word, told) = oneshot::channel();
            if outbox.put(&header(words.len()), Kind::Telemetry, &long, NOW, word) == Err(Full) {
                break;
            }
            words.push(told);
        }
        assert_eq!(words.len(), HELD_BYTES_MAX / 8192);
        assert_eq!(outbox.batch(NOW).0.len(), 7, "and what stands around them");
    }
}
