//! The way down: what a device subscribes to, and the commands that go out and wait for their
//! acknowledgement.
//!
//! Not here: what is kept between connections (`outbox`), nor who may subscribe to what (`acl`).

use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::Qos;
use waxwing_wire::DeviceId;
use waxwing_wire::topic::{Kind, Topic};

use super::{Action, Session, State};
use crate::mqtt::acl;
use crate::mqtt::codec::{Outgoing, PacketId};
use crate::mqtt::reason::Reason;

impl Session {
    /// MQTT 5, 4.4: what was not acknowledged is sent again after a reconnect, and only then.
    pub(super) fn send_again(&mut self) {
        let State::Open(open) = &mut self.state else { return };
        if open.outbox.is_subscribed() {
            self.actions.push(Action::Listen(true));
        }
        let again: Vec<_> = open.outbox.unacknowledged().cloned().collect();
        for (id, command) in again {
            self.send_command(Some(id), &command, true);
        }
        self.send_commands();
    }

    pub(super) fn command(&mut self, command: Bytes) {
        let State::Open(open) = &mut self.state else { return };
        match open.outbox.push(command) {
            Ok(()) => self.send_commands(),
            Err(_) => self.refuse(Reason::QuotaExceeded),
        }
    }

    pub(super) fn send_commands(&mut self) {
        while let State::Open(open) = &mut self.state
            && let Some((id, command)) = open.outbox.pop(open.window)
        {
            self.send_command(id, &command, false);
        }
    }

    fn send_command(&mut self, id: Option<PacketId>, payload: &[u8], again: bool) {
        let topic = Topic { device: self.device.clone(), kind: Kind::Command }.to_string();
        let packet = Outgoing::Publish { topic: &topic, payload, id, again };
        let State::Open(open) = &mut self.state else { return };
        match self.codec.encode(&packet) {
            Ok(bytes) if bytes.len() <= self.packet_bytes_max => {
                self.actions.push(Action::Send(bytes));
            }
            // MQTT 5, 3.1.2.11.4: what is too large for the device is dropped as if delivered.
            Ok(_) | Err(_) => {
                if let Some(id) = id {
                    open.outbox.acknowledge(id);
                }
            }
        }
    }

    pub(super) fn subscribe(&mut self, id: PacketId, filters: &[(String, Qos)]) {
        let State::Open(open) = &mut self.state else { return };
        let grants: Vec<_> = filters.iter().map(|(f, qos)| grant(&self.device, f, *qos)).collect();
        let granted = grants.iter().rev().find_map(|g| g.ok());
        if granted.is_some() {
            open.outbox.subscribe(granted);
            self.actions.push(Action::Listen(true));
        }
        self.send(&Outgoing::SubAck(id, &grants));
        self.send_commands();
    }

    pub(super) fn unsubscribe(&mut self, id: PacketId, filters: &[String]) {
        let State::Open(open) = &mut self.state else { return };
        let mut leave = |filter: &String| {
            let own = acl::subscribe(&self.device, filter);
            own && open.outbox.subscribe(None)
        };
        let existed: Vec<_> = filters.iter().map(&mut leave).collect();
        if existed.contains(&true) {
            self.actions.push(Action::Listen(false));
        }
        self.send(&Outgoing::UnsubAck(id, &existed));
    }
}

fn grant(device: &DeviceId, filter: &str, qos: Qos) -> Result<Qos, Reason> {
    let own = acl::subscribe(device, filter);
    if own { Ok(qos.min(Qos::AtLeastOnce)) } else { Err(Reason::NotAuthorized) }
}
