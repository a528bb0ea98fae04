//! What one device is still to be told, whether it listens, and which of its messages it has not let go
//! of: the session as its connection has it.
//!
//! Not here: what becomes of it between two connections ([`keeper`](super::keeper)).

use std::collections::{BTreeSet, VecDeque};

use mqtt_protocol_core::mqtt::packet::Qos;

use super::codec::PacketId;
use super::keeper::{COMMANDS_MAX, KEPT_PACKET_MIN, Letter, Place, Rest, Session};

/// The commands for one device.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The subscription to the command topic, and the `QoS` granted for it.
    subscription: Option<Qos>,
    /// Sent with `QoS` 1 and not yet acknowledged, oldest first.
    sent: VecDeque<(PacketId, Letter)>,
    /// Not sent, oldest first.
    waiting: VecDeque<Letter>,
    last_id: u16,
    /// Messages with `QoS` 2 that were taken and that the device has not released: no second message
    /// with one of these ids is another one (MQTT 5, 4.3.3).
    taken: BTreeSet<PacketId>,
}

/// The device is too far behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Full;

impl From<Session> for Outbox {
    fn from(session: Session) -> Self {
        let Session { subscribed, commands, taken } = session;
        let subscription = subscribed.commands;
        let mut outbox = Self { subscription, taken, ..Self::default() };
        for (letter, was_sent) in commands {
            match letter.place.filter(|_| was_sent) {
                Some(place) => outbox.sent.push_back((place.packet, letter)),
                None => outbox.waiting.push_back(letter),
            }
        }
        outbox
    }
}

impl Outbox {
    /// Adds a command. One that is kept may come twice, and stays where it is kept until the next connection
    /// when there is no room: those of which the time is over there are forgotten, and are here still. Of
    /// either kind there are [`COMMANDS_MAX`], so that neither takes the room of the other.
    pub(super) fn push(&mut self, letter: Letter) -> Result<(), Full> {
        if letter.place.is_some_and(|place| self.holds(place)) {
            return Ok(());
        }
        let is_kept = letter.place.is_some();
        let of_its_kind = self.letters().filter(|it| it.place.is_some() == is_kept).count();
        match (of_its_kind < COMMANDS_MAX, is_kept) {
            (true, _) => self.waiting.push_back(letter),
            (false, true) => {}
            (false, false) => return Err(Full),
        }
        Ok(())
    }

    /// Takes the next command to send, when the device listens and has fewer than `window`
    /// unacknowledged ones. Without an id it goes out with `QoS` 0 and is done.
    pub(super) fn pop(&mut self, window: usize) -> Option<(Option<PacketId>, Letter)> {
        let qos = self.subscription?;
        if qos == Qos::AtMostOnce {
            return self.waiting.pop_front().map(|letter| (None, letter));
        }
        if self.sent.len() >= window {
            return None;
        }
        let letter = self.waiting.pop_front()?;
        let id = letter.place.map_or_else(|| self.free_id(), |place| place.packet);
        self.sent.push_back((id, letter.clone()));
        Some((Some(id), letter))
    }

    /// Forgets a command that the device took, and returns where it is kept; one it was never sent
    /// changes nothing.
    pub(super) fn acknowledge(&mut self, id: PacketId) -> Option<Place> {
        let at = self.sent.iter().position(|(sent, _)| *sent == id)?;
        self.sent.remove(at)?.1.place
    }

    /// Sets or ends the subscription.
    pub(super) const fn subscribe(&mut self, subscription: Option<Qos>) {
        self.subscription = subscription;
    }

    /// Returns the subscription to the commands.
    pub(super) const fn subscription(&self) -> Option<Qos> {
        self.subscription
    }

    /// Returns what was sent without an answer, to be sent again on the next connection.
    pub(super) fn unacknowledged(&self) -> impl Iterator<Item = &(PacketId, Letter)> {
        self.sent.iter()
    }

    /// Returns what is to be kept for so many seconds.
    pub(super) fn into_rest(self, expiry_s: u32) -> Rest {
        let places = self.sent.iter().filter_map(|(_, letter)| letter.place);
        Rest { expiry_s, sent: places.map(|place| place.position).collect(), taken: self.taken }
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

    fn letters(&self) -> impl Iterator<Item = &Letter> {
        self.sent.iter().map(|(_, letter)| letter).chain(&self.waiting)
    }

    fn holds(&self, place: Place) -> bool {
        let is_it = |letter: &Letter| letter.place.is_some_and(|it| it.position == place.position);
        self.letters().any(is_it)
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            self.last_id = (self.last_id + 1) % KEPT_PACKET_MIN;
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
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::keeper::Subscribed;

    fn outbox(subscription: Option<Qos>) -> Outbox {
        Outbox { subscription, ..Outbox::default() }
    }

    fn letter(text: &'static str) -> Letter {
        Letter { place: None, payload: Bytes::from_static(text.as_bytes()) }
    }

    fn kept(position: u64) -> Letter {
        let packet = PacketId::new(KEPT_PACKET_MIN + 7).unwrap();
        Letter { place: Some(Place { position, packet }), ..letter("kept") }
    }

    #[test]
    fn commands_wait_for_a_subscription_and_for_the_window() {
        let mut outbox = outbox(None);
        outbox.push(letter("1")).unwrap();
        outbox.push(letter("2")).unwrap();
        assert_eq!(outbox.pop(8), None);
        outbox.subscribe(Some(Qos::AtLeastOnce));
        assert_eq!(outbox.pop(1), Some((PacketId::new(1), letter("1"))));
        assert_eq!(outbox.pop(1), None);
        outbox.acknowledge(PacketId::new(1).unwrap());
        assert_eq!(outbox.pop(1), Some((PacketId::new(2), letter("2"))));
    }

    #[test]
    fn a_subscription_with_qos_0_leaves_nothing_to_acknowledge() {
        let mut outbox = outbox(Some(Qos::AtMostOnce));
        outbox.push(letter("1")).unwrap();
        assert_eq!(outbox.pop(8), Some((None, letter("1"))));
        assert_eq!(outbox.unacknowledged().count(), 0);
    }

    #[test]
    fn a_device_that_acknowledges_nothing_holds_a_bounded_number_of_commands() {
        let mut outbox = outbox(Some(Qos::AtLeastOnce));
        for _ in 0..COMMANDS_MAX {
            outbox.push(letter("")).unwrap();
            outbox.pop(usize::MAX).unwrap();
        }
        assert_eq!(outbox.push(letter("")), Err(Full));
    }

    #[test]
    fn answers_that_are_kept_are_bounded_too_and_end_no_connection_for_a_command() {
        let mut outbox = outbox(Some(Qos::AtLeastOnce));
        for position in 1..100 {
            outbox.push(kept(position)).unwrap();
            outbox.pop(8);
        }
        assert_eq!(outbox.letters().count(), COMMANDS_MAX);
        for _ in 0..COMMANDS_MAX {
            outbox.push(letter("")).unwrap();
        }
        assert_eq!(outbox.push(letter("")), Err(Full));
        outbox.push(kept(100)).unwrap();
        assert_eq!(outbox.letters().count(), 2 * COMMANDS_MAX);
    }

    #[test]
    fn ids_in_use_and_zero_are_skipped_when_the_counter_wraps() {
        let mut outbox = outbox(Some(Qos::AtLeastOnce));
        outbox.sent.push_back((PacketId::new(1).unwrap(), letter("")));
        outbox.last_id = KEPT_PACKET_MIN - 1;
        outbox.push(letter("")).unwrap();
        assert_eq!(outbox.pop(8), Some((PacketId::new(2), letter(""))));
    }

    #[test]
    fn a_command_that_is_kept_has_its_own_id_and_comes_once() {
        let mut outbox = outbox(Some(Qos::AtLeastOnce));
        outbox.push(kept(1)).unwrap();
        outbox.push(kept(1)).unwrap();
        let id = kept(1).place.unwrap().packet;
        assert_eq!(outbox.pop(8), Some((Some(id), kept(1))));
        outbox.push(kept(1)).unwrap();
        assert_eq!(outbox.pop(8), None, "it is on its way");
        assert_eq!(outbox.acknowledge(id), kept(1).place);
        assert_eq!(outbox.acknowledge(id), None);
    }

    #[test]
    fn what_was_sent_before_waits_for_its_acknowledgement_and_the_rest_to_be_sent() {
        let commands = vec![(kept(1), true), (kept(2), false)];
        let subscribed = Subscribed { commands: Some(Qos::AtLeastOnce), feeds: Vec::new() };
        let mut outbox = Outbox::from(Session { subscribed, commands, taken: BTreeSet::default() });
        assert_eq!(outbox.unacknowledged().count(), 1);
        assert_eq!(outbox.pop(8).map(|(_, letter)| letter), Some(kept(2)));
    }
}
