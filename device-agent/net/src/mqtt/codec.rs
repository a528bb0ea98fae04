//! The packets of MQTT 5 that a device sends and takes, in bytes: chapters 2 and 3 of "MQTT Version
//! 5.0" (OASIS). What it never asks for, no broker may send: second-level acknowledgements, topic
//! aliases, authentication.
//!
//! Not a client for other purposes: `rust-mqtt` is one, and 54 KB longer in firmware. Not here: waiting.

mod fields;

use alloc::vec::Vec;

use self::fields::{Fields, properties};

/// Not a packet that may come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

/// Connections are made anew, without what was: `Clean Start`.
const CLEAN_START: u8 = 0x02;
/// Least reason code that says no.
const REFUSED_FROM: u8 = 0x80;

/// Properties, by their identifiers (2.2.2.2).
mod property {
    pub(super) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(super) const CONTENT_TYPE: u8 = 0x03;
    pub(super) const RESPONSE_TOPIC: u8 = 0x08;
    pub(super) const CORRELATION: u8 = 0x09;
    pub(super) const SUBSCRIPTION: u8 = 0x0b;
    pub(super) const SESSION_EXPIRY: u8 = 0x11;
    pub(super) const ASSIGNED_ID: u8 = 0x12;
    pub(super) const KEEP_ALIVE: u8 = 0x13;
    pub(super) const SERVER_REFERENCE: u8 = 0x1c;
    pub(super) const REASON: u8 = 0x1f;
    pub(super) const RECEIVE_MAX: u8 = 0x21;
    pub(super) const ALIAS_MAX: u8 = 0x22;
    pub(super) const QOS_MAX: u8 = 0x24;
    pub(super) const RETAIN: u8 = 0x25;
    pub(super) const USER: u8 = 0x26;
    pub(super) const PACKET_MAX: u8 = 0x27;
    pub(super) const WILDCARDS: u8 = 0x28;
    pub(super) const SUBSCRIPTION_IDS: u8 = 0x29;
    pub(super) const SHARED: u8 = 0x2a;
}

/// What each packet may bring along.
const OF_CONNACK: u64 = properties(&[
    property::SESSION_EXPIRY,
    property::ASSIGNED_ID,
    property::KEEP_ALIVE,
    property::SERVER_REFERENCE,
    property::REASON,
    property::RECEIVE_MAX,
    property::ALIAS_MAX,
    property::QOS_MAX,
    property::RETAIN,
    property::USER,
    property::PACKET_MAX,
    property::WILDCARDS,
    property::SUBSCRIPTION_IDS,
    property::SHARED,
]);
const OF_PUBLISH: u64 = properties(&[
    property::PAYLOAD_FORMAT,
    property::MESSAGE_EXPIRY,
    property::CONTENT_TYPE,
    property::RESPONSE_TOPIC,
    property::CORRELATION,
    property::SUBSCRIPTION,
    property::USER,
]);
const OF_ANSWERS: u64 = properties(&[property::REASON, property::USER]);

/// What a device sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outgoing<'p> {
    /// A greeting: who it is, and what the server may expect of it.
    Connect { id: &'p str, keep_alive_s: u16, packet_bytes_max: u32, receive_max: u16 },
    /// It wants to hear what is said under this topic, at least once.
    Subscribe { packet: u16, filter: &'p str },
    /// A message, to be acknowledged.
    Publish { packet: u16, topic: &'p str, message: &'p [u8] },
    /// A message was taken.
    Acknowledge { packet: u16 },
    /// Is anybody there?
    Ping,
}

/// What a device takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Incoming<'p> {
    /// The greeting was heard.
    Welcome(Limits),
    /// The answer to a subscription: whether it is granted.
    Subscribed { packet: u16, is_granted: bool },
    /// A message; `packet` if it is to be acknowledged.
    Message { packet: Option<u16>, message: &'p [u8] },
    /// The answer to a message: whether it was taken.
    Answered { packet: u16, is_taken: bool },
    /// Somebody is there.
    Pong,
}

/// What a server takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Limits {
    /// How often it wants to hear something, if not as often as the device said; 0 is never.
    pub(super) keep_alive_s: Option<u16>,
    /// Messages at once that are not yet acknowledged.
    pub(super) receive_max: u16,
    /// Longest packet in bytes.
    pub(super) packet_bytes_max: u32,
}

impl Outgoing<'_> {
    /// Appends the packet.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when a name or the whole is longer than the format allows.
    pub(super) fn write(&self, to: &mut Vec<u8>) -> Result<(), Malformed> {
        let none: &[u8] = &[];
        let (kind, head, message) = match *self {
            Self::Connect { id, keep_alive_s, packet_bytes_max, receive_max } => {
                let mut head = text("MQTT")?;
                head.extend([5, CLEAN_START]);
                head.extend(keep_alive_s.to_be_bytes());
                head.extend([8, property::PACKET_MAX]);
                head.extend(packet_bytes_max.to_be_bytes());
                head.push(property::RECEIVE_MAX);
                head.extend(receive_max.to_be_bytes());
                head.extend(text(id)?);
                (0x10, head, none)
            }
            Self::Subscribe { packet, filter } => {
                let mut head = Vec::from(packet.to_be_bytes());
                head.push(0);
                head.extend(text(filter)?);
                head.push(1);
                (0x82, head, none)
            }
            Self::Publish { packet, topic, message } => {
                let mut head = text(topic)?;
                head.extend(packet.to_be_bytes());
                head.push(0);
                (0x32, head, message)
            }
            Self::Acknowledge { packet } => (0x40, packet.to_be_bytes().into(), none),
            Self::Ping => (0xc0, Vec::new(), none),
        };
        to.push(kind);
        write_length(head.len().saturating_add(message.len()), to)?;
        to.extend(head);
        to.extend_from_slice(message);
        Ok(())
    }
}

impl<'p> Incoming<'p> {
    /// Reads what comes behind a packet's length.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for whatever is not to the letter, or ends the connection.
    pub(super) fn read(first: u8, body: &'p [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let incoming = match first {
            0x20 => Self::Welcome(welcome(&mut fields)?),
            0x30..=0x3f => message(first, &mut fields)?,
            0x40 => {
                let packet = fields.packet()?;
                let is_taken = fields.is_empty() || fields.byte()? < REFUSED_FROM;
                if !fields.is_empty() {
                    fields.properties(OF_ANSWERS, |_, _| Ok(()))?;
                }
                Self::Answered { packet, is_taken }
            }
            0x90 => {
                let packet = fields.packet()?;
                fields.properties(OF_ANSWERS, |_, _| Ok(()))?;
                Self::Subscribed { packet, is_granted: fields.byte()? < REFUSED_FROM }
            }
            0xd0 => Self::Pong,
            _ => return Err(Malformed),
        };
        if fields.is_empty() { Ok(incoming) } else { Err(Malformed) }
    }
}

/// Reads the answer to a greeting. A server that remembers a session is confused, and one that takes
/// messages only to forget them is of no use.
fn welcome(fields: &mut Fields<'_>) -> Result<Limits, Malformed> {
    let (flags, reason) = (fields.byte()?, fields.byte()?);
    let mut limits =
        Limits { keep_alive_s: None, receive_max: u16::MAX, packet_bytes_max: u32::MAX };
    fields.properties(OF_CONNACK, |property, value| {
        let short = u16::try_from(value).unwrap_or(u16::MAX);
        match property {
            property::KEEP_ALIVE => limits.keep_alive_s = Some(short),
            property::RECEIVE_MAX => limits.receive_max = short,
            property::PACKET_MAX => limits.packet_bytes_max = value,
            property::QOS_MAX if value != 1 => return Err(Malformed),
            _ => {}
        }
        Ok(())
    })?;
    let is_usable = limits.receive_max > 0 && limits.packet_bytes_max > 0;
    if flags == 0 && reason == 0 && is_usable { Ok(limits) } else { Err(Malformed) }
}

fn message<'p>(first: u8, fields: &mut Fields<'p>) -> Result<Incoming<'p>, Malformed> {
    let is_repeated = first & 0x08 != 0;
    let topic = fields.text()?;
    let is_name = !topic.is_empty() && !topic.contains(['#', '+', '\0']);
    let packet = match first >> 1 & 3 {
        0 if !is_repeated => None,
        1 => Some(fields.packet()?),
        _ => return Err(Malformed),
    };
    fields.properties(OF_PUBLISH, |_, _| Ok(()))?;
    if is_name { Ok(Incoming::Message { packet, message: fields.rest() }) } else { Err(Malformed) }
}

fn text(text: &str) -> Result<Vec<u8>, Malformed> {
    let length = u16::try_from(text.len()).map_err(|_| Malformed)?;
    Ok([&length.to_be_bytes()[..], text.as_bytes()].concat())
}

/// Digits of a length; seven bits each, the lowest first.
const LENGTH_DIGITS_MAX: usize = 4;

fn write_length(length: usize, to: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut rest = length;
    for _ in 0..LENGTH_DIGITS_MAX {
        let digit = u8::try_from(rest & 0x7f).map_err(|_| Malformed)?;
        rest >>= 7;
        to.push(if rest == 0 { digit } else { digit | 0x80 });
        if rest == 0 {
            return Ok(());
        }
    }
    Err(Malformed)
}

/// Returns the length that these bytes begin with and how many tell it; `None` while there are too few.
///
/// # Errors
///
/// [`Malformed`] when it takes more bytes than it may or needs.
pub(super) fn read_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0_usize;
    for (place, digit) in bytes.iter().take(LENGTH_DIGITS_MAX).enumerate() {
        length |= usize::from(digit & 0x7f) << (7 * place);
        if digit & 0x80 == 0 {
            let is_short = place == 0 || *digit != 0;
            return if is_short { Ok(Some((length, place + 1))) } else { Err(Malformed) };
        }
    }
    if bytes.len() < LENGTH_DIGITS_MAX { Ok(None) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests;
