//! The messages of a device on their way to the sink: handed out as they come, answered in order.
//!
//! Not here: commands, which go the other way.

use std::time::Duration;

use mqtt_protocol_core::mqtt::packet::Qos;

use super::{Action, Message, Open, Session, State};
use crate::mqtt::Refused;
use crate::mqtt::codec::{Outgoing, PacketId, Publish, RECEIVE_MAX, Version};
use crate::mqtt::reason::Reason;
use crate::mqtt::refusals::Part;

/// A message in the order it came, until it is answered.
#[derive(Debug)]
pub(super) struct Received {
    answer: Answer,
    /// Why it is not to be taken. Such a message waits here too: answers keep the order of the messages
    /// (MQTT 5, 4.6).
    refusal: Option<Reason>,
}

/// How a message is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    /// `QoS` 0: not at all.
    None,
    /// `QoS` 1: PUBACK.
    Acknowledge(PacketId),
    /// `QoS` 2: PUBREC.
    Receive(PacketId),
}

impl Answer {
    const fn to(publish: &Publish) -> Self {
        match (publish.id, publish.qos) {
            (None, _) | (_, Qos::AtMostOnce) => Self::None,
            (Some(id), Qos::AtLeastOnce) => Self::Acknowledge(id),
            (Some(id), Qos::ExactlyOnce) => Self::Receive(id),
        }
    }
}

impl Open {
    /// Returns how many messages the device may not count as answered.
    fn unanswered(&self) -> usize {
        let waiting = self.inbox.iter().filter(|received| received.answer != Answer::None);
        waiting.count() + self.outbox.unreleased()
    }

    /// Tells whether a message with `QoS` 2 came before and was not released.
    fn has_seen(&self, answer: Answer) -> bool {
        let Answer::Receive(id) = answer else { return false };
        self.outbox.has_taken(id) || self.inbox.iter().any(|received| received.answer == answer)
    }
}

impl Session {
    /// Takes a message; one that is too much (`fits`) is refused.
    pub(super) fn publish(&mut self, publish: Publish, fits: bool) {
        if publish.retain {
            return self.refuse(Reason::RetainNotSupported);
        }
        let answer = Answer::to(&publish);
        let kind = self.scope.publish(&publish.topic);
        let can_say_why = self.codec.version() == Some(Version::V5) && answer != Answer::None;
        let State::Open(open) = &mut self.state else { return };
        match kind {
            _ if open.has_seen(answer) => self.receive_again(answer),
            None if !can_say_why => self.refuse(Reason::NotAuthorized),
            None => self.receive(Received { answer, refusal: Some(Reason::NotAuthorized) }),
            Some(_) if !fits => {
                self.receive(Received { answer, refusal: Some(Reason::QuotaExceeded) });
            }
            Some(kind) => {
                self.actions.push(Action::Deliver(Message { kind, payload: publish.payload }));
                self.receive(Received { answer, refusal: None });
            }
        }
    }

    /// MQTT 5, 4.3.3: a message that came before is not taken again. While it is out, its answer is
    /// still to come.
    fn receive_again(&mut self, answer: Answer) {
        let State::Open(open) = &self.state else { return };
        if let Answer::Receive(id) = answer
            && open.outbox.has_taken(id)
        {
            self.send(&Outgoing::PubRec(id, None));
        }
    }

    fn receive(&mut self, received: Received) {
        let State::Open(open) = &mut self.state else { return };
        open.inbox.push_back(received);
        if open.unanswered() > self.unanswered_max() {
            return self.refuse(Reason::ReceiveMaximumExceeded);
        }
        self.work();
    }

    /// 3.1.1 announces no limit: there the unread rest waits in the socket, and only ids that are never
    /// released are too many.
    fn unanswered_max(&self) -> usize {
        match self.codec.version() {
            Some(Version::V3) => UNRELEASED_MAX,
            Some(Version::V5) | None => RECEIVE_MAX.into(),
        }
    }

    /// Answers the messages at the head of the inbox that need nobody's opinion.
    fn work(&mut self) {
        while let State::Open(open) = &mut self.state {
            match open.inbox.front() {
                Some(Received { refusal: None, .. }) => return,
                Some(&Received { answer, refusal: Some(reason) }) => {
                    open.inbox.pop_front();
                    self.answer(answer, Some(reason));
                }
                None => {
                    if let Some(ending) = open.leaving {
                        self.close(None, ending);
                    }
                    return;
                }
            }
        }
    }

    pub(super) fn answered(&mut self, now: Duration, outcome: Result<(), Refused>) {
        let State::Open(open) = &mut self.state else { return };
        let Some(received) = open.inbox.pop_front() else { return };
        // While we worked nothing was read, and that is not the device's silence.
        self.deadline = now + open.silence;
        match outcome {
            Ok(()) => self.answer(received.answer, None),
            // A message that may be taken later must not be acknowledged, so that it comes again.
            Err(Refused::Unavailable) if received.answer != Answer::None => {
                return self.refuse(Reason::ServerBusy);
            }
            Err(refused) => self.answer(received.answer, Some(refused.reason())),
        }
        self.work();
    }

    fn answer(&mut self, answer: Answer, refusal: Option<Reason>) {
        let is_v3 = self.codec.version() == Some(Version::V3);
        if let Some(reason) = refusal.filter(|_| answer == Answer::None || !is_v3) {
            self.refused.push((Part::Publish, reason));
        }
        match (answer, refusal) {
            (Answer::None, _) => {}
            // MQTT 3.1.1, 3.3.5: a positive answer or none; ours is never positive by mistake.
            (_, Some(reason)) if is_v3 => self.refuse(reason),
            (Answer::Acknowledge(id), refusal) => self.send(&Outgoing::PubAck(id, refusal)),
            (Answer::Receive(id), refusal) => {
                if let (State::Open(open), None) = (&mut self.state, refusal) {
                    open.outbox.take(id);
                }
                self.send(&Outgoing::PubRec(id, refusal));
            }
        }
    }
}

/// Messages with `QoS` 2 that a device with 3.1.1 may leave unreleased: a few kilobytes.
const UNRELEASED_MAX: usize = 1024;
