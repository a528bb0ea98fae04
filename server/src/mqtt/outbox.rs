//! What one device is still to be told, whether it listens, and which of its messages it has not let go
//! of: the part of a session that outlives its connection.
//!
//! Kept in memory only: a command expires in minutes, and a device that comes back later polls
//! anyway.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::Qos;

use super::codec::PacketId;

/// Commands that may wait for one device, sent or not: a device that is further behind is
/// not helped by more of them.
pub(super) const COMMANDS_MAX: usize = 16;

/// The commands for one device.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The subscription to the command topic, and the `QoS` granted for it.
    subscription: Option<Qos>,
    /// Sent with `QoS` 1 and not yet acknowledged, oldest first.
    sent: VecDeque<(PacketId, Bytes)>,
    /// Not sent, oldest first.
    waiting: VecDeque<Bytes>,
    last_id: u16,
    /// Messages with `QoS` 2 that were taken and that the device has not released: no second message
    /// with one of these ids is another one (MQTT 5, 4.3.3).
    taken: BTreeSet<PacketId>,
}

/// The device is too far behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Full;

impl Outbox {
    /// Adds a command.
    pub(super) fn push(&mut self, command: Bytes) -> Result<(), Full> {
        if self.sent.len() + self.waiting.len() >= COMMANDS_MAX {
            return Err(Full);
        }
        self.waiting.push_back(command);
        Ok(())
    }

    /// Takes the next command to send, when the device listens and has fewer than `window`
    /// unacknowledged ones. Without an id it goes out with `QoS` 0 and is done.
    pub(super) fn pop(&mut self, window: usize) -> Option<(Option<PacketId>, Bytes)> {
        let qos = self.subscription?;
        if qos == Qos::AtMostOnce {
            return self.waiting.pop_front().map(|command| (None, command));
        }
        if self.sent.len() >= window {
            return None;
        }
        let command = self.waiting.pop_front()?;
        let id = self.free_id();
        self.sent.push_back((id, command.clone()));
        Some((Some(id), command))
    }

    /// Forgets a command that the device took; one it was never sent changes nothing.
    pub(super) fn acknowledge(&mut self, id: PacketId) {
        self.sent.retain(|(sent, _)| *sent != id);
    }

    /// Sets or ends the subscription, and returns whether there was one.
    pub(super) const fn subscribe(&mut self, subscription: Option<Qos>) -> bool {
        let was = self.subscription.is_some();
        self.subscription = subscription;
        was
    }

    /// Returns whether the device listens to commands.
    pub(super) const fn is_subscribed(&self) -> bool {
        self.subscription.is_some()
    }

    /// Returns what was sent without an answer, to be sent again on the next connection.
    pub(super) fn unacknowledged(&self) -> impl Iterator<Item = &(PacketId, Bytes)> {
        self.sent.iter()
    }

    /// Notes that a message with `QoS` 2 was taken.
    pub(super) fn take(&mut self, id: PacketId) {
        self.taken.insert(id);
    }

    /// Returns whether a message with `QoS` 2 was taken and not released.
    pub(super) fn has_taken(&self, id: PacketId) -> bool {
        self.taken.contains(&id)
    }

    /// Forgets a message that the device released, and returns whether there was one.
    pub(super) fn release(&mut self, id: PacketId) -> bool {
        self.taken.remove(&id)
    }

    /// Returns how many messages are taken and not released.
    pub(super) fn unreleased(&self) -> usize {
        self.taken.len()
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            // At most COMMANDS_MAX ids are taken, so this ends after a few rounds.
            if let Some(id) = PacketId::new(self.last_id)
                && self.sent.iter().all(|(sent, _)| *sent != id)
            {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(subscription: Option<Qos>) -> Outbox {
        Outbox { subscription, ..Outbox::default() }
    }

    #[test]
    fn commands_wait_for_a_subscription_and_for_the_window() {
        let mut outbox = outbox(None);
        outbox.push(Bytes::from_static(b"1")).unwrap();
        outbox.push(Bytes::from_static(b"2")).unwrap();
        assert_eq!(outbox.pop(8), None);
        outbox.subscribe(Some(Qos::AtLeastOnce));
        assert_eq!(outbox.pop(1), Some((PacketId::new(1), Bytes::from_static(b"1"))));
        assert_eq!(outbox.pop(1), None);
        outbox.acknowledge(PacketId::new(1).unwrap());
        assert_eq!(outbox.pop(1), Some((PacketId::new(2), Bytes::from_static(b"2"))));
    }

    #[test]
    fn a_subscription_with_qos_0_leaves_nothing_to_acknowledge() {
        let mut outbox = outbox(Some(Qos::AtMostOnce));
        outbox.push(Bytes::from_static(b"1")).unwrap();
        assert_eq!(outbox.pop(8), Some((None, Bytes::from_static(b"1"))));
        assert_eq!(outbox.unacknowledged().count(), 0);
    }

    #[test]
    fn a_device_that_acknowledges_nothing_holds_a_bounded_number_of_commands() {
        let mut outbox = outbox(Some(Qos::AtLeastOnce));
        for _ in 0..COMMANDS_MAX {
            outbox.push(Bytes::new()).unwrap();
            outbox.pop(usize::MAX).unwrap();
        }
        assert_eq!(outbox.push(Bytes::new()), Err(Full));
    }

    #[test]
    fn ids_in_use_and_zero_are_skipped_when_the_counter_wraps() {
        let mut outbox = outbox(Some(Qos::AtLeastOnce));
        outbox.sent.push_back((PacketId::new(1).unwrap(), Bytes::new()));
        outbox.last_id = u16::MAX;
        outbox.push(Bytes::new()).unwrap();
        assert_eq!(outbox.pop(8), Some((PacketId::new(2), Bytes::new())));
    }
}
