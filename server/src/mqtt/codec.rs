//! Bytes to packets and back, for MQTT 3.1.1 and 5 on one connection.
//!
//! Built on the packet types of `mqtt-protocol-core`; its `Connection` is not used, because the
//! rules here are narrower than a broker's: nothing but a CONNECT may come first, header flags are
//! checked, and a packet's size is judged before any of its body is kept. Not here: what a packet
//! may ask for ([`session`](super::session), [`scope`](super::scope)).

mod v3;
mod v5;

use std::num::NonZeroU16;

use bytes::{Buf as _, Bytes, BytesMut};
use mqtt_protocol_core::mqtt::packet::{DecodeResult, Qos, VariableByteInteger};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use waxwing_wire::envelope::ENVELOPE_BYTES_MAX;

use super::reason::Reason;

/// Largest packet a device may send: the longest envelope, and room for its topic and properties.
/// This much may have to be held for every connection.
pub(super) const PACKET_BYTES_MAX: usize = ENVELOPE_BYTES_MAX + 1024;

/// Connection state of the two directions: what version is spoken, and what came in so far.
#[derive(Debug, Default)]
pub(super) struct Codec {
    /// Known from CONNECT on.
    version: Option<Version>,
    buffer: BytesMut,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

impl Codec {
    /// Keeps bytes of the connection until [`Codec::next`] asks for them.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next complete packet.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, Reason> {
        let Some((header, body)) = self.frame()? else { return Ok(None) };
        let packet = match self.version {
            None => Incoming::Connect(self.connect(&body)?),
            Some(Version::V3) => v3::decode(header, &body)?,
            Some(Version::V5) => v5::decode(header, &body)?,
        };
        Ok(Some(packet))
    }

    /// Returns the version spoken, once a CONNECT has come.
    pub(super) const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Writes a packet; nothing before CONNECT, nor where the version has no such packet.
    pub(super) fn encode(&self, packet: &Outgoing<'_>) -> Result<Vec<u8>, Reason> {
        let bytes = match self.version {
            None => Ok(Vec::new()),
            Some(Version::V3) => v3::encode(packet),
            Some(Version::V5) => v5::encode(packet),
        };
        bytes.map_err(reason)
    }

    /// Splits off the next complete packet: its first byte and its body.
    fn frame(&mut self) -> Result<Option<(u8, Bytes)>, Reason> {
        let Some((&header, rest)) = self.buffer.split_first() else { return Ok(None) };
        self.check_header(header)?;
        let (length, length_bytes) = match VariableByteInteger::decode_stream(rest) {
            DecodeResult::Ok(length, bytes) => (length.to_u32(), bytes),
            DecodeResult::Incomplete => return Ok(None),
            DecodeResult::Err(_) => return Err(Reason::MalformedPacket),
        };
        let body_bytes = usize::try_from(length).map_err(|_| Reason::PacketTooLarge)?;
        let size = 1 + length_bytes + body_bytes;
        if size > PACKET_BYTES_MAX {
            return Err(Reason::PacketTooLarge);
        }
        if self.buffer.len() < size {
            return Ok(None);
        }
        let mut packet = self.buffer.split_to(size).freeze();
        packet.advance(1 + length_bytes);
        Ok(Some((header, packet)))
    }

    /// MQTT 5, 2.1.3: a reserved flag set to another value makes the packet malformed.
    const fn check_header(&self, header: u8) -> Result<(), Reason> {
        match (self.version, header) {
            (None, header::CONNECT)
            | (
                Some(_),
                header::PUBACK
                | header::PUBREL
                | header::SUBSCRIBE
                | header::UNSUBSCRIBE
                | header::PINGREQ
                | header::DISCONNECT
                | header::PUBLISH..=header::PUBLISH_LAST,
            ) => Ok(()),
            (Some(_), _) if header::is_known(header) => Err(Reason::MalformedPacket),
            (None | Some(_), _) => Err(Reason::ProtocolError),
        }
    }

    fn connect(&mut self, body: &[u8]) -> Result<Connect, Reason> {
        // "MQTT" with its length, then the level: MQTT 5, 3.1.2.1 and 3.1.2.2.
        let (version, parse): (_, fn(&[u8]) -> _) = match body {
            [0, 4, b'M', b'Q', b'T', b'T', 4, ..] => (Version::V3, v3::connect),
            [0, 4, b'M', b'Q', b'T', b'T', 5, ..] => (Version::V5, v5::connect),
            _ => return Err(Reason::UnsupportedProtocolVersion),
        };
        body.get(7).copied().map_or(Err(Reason::MalformedPacket), check_connect_flags)?;
        let connect = parse(body)?;
        self.version = Some(version);
        Ok(connect)
    }
}

/// First bytes of the packets a device may send: type and flags.
mod header {
    pub(super) const CONNECT: u8 = 0x10;
    pub(super) const PUBLISH: u8 = 0x30;
    pub(super) const PUBLISH_LAST: u8 = 0x3f;
    pub(super) const PUBACK: u8 = 0x40;
    pub(super) const PUBREL: u8 = 0x62;
    pub(super) const SUBSCRIBE: u8 = 0x82;
    pub(super) const UNSUBSCRIBE: u8 = 0xa2;
    pub(super) const PINGREQ: u8 = 0xc0;
    pub(super) const DISCONNECT: u8 = 0xe0;

    /// Tells whether a device sends packets of this type once it is connected, whatever the flags are.
    pub(super) const fn is_known(header: u8) -> bool {
        matches!(header & 0xf0, 0x30 | PUBACK | 0x60 | 0x80 | 0xa0 | PINGREQ | DISCONNECT)
    }
}

/// MQTT 5, 3.1.2.3 to 3.1.2.7: the reserved bit is zero, a will has a `QoS` up to 2, and without a
/// will neither its `QoS` nor its retain flag is set. The parser below does not look.
const fn check_connect_flags(flags: u8) -> Result<(), Reason> {
    let reserved = flags & 0b0000_0001 != 0;
    let will = flags & 0b0000_0100 != 0;
    let will_qos = (flags & 0b0001_1000) >> 3;
    let will_retain = flags & 0b0010_0000 != 0;
    if reserved || will_qos == 3 || (!will && (will_qos != 0 || will_retain)) {
        return Err(Reason::MalformedPacket);
    }
    Ok(())
}

/// What a device sends.
#[derive(Debug)]
pub(super) enum Incoming {
    Connect(Connect),
    Publish(Publish),
    PubAck(PacketId),
    PubRel(PacketId),
    Subscribe { id: PacketId, filters: Vec<(String, Qos)> },
    Unsubscribe { id: PacketId, filters: Vec<String> },
    Ping,
    Disconnect { with_will: bool, session_expiry_s: Option<u32> },
}

/// Number of a packet that is answered; zero is none (MQTT 5, 2.2.1).
pub(super) type PacketId = NonZeroU16;

/// The first packet of a connection.
#[derive(Debug)]
pub(super) struct Connect {
    pub(super) version: Version,
    pub(super) client_id: String,
    pub(super) clean_start: bool,
    pub(super) keep_alive_s: u16,
    /// How long the device wants its session kept, in seconds; 3.1.1 knows only "for ever".
    pub(super) session_expiry_s: u32,
    /// How many messages the device takes before it has acknowledged the first.
    pub(super) receive_max: u16,
    /// Largest packet the device takes, in bytes.
    pub(super) packet_bytes_max: u32,
    pub(super) will: Option<Will>,
    /// Whether it asks for an authentication exchange.
    pub(super) authentication: bool,
}

/// What is to be published for a device that goes without a word.
#[derive(Debug)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) retain: bool,
    pub(super) delay_s: u32,
}

/// A message.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    /// Present exactly when it is to be acknowledged.
    pub(super) id: Option<PacketId>,
}

/// What a device is sent.
#[derive(Debug)]
pub(super) enum Outgoing<'a> {
    /// CONNACK of a connection that is on.
    Welcome(Welcome<'a>),
    /// CONNACK of a connection that is refused.
    Refuse(Reason),
    /// PUBACK; a reason means that the message was refused, which only MQTT 5 can say.
    PubAck(PacketId, Option<Reason>),
    /// PUBREC; a reason means the same as in a PUBACK.
    PubRec(PacketId, Option<Reason>),
    /// PUBCOMP: whether there was a message with this id.
    PubComp(PacketId, bool),
    SubAck(PacketId, &'a [Result<Qos, Reason>]),
    /// UNSUBACK: for each filter whether there was a subscription.
    UnsubAck(PacketId, &'a [bool]),
    Pong,
    /// A message; an id makes it `QoS` 1.
    Publish {
        topic: &'a str,
        payload: &'a [u8],
        id: Option<PacketId>,
        again: bool,
    },
    /// DISCONNECT, which a server can send from MQTT 5 on.
    Disconnect(Reason),
}

/// What a device is told when it is let in.
#[derive(Debug)]
pub(super) struct Welcome<'a> {
    pub(super) session_present: bool,
    /// For a device that left its client id empty.
    pub(super) assigned_client_id: Option<&'a str>,
    /// Whether it may subscribe with wildcards.
    pub(super) wildcards: bool,
    /// Where it is not what the device asked for, in seconds.
    pub(super) keep_alive_s: Option<u16>,
    /// Where it is not what the device asked for, in seconds.
    pub(super) session_expiry_s: Option<u32>,
}

/// Messages of `QoS` 1 and 2 that a device may have unacknowledged (MQTT 5, 3.2.2.3.3).
pub(super) const RECEIVE_MAX: u16 = 32;

/// MQTT 5, 1.5.4: text has no null character. That it is UTF-8 was checked before.
fn text(text: &str) -> Result<String, Reason> {
    if text.contains('\0') { Err(Reason::MalformedPacket) } else { Ok(text.to_owned()) }
}

fn packet_id(id: u16) -> Result<PacketId, Reason> {
    PacketId::new(id).ok_or(Reason::MalformedPacket)
}

/// Reads a body that must be used up to its last byte.
fn exact<T>(
    body: &[u8],
    parse: impl FnOnce(&[u8]) -> Result<(T, usize), MqttError>,
) -> Result<T, Reason> {
    let (packet, used) = parse(body).map_err(reason)?;
    if used == body.len() { Ok(packet) } else { Err(Reason::MalformedPacket) }
}

fn reason(error: MqttError) -> Reason {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum with causes of no interest")]
    match error {
        MqttError::ProtocolError => Reason::ProtocolError,
        MqttError::TopicAliasInvalid => Reason::TopicAliasInvalid,
        _ => Reason::MalformedPacket,
    }
}

#[cfg(test)]
mod tests;
