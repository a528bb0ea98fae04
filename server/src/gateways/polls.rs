//! The polls that gateways carried: those of a device only go forward.
//!
//! A poll is written nowhere, so what was carried is remembered here, and only as long as a copy would
//! still be fresh: after a restart a gateway could hand over once more what is at most that old.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use waxwing_wire::envelope::Header;
use waxwing_wire::{DeviceId, MessageId};

/// Most polls of a device that were sealed in one second: it polls once more before it restarts, and again
/// after a link broke.
const SAME_SECOND_MAX: usize = 8;

/// The last polls of each device. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Polls(Arc<Mutex<HashMap<DeviceId, Last>>>);

/// The last second in which a device sealed polls.
#[derive(Debug, Default)]
struct Last {
    timestamp: u64,
    ids: Vec<MessageId>,
}

impl Polls {
    /// Takes down a poll, unless the device sealed it before another one that came, or it came before.
    #[must_use]
    pub fn note(&self, poll: &Header) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(poll.device_id.clone()).or_default().note(poll)
    }

    /// Forgets a device.
    pub(super) fn forget(&self, device: &DeviceId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(device);
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

    fn poll(device: &str, timestamp: u64, id: usize) -> Header {
        let message_id = MessageId::parse(&format!("p-{id}")).unwrap();
        Header { device_id: DeviceId::parse(device).unwrap(), timestamp, message_id }
    }

    #[test]
    fn polls_of_a_device_only_go_forward() {
        let polls = Polls::default();
        assert!(polls.note(&poll("a", 10, 1)));
        assert!(!polls.note(&poll("a", 10, 1)), "the same once more");
        assert!(polls.note(&poll("a", 10, 2)));
        assert!(!polls.note(&poll("a", 10, 1)), "not between others either");
        assert!(polls.note(&poll("a", 11, 1)));
        assert!(!polls.note(&poll("a", 10, 3)), "one that was held back");
        assert!(polls.note(&poll("b", 10, 1)), "others have their own time");
        polls.forget(&DeviceId::parse("a").unwrap());
        assert!(polls.note(&poll("a", 10, 1)));
    }

    #[test]
    fn a_device_fills_no_memory_with_polls() {
        let polls = Polls::default();
        let taken = (0..100).filter(|id| polls.note(&poll("a", 10, *id))).count();
        assert_eq!(taken, SAME_SECOND_MAX);
        assert!(polls.note(&poll("a", 11, 0)));
    }
}
