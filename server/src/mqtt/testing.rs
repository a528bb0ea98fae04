//! Packets as a device would send them, byte by byte, so that tests can also send wrong ones.

use super::codec::Version;

/// Own topic of the device `d-1`.
pub(super) const TELEMETRY: &str = "waxwing/v1/d-1/telemetry";
/// Where `d-1` gets its commands.
pub(super) const COMMAND: &str = "waxwing/v1/d-1/command";

/// A CONNECT, to be changed before it is written.
#[derive(Clone, Debug)]
pub(super) struct ConnectBytes {
    pub(super) version: Version,
    pub(super) flags: u8,
    pub(super) keep_alive_s: u16,
    pub(super) properties: Vec<u8>,
    pub(super) client_id: &'static str,
    /// Will properties (MQTT 5), will topic, will payload, user name, password.
    pub(super) rest: Vec<u8>,
}

/// A CONNECT of `d-1` with a clean start.
pub(super) fn connect(version: Version) -> ConnectBytes {
    ConnectBytes {
        version,
        flags: 0b0000_0010,
        keep_alive_s: 60,
        properties: Vec::new(),
        client_id: "d-1",
        rest: Vec::new(),
    }
}

impl ConnectBytes {
    pub(super) fn with_will(mut self, topic: &str, flags: u8) -> Self {
        self.flags |= 0b100 | flags;
        if self.version == Version::V5 {
            self.rest.push(0);
        }
        self.rest.extend(text(topic));
        self.rest.extend(text("will"));
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let level = match self.version {
            Version::V3 => 4,
            Version::V5 => 5,
        };
        let mut body = text("MQTT");
        body.extend([level, self.flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        body.extend(properties(self.version, &self.properties));
        body.extend(text(self.client_id));
        body.extend(&self.rest);
        packet(0x10, &body)
    }
}

/// A PUBLISH; the low bits of `flags` are DUP, `QoS` and RETAIN.
pub(super) fn publish(version: Version, flags: u8, topic: &str, id: u16, payload: &str) -> Vec<u8> {
    let mut body = text(topic);
    if flags & 0b0110 != 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend(properties(version, &[]));
    body.extend(payload.as_bytes());
    packet(0x30 | flags, &body)
}

pub(super) fn subscribe(version: Version, id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(properties(version, &[]));
    body.extend(text(filter));
    body.push(qos);
    packet(0x82, &body)
}

pub(super) fn unsubscribe(version: Version, id: u16, filter: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(properties(version, &[]));
    body.extend(text(filter));
    packet(0xa2, &body)
}

pub(super) fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

pub(super) fn pubrec(id: u16) -> Vec<u8> {
    packet(0x50, &id.to_be_bytes())
}

pub(super) fn pubrel(id: u16) -> Vec<u8> {
    packet(0x62, &id.to_be_bytes())
}

pub(super) fn pubcomp(id: u16) -> Vec<u8> {
    packet(0x70, &id.to_be_bytes())
}

pub(super) const PING: [u8; 2] = [0xc0, 0];
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Puts a fixed header before a body.
pub(super) fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![header];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length % 128).unwrap();
        length /= 128;
        bytes.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

/// A string with its length before it.
pub(super) fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn properties(version: Version, properties: &[u8]) -> Vec<u8> {
    match version {
        Version::V3 => Vec::new(),
        Version::V5 => [&[u8::try_from(properties.len()).unwrap()], properties].concat(),
    }
}
