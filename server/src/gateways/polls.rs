//! The polls that gateways carried: those of a device only go forward.
//!
//! A poll is written nowhere, so what was carried is remembered here. What was sealed before this server
//! began may have come before; it is not taken, and the device has to ask anew. So that this also holds for
//! devices whose clocks are ahead, the database knows how far.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use waxwing_wire::envelope::Header;
use waxwing_wire::{DeviceId, MessageId};

use crate::store::{self, Store, carried_polls};

/// Most polls of a device that were sealed in one second: it polls once more before it restarts, and again
/// after a link broke.
const SAME_SECOND_MAX: usize = 8;

/// By how much the mark in the database is raised at least, in seconds: it is written once a minute at most.
const MARK_S: u64 = 60;

/// The last polls of each device. Clones share them.
#[derive(Clone, Debug)]
pub struct Polls {
    /// What was sealed up to this second may have come to the process before.
    since_s: u64,
    /// The mark in the database.
    mark_s: watch::Sender<u64>,
    last: Arc<Mutex<HashMap<DeviceId, Last>>>,
}

/// What became of a poll.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Noted {
    /// It is new.
    New,
    /// The device sealed it before another one that came, or it came before.
    Replayed,
    /// It was sealed before the server began, so it may have come before.
    TooOld,
}

/// The last second in which a device sealed polls.
#[derive(Debug, Default)]
struct Last {
    timestamp: u64,
    ids: Vec<MessageId>,
}

impl Polls {
    /// Nothing was carried yet to a server that began then, in Unix milliseconds, and found this mark.
    pub(super) fn since(began_ms: u64, mark_s: u64) -> Self {
        let mark = watch::Sender::new(mark_s);
        Self { since_s: mark_s.max(began_ms / 1000), mark_s: mark, last: Arc::default() }
    }

    /// Takes down a poll if it is new.
    ///
    /// # Errors
    ///
    /// When the database cannot be written; then the poll is used up, and the device has to ask anew.
    pub async fn take(
        &self,
        store: &Store,
        poll: &Header,
        now_ms: u64,
    ) -> Result<Noted, store::Error> {
        let noted = self.note(poll);
        if noted == Noted::New && poll.timestamp > now_ms / 1000 {
            self.mark(store, poll.timestamp).await?;
        }
        Ok(noted)
    }

    /// Remembers over a restart that a device whose clock is ahead has polled.
    async fn mark(&self, store: &Store, sealed_s: u64) -> Result<(), store::Error> {
        if sealed_s <= *self.mark_s.borrow() {
            return Ok(());
        }
        let mark_s = sealed_s.next_multiple_of(MARK_S);
        let mut change = store.begin().await?;
        carried_polls::raise(change.connection(), mark_s).await?;
        drop(change.commit().await?);
        self.mark_s.send_modify(|mark| *mark = mark_s.max(*mark));
        Ok(())
    }

    fn note(&self, poll: &Header) -> Noted {
        // The process before may have taken one in the same second.
        if poll.timestamp <= self.since_s {
            return Noted::TooOld;
        }
        let mut all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = all.entry(poll.device_id.clone()).or_default().note(poll);
        if is_new { Noted::New } else { Noted::Replayed }
    }

    /// Forgets a device.
    pub(super) fn forget(&self, device: &DeviceId) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).remove(device);
    }
}

impl Last {
    fn note(&mut self, poll: &Header) -> bool {
        if poll.timestamp > self.timestamp {
            *self = Self { timestamp: poll.timestamp, ids: Vec::new() };
        }
        let is_new = poll.timestamp == self.timestamp && !self.ids.contains(&poll.message_id);
        let is_taken = is_new && self.ids.len() < SAME_SECOND_MAX;
        if is_taken {
            self.ids.push(poll.message_id.clone());
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Shop;

    fn poll(device: &str, timestamp: u64, id: usize) -> Header {
        let message_id = MessageId::parse(&format!("p-{id}")).unwrap();
        Header { device_id: DeviceId::parse(device).unwrap(), timestamp, message_id }
    }

    #[test]
    fn polls_of_a_device_only_go_forward() {
        let polls = Polls::since(9_999, 0);
        let said = |device, timestamp, id| polls.note(&poll(device, timestamp, id));
        assert_eq!(said("a", 10, 1), Noted::New);
        assert_eq!(said("a", 10, 1), Noted::Replayed, "the same once more");
        assert_eq!(said("a", 10, 2), Noted::New);
        assert_eq!(said("a", 10, 1), Noted::Replayed, "not between others either");
        assert_eq!(said("a", 11, 1), Noted::New);
        assert_eq!(said("a", 10, 3), Noted::Replayed, "one that was held back");
        assert_eq!(said("b", 10, 1), Noted::New, "others have their own time");
        polls.forget(&DeviceId::parse("a").unwrap());
        assert_eq!(said("a", 10, 1), Noted::New);
    }

    #[test]
    fn a_poll_from_before_the_server_began_may_have_come_before() {
        let polls = Polls::since(10_999, 0);
        assert_eq!(polls.note(&poll("a", 10, 1)), Noted::TooOld);
        assert_eq!(polls.note(&poll("a", 11, 1)), Noted::New);
    }

    #[test]
    fn a_device_fills_no_memory_with_polls() {
        let polls = Polls::since(0, 0);
        let is_taken = |id: &usize| polls.note(&poll("a", 10, *id)) == Noted::New;
        assert_eq!((0..100).filter(is_taken).count(), SAME_SECOND_MAX);
        assert_eq!(polls.note(&poll("a", 11, 0)), Noted::New);
    }

    #[tokio::test]
    async fn no_restart_lets_a_poll_come_twice_whose_device_is_ahead_of_our_clock() {
        let shop = Shop::open(1).await;
        let restarted = async |began_ms| {
            Polls::since(began_ms, carried_polls::read(&shop.store).await.unwrap())
        };
        let polls = restarted(1_000_000).await;
        let take =
            async |polls: &Polls, at| polls.take(&shop.store, &poll("a", at, 1), 1_010_000).await;
        for (at, written) in [(1010, 0), (1100, 1140), (1101, 1140), (1141, 1200)] {
            assert_eq!(take(&polls, at).await.unwrap(), Noted::New);
            assert_eq!(carried_polls::read(&shop.store).await.unwrap(), written, "{at}");
        }
        let polls = restarted(1_020_000).await;
        for (at, noted) in [(1141, Noted::TooOld), (1200, Noted::TooOld), (1201, Noted::New)] {
            assert_eq!(take(&polls, at).await.unwrap(), noted, "{at}");
        }
    }
}
