//! The messages of a device on their way to the sink: one at a time, answered in order.
//!
//! Not here: commands, which go the other way.

use std::time::Duration;

use mqtt_protocol_core::mqtt::packet::Qos;

use super::{Action, Message, Session, State};
use crate::mqtt::codec::{Outgoing, PacketId, Publish, RECEIVE_MAX, Version};
use crate::mqtt::reason::Reason;
use crate::mqtt::{Refused, acl};

/// A message in the order it came, until it is answered.
#[derive(Debug)]
pub(super) struct Received {
    /// Present when it is to be acknowledged.
    id: Option<PacketId>,
    /// A message that is not to be taken waits here too: acknowledgements keep the order of the
    /// messages (MQTT 5, 4.6).
    message: Result<Message, Reason>,
}

impl Session {
    pub(super) fn publish(&mut self, publish: Publish) {
        let message = match (publish.qos, publish.retain) {
            (Qos::ExactlyOnce, _) => return self.refuse(Reason::QosNotSupported),
            (_, true) => return self.refuse(Reason::RetainNotSupported),
            (Qos::AtLeastOnce | Qos::AtMostOnce, false) => {
                acl::publish(&self.device, &publish.topic)
                    .map(|kind| Message { kind, payload: publish.payload })
                    .ok_or(Reason::NotAuthorized)
            }
        };
        let can_say_why = self.codec.version() == Some(Version::V5) && publish.id.is_some();
        match message {
            Err(reason) if !can_say_why => self.refuse(reason),
            message => self.receive(Received { id: publish.id, message }),
        }
    }

    fn receive(&mut self, received: Received) {
        let State::Open(open) = &mut self.state else { return };
        open.inbox.push_back(received);
        let unacknowledged = open.inbox.iter().filter(|r| r.id.is_some()).count();
        // 3.1.1 has no such limit; there the unread rest waits in the socket.
        if self.codec.version() == Some(Version::V5) && unacknowledged > usize::from(RECEIVE_MAX) {
            return self.refuse(Reason::ReceiveMaximumExceeded);
        }
        if open.inbox.len() == 1 {
            self.work();
        }
    }

    /// Hands out the first message of the inbox; answers those that need nobody's opinion.
    fn work(&mut self) {
        while let State::Open(open) = &mut self.state {
            let Some(first) = open.inbox.front() else {
                if let Some(ending) = open.leaving {
                    self.close(None, ending);
                }
                return;
            };
            match &first.message {
                Ok(message) => return self.actions.push(Action::Deliver(message.clone())),
                Err(reason) => {
                    let (id, reason) = (first.id, *reason);
                    open.inbox.pop_front();
                    self.acknowledge(id, Some(reason));
                }
            }
        }
    }

    pub(super) fn answered(&mut self, now: Duration, answer: Result<(), Refused>) {
        let State::Open(open) = &mut self.state else { return };
        let Some(received) = open.inbox.pop_front() else { return };
        // While we worked nothing was read, and that is not the device's silence.
        self.deadline = now + open.silence;
        match answer {
            Ok(()) => self.acknowledge(received.id, None),
            // A message that may be taken later must not be acknowledged, so that it comes again.
            Err(Refused::Unavailable) if received.id.is_some() => {
                return self.refuse(Reason::ServerBusy);
            }
            Err(refused) => self.acknowledge(received.id, Some(refused.reason())),
        }
        self.work();
    }

    fn acknowledge(&mut self, id: Option<PacketId>, refusal: Option<Reason>) {
        let Some(id) = id else { return };
        match refusal {
            // MQTT 3.1.1, 3.3.5: a positive answer or none; ours is never positive by mistake.
            Some(reason) if self.codec.version() == Some(Version::V3) => self.refuse(reason),
            Some(_) | None => self.send(&Outgoing::PubAck(id, refusal)),
        }
    }
}
