//! Messages between two processes: length, kind, device, what made the signature, payload.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use waxwing_wire::DeviceId;
use waxwing_wire::topic::Kind;

use super::super::Fate;
use super::super::packets::PACKET_BYTES_MAX;

/// Longest frame in bytes: a message as the broker may send it, and two names.
const FRAME_BYTES_MAX: usize = PACKET_BYTES_MAX + 2 * 256;

/// Bytes of the length.
const LENGTH_BYTES: usize = 4;

/// Answers.
const DONE: u8 = 1;
const AGAIN: u8 = 2;

/// A message that another process took from the broker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Frame {
    pub(super) device: DeviceId,
    pub(super) kind: Kind,
    /// What made the signature; nothing if the message was not found genuine.
    pub(super) signed_by: Option<String>,
    pub(super) payload: Bytes,
}

impl Frame {
    /// Writes it, unless it is too long for anybody to take.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut body = Vec::with_capacity(self.payload.len() + 128);
        let signed_by = self.signed_by.as_deref().unwrap_or_default();
        for text in [self.kind.as_str(), self.device.as_str(), signed_by] {
            body.push(u8::try_from(text.len()).ok()?);
            body.extend_from_slice(text.as_bytes());
        }
        body.extend_from_slice(&self.payload);
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_BYTES_MAX)?;
        Some([&length.to_be_bytes()[..], &body].concat())
    }

    /// Cuts the next one off, if all of it is there.
    pub(super) fn cut(buffer: &mut BytesMut) -> io::Result<Option<Self>> {
        let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(broken());
        }
        if buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        buffer.advance(LENGTH_BYTES);
        decode(buffer.split_to(length).freeze()).map(Some).ok_or_else(broken)
    }
}

fn decode(mut body: Bytes) -> Option<Frame> {
    let kind = text(&mut body)?;
    let kind = Kind::ALL.into_iter().find(|it| it.as_str() == kind)?;
    let device = DeviceId::parse(&text(&mut body)?).ok()?;
    let signed_by = Some(text(&mut body)?).filter(|text| !text.is_empty());
    Some(Frame { device, kind, signed_by, payload: body })
}

fn text(body: &mut Bytes) -> Option<String> {
    let length = usize::from(*body.first()?);
    body.advance(1);
    if body.len() < length {
        return None;
    }
    String::from_utf8(body.split_to(length).to_vec()).ok()
}

/// Writes an answer.
pub(super) const fn answer(fate: Fate) -> u8 {
    match fate {
        Fate::Again => AGAIN,
        Fate::Done => DONE,
    }
}

/// Reads an answer.
pub(super) fn fate(answer: u8) -> io::Result<Fate> {
    match answer {
        DONE => Ok(Fate::Done),
        AGAIN => Ok(Fate::Again),
        _ => Err(broken()),
    }
}

pub(super) fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other process is of another version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_round_trip_and_wait_until_they_are_whole() {
        let vouched = Frame {
            device: DeviceId::parse("d-1").unwrap(),
            kind: Kind::Telemetry,
            signed_by: Some("0a1b".to_owned()),
            payload: Bytes::from_static(b"{\"a\":1}"),
        };
        let unknown = Frame { signed_by: None, payload: Bytes::new(), ..vouched.clone() };
        let bytes = [vouched.encode().unwrap(), unknown.encode().unwrap()].concat();
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for byte in bytes {
            buffer.extend_from_slice(&[byte]);
            frames.extend(Frame::cut(&mut buffer).unwrap());
        }
        assert_eq!(frames, [vouched, unknown]);
    }

    #[test]
    fn what_is_no_frame_is_refused_and_not_waited_for() {
        for bytes in [&[0xff; 4][..], &[0, 0, 0, 1, 200], &[0, 0, 0, 2, 1, b'x'], &[0; 4]] {
            assert!(Frame::cut(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
        assert!(fate(0).is_err());
        let long = Frame {
            device: DeviceId::parse("d-1").unwrap(),
            kind: Kind::Report,
            signed_by: None,
            payload: vec![0; FRAME_BYTES_MAX].into(),
        };
        assert_eq!(long.encode(), None);
        for fate_of in [Fate::Again, Fate::Done] {
            assert_eq!(fate(answer(fate_of)).unwrap(), fate_of);
        }
    }
}
