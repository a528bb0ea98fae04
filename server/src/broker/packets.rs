//! The packets of MQTT 5 that a client needs which shares a subscription and publishes commands.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use mqtt_protocol_core::mqtt::packet::{
    MaximumPacketSize, MessageExpiryInterval, Property, Qos, ReceiveMaximum, SessionExpiryInterval,
    SubEntry, SubOpts, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use waxwing_wire::envelope::ENVELOPE_BYTES_MAX;
use waxwing_wire::topic::{EXISTING_PREFIX, Kind, PREFIX};

/// Longest packet that the broker may send: the longest envelope, its topic and some properties.
pub(super) const PACKET_BYTES_MAX: usize = ENVELOPE_BYTES_MAX + 1024;

/// Messages that may be unacknowledged: enough to fill a batch of the message log.
pub(super) const WINDOW_MAX: u16 = 512;

/// Silence after which either side gives the connection up, in seconds.
pub(super) const KEEP_ALIVE_S: u16 = 30;

/// The packet that subscribes; commands have others.
pub(super) const SUBSCRIBE_ID: u16 = u16::MAX;

/// What devices say that is taken from a broker. Not `state`: who is connected, the broker alone knows.
const KINDS: [Kind; 3] = [Kind::Report, Kind::Response, Kind::Telemetry];

/// Bytes of the length of a packet, at most (MQTT 5, 1.5.5), and the bits that each holds.
const LENGTH_BYTES_MAX: usize = 4;
const LENGTH_BITS: usize = 7;

/// First bytes of packets.
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBLISH_LAST: u8 = 0x3f;
const PUBACK: u8 = 0x40;
const SUBACK: u8 = 0x90;
const PINGRESP: u8 = 0xd0;
const DISCONNECT: u8 = 0xe0;

/// Reason codes from which on a packet is refused (MQTT 5, 2.4).
const FAILURE: u8 = 0x80;

/// What the broker says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Incoming {
    /// A command arrived, or why not.
    Acknowledged {
        id: u16,
        code: u8,
    },
    /// The broker ends the connection, and why.
    Ended(u8),
    Message(Message),
    Pong,
    /// Each filter was granted with `QoS` 1, or not.
    Subscribed(bool),
    /// We are let in: what the broker takes at once.
    Welcome {
        receive_max: u16,
    },
}

/// A message of a device, as the broker says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    /// Present exactly when it is to be acknowledged.
    pub(super) id: Option<u16>,
}

/// The session is kept for as long as the broker may keep messages: those that came to this process and
/// were not acknowledged are its own.
pub(super) fn connect(client_id: &str, session_s: u32) -> Result<Vec<u8>, MqttError> {
    let bytes_max = u32::try_from(PACKET_BYTES_MAX).map_err(|_| MqttError::ValueOutOfRange)?;
    let props = vec![
        Property::SessionExpiryInterval(SessionExpiryInterval::new(session_s)?),
        Property::ReceiveMaximum(ReceiveMaximum::new(WINDOW_MAX)?),
        Property::MaximumPacketSize(MaximumPacketSize::new(bytes_max)?),
    ];
    let packet = v5_0::Connect::builder().client_id(client_id)?.clean_start(false);
    Ok(packet.keep_alive(KEEP_ALIVE_S).props(props).build()?.to_continuous_buffer())
}

pub(super) fn subscribe(group: &str) -> Result<Vec<u8>, MqttError> {
    let options = || SubOpts::new().set_qos(Qos::AtLeastOnce);
    let entries = filters(group).into_iter().map(|filter| SubEntry::new(filter, options()));
    let packet = v5_0::Subscribe::builder()
        .packet_id(SUBSCRIBE_ID)
        .entries(entries.collect::<Result<Vec<_>, _>>()?);
    Ok(packet.build()?.to_continuous_buffer())
}

/// MQTT 5, 4.8.2: whoever has the same group and filter divides the messages. Without a group there is one
/// process, which gets them all.
fn filters(group: &str) -> Vec<String> {
    let share = if group.is_empty() { String::new() } else { format!("$share/{group}/") };
    let of_kinds = KINDS.iter().map(|kind| format!("{share}{PREFIX}+/{kind}"));
    of_kinds.chain([format!("{share}{EXISTING_PREFIX}+/data")]).collect()
}

/// Writes a command, which the broker forgets when it is void.
pub(super) fn publish(
    topic: &str,
    payload: Vec<u8>,
    id: u16,
    good_for_s: u32,
) -> Result<Vec<u8>, MqttError> {
    let expiry = Property::MessageExpiryInterval(MessageExpiryInterval::new(good_for_s)?);
    let packet = v5_0::Publish::builder()
        .topic_name(topic)?
        .qos(Qos::AtLeastOnce)
        .packet_id(id)
        .props(vec![expiry])
        .payload(payload);
    Ok(packet.build()?.to_continuous_buffer())
}

pub(super) fn acknowledge(id: u16) -> Result<Vec<u8>, MqttError> {
    Ok(v5_0::Puback::builder().packet_id(id).build()?.to_continuous_buffer())
}

pub(super) fn ping() -> Vec<u8> {
    v5_0::Pingreq::new().to_continuous_buffer()
}

/// Cuts the next packet off, if all of it is there.
pub(super) fn cut(buffer: &mut BytesMut) -> io::Result<Option<Incoming>> {
    let Some((length, head)) = length(buffer)? else { return Ok(None) };
    if buffer.len() < head + length {
        return Ok(None);
    }
    let header = buffer.first().copied().unwrap_or_default();
    buffer.advance(head);
    let body = buffer.split_to(length);
    decode(header, &body).map(Some).ok_or_else(broken)
}

/// Returns the length of the body of the next packet, and of what comes before it.
fn length(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut length = 0;
    for place in 0..LENGTH_BYTES_MAX {
        let Some(byte) = bytes.get(1 + place) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (LENGTH_BITS * place);
        if length > PACKET_BYTES_MAX {
            return Err(broken());
        }
        if *byte < 0x80 {
            return Ok(Some((length, 2 + place)));
        }
    }
    Err(broken())
}

/// Reads a packet, if it is one that a broker may send here.
fn decode(header: u8, body: &[u8]) -> Option<Incoming> {
    match header {
        CONNACK => connack(body),
        PUBLISH..=PUBLISH_LAST => publication(header, body),
        PUBACK => {
            let (packet, _) = v5_0::Puback::parse(body).ok()?;
            // MQTT 5, 3.4.2.1: without a reason code it is success.
            let code = body.get(2).copied().unwrap_or_default();
            Some(Incoming::Acknowledged { id: packet.packet_id(), code })
        }
        SUBACK => {
            v5_0::Suback::parse(body).ok()?;
            let codes = body.iter().rev().take(KINDS.len() + 1);
            Some(Incoming::Subscribed(codes.into_iter().all(|code| *code == 1)))
        }
        PINGRESP => Some(Incoming::Pong),
        DISCONNECT => Some(Incoming::Ended(body.first().copied().unwrap_or_default())),
        _ => None,
    }
}

/// Tells whether a reason code is one of a refusal.
pub(super) const fn is_refusal(code: u8) -> bool {
    code >= FAILURE
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the broker speaks no MQTT")
}

fn connack(body: &[u8]) -> Option<Incoming> {
    let (packet, _) = v5_0::Connack::parse(body).ok()?;
    let code = body.get(1).copied()?;
    if is_refusal(code) {
        return Some(Incoming::Ended(code));
    }
    let receive_max = packet.props().iter().find_map(|property| {
        if let Property::ReceiveMaximum(max) = property { Some(max.val()) } else { None }
    });
    Some(Incoming::Welcome { receive_max: receive_max.unwrap_or(u16::MAX).max(1) })
}

fn publication(header: u8, body: &[u8]) -> Option<Incoming> {
    let (packet, _) = v5_0::Publish::parse(header & 0x0f, body.into()).ok()?;
    // We grant no aliases, and subscribe with no more than QoS 1.
    let is_alias = packet.props().iter().any(|it| matches!(it, Property::TopicAlias(_)));
    if is_alias || packet.qos() == Qos::ExactlyOnce {
        return None;
    }
    Some(Incoming::Message(Message {
        topic: packet.topic_name().to_owned(),
        payload: Bytes::copy_from_slice(packet.payload().as_slice()),
        id: packet.packet_id(),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn everything_but_presence_is_shared_also_what_existing_devices_say() {
        let expected = [
            "$share/g/waxwing/v1/+/report",
            "$share/g/waxwing/v1/+/response",
            "$share/g/waxwing/v1/+/telemetry",
            "$share/g/device/+/data",
        ];
        assert_eq!(filters("g"), expected);
        let alone = expected.map(|filter| filter.trim_start_matches("$share/g/"));
        assert_eq!(filters(""), alone);
    }

    #[test]
    fn a_message_is_read_with_the_id_by_which_it_is_acknowledged() {
        let bytes = publish("waxwing/v1/d-1/telemetry", b"{}".to_vec(), 7, 300).unwrap();
        let message = Message {
            topic: "waxwing/v1/d-1/telemetry".to_owned(),
            payload: Bytes::from_static(b"{}"),
            id: Some(7),
        };
        assert_eq!(decode(bytes[0], &bytes[2..]), Some(Incoming::Message(message)));
        assert_eq!(acknowledge(7).unwrap(), [0x40, 2, 0, 7]);
    }

    #[test]
    fn what_a_broker_refuses_is_known_for_it() {
        assert_eq!(
            decode(CONNACK, &[0, 0, 3, 0x21, 0, 9]),
            Some(Incoming::Welcome { receive_max: 9 })
        );
        assert_eq!(decode(CONNACK, &[0, 0x87, 0]), Some(Incoming::Ended(0x87)));
        assert_eq!(decode(SUBACK, &[0, 1, 0, 1, 1, 1, 1]), Some(Incoming::Subscribed(true)));
        assert_eq!(decode(SUBACK, &[0, 1, 0, 1, 1, 0x87, 1]), Some(Incoming::Subscribed(false)));
        assert_eq!(decode(DISCONNECT, &[0x8e]), Some(Incoming::Ended(0x8e)));
        let code = Some(Incoming::Acknowledged { id: 7, code: 0x10 });
        assert_eq!(decode(PUBACK, &[0, 7, 0x10, 0]), code);
    }

    #[test]
    fn packets_are_cut_off_when_they_are_whole_and_too_long_ones_are_not_waited_for() {
        let ping = [0xd0, 0];
        let mut buffer = BytesMut::from(&[0xd0, 0, 0xd0][..]);
        assert_eq!(cut(&mut buffer).unwrap(), Some(Incoming::Pong));
        assert_eq!(cut(&mut buffer).unwrap(), None);
        buffer.extend_from_slice(&ping[1..]);
        assert_eq!(cut(&mut buffer).unwrap(), Some(Incoming::Pong));
        assert_eq!(length(&[0x30, 0x80]).unwrap(), None);
        assert_eq!(length(&[0x30, 0x80, 0x01]).unwrap(), Some((128, 3)));
        assert!(length(&[0x30, 0xff, 0x7f]).is_err(), "16,383 bytes");
        assert!(length(&[0x30, 0x80, 0x80, 0x80, 0x80]).is_err());
    }

    proptest! {
        #[test]
        fn whatever_a_broker_says_is_read_or_refused(
            header in any::<u8>(),
            body in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = decode(header, &body);
        }
    }
}
