//! The way down: what a device subscribes to, and the commands that go out and wait for their
//! acknowledgement.
//!
//! Not here: what is kept between connections (`outbox`), nor who may subscribe to what (`scope`).

use mqtt_protocol_core::mqtt::packet::Qos;
use waxwing_wire::topic::{EXISTING_PREFIX, Kind, Topic};

use super::{Action, Session, State};
use crate::mqtt::codec::{Outgoing, PacketId};
use crate::mqtt::keeper::Letter;
use crate::mqtt::reason::Reason;
use crate::mqtt::refusals::Part;
use crate::mqtt::scope::{Scope, Subscription};

impl Session {
    /// MQTT 5, 4.4: what was not acknowledged is sent again after a reconnect, and only then.
    pub(super) fn send_again(&mut self) {
        let State::Open(open) = &mut self.state else { return };
        if open.outbox.subscription().is_some() {
            self.actions.push(Action::Listen(true));
        }
        let again: Vec<_> = open.outbox.unacknowledged().cloned().collect();
        for (id, letter) in again {
            self.send_command(Some(id), &letter, true);
        }
        self.send_commands();
    }

    pub(super) fn command(&mut self, letter: Letter) {
        let State::Open(open) = &mut self.state else { return };
        match open.outbox.push(letter) {
            Ok(()) => self.send_commands(),
            Err(_) => self.refuse(Reason::QuotaExceeded),
        }
    }

    pub(super) fn send_commands(&mut self) {
        while let State::Open(open) = &mut self.state
            && let Some((id, letter)) = open.outbox.pop(open.window)
        {
            self.send_command(id, &letter, false);
        }
    }

    fn send_command(&mut self, id: Option<PacketId>, letter: &Letter, again: bool) {
        let Scope::Device(device) = &self.scope else { return };
        let State::Open(open) = &mut self.state else { return };
        let topic = Topic { device: device.clone(), kind: Kind::Command };
        let name = topic.existing_name().filter(|_| open.by_existing_name);
        let topic = name.unwrap_or_else(|| topic.to_string());
        let packet = Outgoing::Publish { topic: &topic, payload: &letter.payload, id, again };
        let mut is_done = id.is_none();
        match self.codec.encode(&packet) {
            Ok(bytes) if bytes.len() <= self.packet_bytes_max => {
                self.actions.push(Action::Send(bytes));
            }
            // MQTT 5, 3.1.2.11.4: what is too large for the device is dropped as if delivered.
            Ok(_) | Err(_) => {
                id.and_then(|id| open.outbox.acknowledge(id));
                is_done = true;
            }
        }
        self.actions.extend(letter.place.filter(|_| is_done).map(Action::Taken));
    }

    pub(super) fn subscribe(&mut self, id: PacketId, filters: &[(String, Qos)]) {
        let grants = filters.iter().map(|(filter, qos)| self.grant(filter, *qos));
        let grants: Vec<_> = grants.collect();
        let refused = grants.iter().filter_map(|grant| grant.err());
        self.refused.extend(refused.map(|reason| (Part::Subscribe, reason)));
        self.settle();
        self.send(&Outgoing::SubAck(id, &grants));
        self.send_commands();
    }

    /// Subscribes to one filter, and returns the `QoS` granted: 1 for commands, 0 for the rest.
    fn grant(&mut self, filter: &str, qos: Qos) -> Result<Qos, Reason> {
        match self.scope.subscribe(filter, &self.readable)? {
            Subscription::Commands => {
                let qos = qos.min(Qos::AtLeastOnce);
                self.name_commands(filter);
                self.subscribe_to_commands(Some(qos));
                Ok(qos)
            }
            Subscription::Feed(feed) => self.listen(filter, feed).map(|()| Qos::AtMostOnce),
        }
    }

    pub(super) fn unsubscribe(&mut self, id: PacketId, filters: &[String]) {
        let existed: Vec<_> = filters.iter().map(|filter| self.leave(filter)).collect();
        self.settle();
        self.send(&Outgoing::UnsubAck(id, &existed));
    }

    /// Ends the subscription to one filter, and returns whether there was one.
    fn leave(&mut self, filter: &str) -> bool {
        match self.scope.subscribe(filter, &self.readable) {
            Ok(Subscription::Commands) if !self.names_commands(filter) => false,
            Ok(Subscription::Commands) => self.subscribe_to_commands(None),
            Ok(Subscription::Feed(_)) | Err(_) => self.unlisten(filter),
        }
    }

    /// Commands go out under the name that was subscribed to last.
    pub(super) fn name_commands(&mut self, filter: &str) {
        if let State::Open(open) = &mut self.state {
            open.by_existing_name = filter.starts_with(EXISTING_PREFIX);
        }
    }

    fn names_commands(&self, filter: &str) -> bool {
        let State::Open(open) = &self.state else { return false };
        open.by_existing_name == filter.starts_with(EXISTING_PREFIX)
    }

    /// Changes the subscription to the commands, and returns whether there was one.
    fn subscribe_to_commands(&mut self, subscription: Option<Qos>) -> bool {
        let State::Open(open) = &mut self.state else { return false };
        let before = open.outbox.subscription();
        open.outbox.subscribe(subscription);
        if before.is_some() || subscription.is_some() {
            self.actions.push(Action::Listen(subscription.is_some()));
        }
        before.is_some()
    }
}
