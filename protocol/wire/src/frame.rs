//! What a sensor without IP and its gateway say to each other, over any link that carries bytes in order:
//! BLE, a serial line, a socket.
//!
//! ```text
//! u8 kind | u24be length | body | u32be CRC-32 of all before
//! ```
//!
//! A link that lost or changed bytes shows it in the checksum; then both sides begin a new one. Nothing of
//! it is trusted: what matters is signed by those at the far ends. Not here: how a link cuts bytes into
//! packets, and who is at its end.

use alloc::vec::Vec;
use core::fmt;

use crate::bundle::DEVICE_ANSWER_BYTES_MAX;
use crate::id::{Digest, MessageId};
use crate::topic::Kind;

/// Longest body of a frame: the longest answer to a poll, which a sensor has to hold anyway.
pub const BODY_BYTES_MAX: usize = DEVICE_ANSWER_BYTES_MAX;
/// Most bytes of an image in one frame: a sector of flash, the most that a device writes at once.
pub const PIECE_BYTES_MAX: usize = 4096;
/// Kind and length.
const HEAD_BYTES: usize = 4;
/// The checksum.
const TAIL_BYTES: usize = 4;

/// What is to be done about a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum Outcome {
    /// Nothing more: it is stored, or was before.
    Stored,
    /// Nobody can say now: hand it over again.
    Later,
    /// It came too late: its sender may seal it anew, with the present time (D24).
    Stale,
    /// Nothing more: it never will be stored.
    Refused,
}

impl Outcome {
    const ALL: [(u8, Self); 4] =
        [(b's', Self::Stored), (b'l', Self::Later), (b'o', Self::Stale), (b'r', Self::Refused)];

    fn to_byte(self) -> u8 {
        Self::ALL.into_iter().find(|(_, it)| *it == self).map_or(0, |(byte, _)| byte)
    }

    fn from_byte(byte: u8) -> Result<Self, Broken> {
        Self::ALL.into_iter().find(|(it, _)| *it == byte).map(|(_, it)| it).ok_or(Broken)
    }
}

/// What a sensor says to its gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Up<'a> {
    /// A sealed message for the server.
    Message(Kind, &'a str),
    /// A sealed poll for the server.
    Poll(&'a str),
    /// Give me so many bytes of this image, at most [`PIECE_BYTES_MAX`], from there on.
    Read(Digest, u32, u16),
    /// What time is it? Needed to seal a poll, and believed for nothing else.
    Time,
}

/// What a gateway says to a sensor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Down<'a> {
    /// The answer to the poll: a bundle.
    Answer(&'a [u8]),
    /// There is no answer to the poll.
    NoAnswer(Excuse),
    /// What became of a message.
    Outcome(MessageId, Outcome),
    /// Bytes of the image that was asked for.
    Piece {
        /// Position of the first of them.
        from: u32,
        /// Length of the whole image.
        length: u32,
        /// The bytes; none at the end of the image.
        bytes: &'a [u8],
    },
    /// There is no such piece.
    NoPiece(Excuse),
    /// The time, in Unix seconds.
    Time(u64),
}

/// Why there is nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Excuse {
    /// HTTP status of the server; 0 if it cannot be reached.
    pub status: u16,
    /// For how many seconds it wants to be left alone; 0 if it did not say.
    pub wait_s: u32,
}

impl<'a> Up<'a> {
    /// Encodes it as a frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Message(kind, envelope) => seal(kind_byte(*kind), &[envelope.as_bytes()]),
            Self::Poll(envelope) => seal(b'P', &[envelope.as_bytes()]),
            Self::Read(sha256, from, bytes) => {
                seal(b'R', &[&sha256.0, &from.to_be_bytes(), &bytes.to_be_bytes()])
            }
            Self::Time => seal(b'T', &[]),
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// [`Broken`] when a sensor does not say that.
    pub fn parse(frame: &'a Frame) -> Result<Self, Broken> {
        let text = || core::str::from_utf8(&frame.body).map_err(|_| Broken);
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind_byte(*kind) == frame.kind) {
            return Ok(Self::Message(kind, text()?));
        }
        let mut rest = &frame.body[..];
        let said = match frame.kind {
            b'P' => return Ok(Self::Poll(text()?)),
            b'R' => Self::Read(
                Digest(array(&mut rest)?),
                u32::from_be_bytes(array(&mut rest)?),
                u16::from_be_bytes(array(&mut rest)?),
            ),
            b'T' => Self::Time,
            _ => return Err(Broken),
        };
        if rest.is_empty() { Ok(said) } else { Err(Broken) }
    }
}

/// The kind of a frame with a message. Commands go down only, and not this way.
const fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Command => b'c',
        Kind::Report => b'r',
        Kind::Response => b'a',
        Kind::State => b's',
        Kind::Telemetry => b't',
    }
}

impl<'a> Down<'a> {
    /// Encodes it as a frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Answer(bundle) => seal(b'A', &[bundle]),
            Self::NoAnswer(excuse) => seal(b'N', &[&excuse.encode()]),
            Self::NoPiece(excuse) => seal(b'X', &[&excuse.encode()]),
            Self::Outcome(id, outcome) => {
                seal(b'O', &[&[outcome.to_byte()], id.as_str().as_bytes()])
            }
            Self::Piece { from, length, bytes } => {
                seal(b'B', &[&from.to_be_bytes(), &length.to_be_bytes(), bytes])
            }
            Self::Time(unix_s) => seal(b'C', &[&unix_s.to_be_bytes()]),
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// [`Broken`] when a gateway does not say that.
    pub fn parse(frame: &'a Frame) -> Result<Self, Broken> {
        let mut rest = &frame.body[..];
        let said = match frame.kind {
            b'A' => return Ok(Self::Answer(rest)),
            b'B' => return Self::piece(rest),
            b'C' => Self::Time(u64::from_be_bytes(array(&mut rest)?)),
            b'N' => Self::NoAnswer(Excuse::parse(&mut rest)?),
            b'O' => return Self::outcome(rest),
            b'X' => Self::NoPiece(Excuse::parse(&mut rest)?),
            _ => return Err(Broken),
        };
        if rest.is_empty() { Ok(said) } else { Err(Broken) }
    }

    fn piece(mut rest: &'a [u8]) -> Result<Self, Broken> {
        let (from, length) = (array(&mut rest)?, array(&mut rest)?);
        if rest.len() > PIECE_BYTES_MAX {
            return Err(Broken);
        }
        let (from, length) = (u32::from_be_bytes(from), u32::from_be_bytes(length));
        Ok(Self::Piece { from, length, bytes: rest })
    }

    fn outcome(rest: &'a [u8]) -> Result<Self, Broken> {
        let (byte, id) = rest.split_first().ok_or(Broken)?;
        let id = core::str::from_utf8(id).map_err(|_| Broken)?;
        let id = MessageId::parse(id).map_err(|_| Broken)?;
        Ok(Self::Outcome(id, Outcome::from_byte(*byte)?))
    }
}

impl Excuse {
    fn encode(self) -> Vec<u8> {
        [&self.status.to_be_bytes()[..], &self.wait_s.to_be_bytes()].concat()
    }

    fn parse(rest: &mut &[u8]) -> Result<Self, Broken> {
        let (status, wait_s) = (array(rest)?, array(rest)?);
        Ok(Self { status: u16::from_be_bytes(status), wait_s: u32::from_be_bytes(wait_s) })
    }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Broken> {
    let (taken, tail) = rest.split_first_chunk().ok_or(Broken)?;
    *rest = tail;
    Ok(*taken)
}

/// A frame that came whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    kind: u8,
    body: Vec<u8>,
}

/// Puts frames together from what a link carries.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    is_broken: bool,
}

impl Decoder {
    /// Takes the next bytes of the link. Whole frames are to be taken out before more come: then it holds no
    /// more than one frame and what came at once.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.is_broken {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Takes out the next frame that is whole.
    ///
    /// # Errors
    ///
    /// [`Broken`] when bytes were lost or changed, or this is no link of ours; from then on always.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Broken> {
        if self.is_broken {
            return Err(Broken);
        }
        let frame = self.first();
        if frame.is_err() {
            *self = Self { bytes: Vec::new(), is_broken: true };
        }
        frame
    }

    fn first(&mut self) -> Result<Option<Frame>, Broken> {
        let Some(([kind, length @ ..], rest)) = self.bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        if length > BODY_BYTES_MAX {
            return Err(Broken);
        }
        let Some((body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        let Some((sent, _)) = rest.split_first_chunk::<TAIL_BYTES>() else { return Ok(None) };
        let covered = self.bytes.get(..HEAD_BYTES + length).ok_or(Broken)?;
        if u32::from_be_bytes(*sent) != crc32(covered) {
            return Err(Broken);
        }
        let frame = Frame { kind: *kind, body: body.to_vec() };
        self.bytes.drain(..HEAD_BYTES + length + TAIL_BYTES);
        Ok(Some(frame))
    }
}

/// Writes a frame. A body that is too long is cut at the other end, as [`Broken`].
fn seal(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let [_, length @ ..] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = [&[kind], &length[..], &parts.concat()].concat();
    frame.extend_from_slice(&crc32(&frame).to_be_bytes());
    frame
}

/// CRC-32 of IEEE 802.3, as in zlib. Bit by bit: a link is slower.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |register, byte| {
        (0..u8::BITS).fold(register ^ u32::from(*byte), |register, _| {
            let shifted = register >> 1;
            if register & 1 == 1 { shifted ^ 0xedb8_8320 } else { shifted }
        })
    })
}

/// Bytes were lost or changed on the link, or the other side speaks something else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the link is broken")
    }
}

impl core::error::Error for Broken {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One of everything that is said on a link.
    fn everything() -> (Vec<Up<'static>>, Vec<Down<'static>>) {
        let (busy, id) = (Excuse { status: 503, wait_s: 60 }, MessageId::parse("m-1").unwrap());
        let up = Kind::ALL.map(|kind| Up::Message(kind, "{}")).into_iter();
        let up = up.chain([Up::Poll("{}"), Up::Read(Digest([7; 32]), 1 << 20, 4096), Up::Time]);
        let outcomes = Outcome::ALL.map(|(_, outcome)| Down::Outcome(id.clone(), outcome));
        let down = [
            Down::Answer(b"TB1\n"),
            Down::NoAnswer(busy),
            Down::Piece { from: 4096, length: 1 << 20, bytes: b"code" },
            Down::NoPiece(busy),
            Down::Time(1_795_167_000),
        ];
        (up.collect(), down.into_iter().chain(outcomes).collect())
    }

    fn read_back(frame: &[u8]) -> Frame {
        let mut decoder = Decoder::default();
        decoder.push(frame);
        let read = decoder.next_frame().unwrap().unwrap();
        assert_eq!(decoder.next_frame(), Ok(None));
        read
    }

    #[test]
    fn golden_vector_of_a_frame() {
        assert_eq!(Up::Message(Kind::Telemetry, "{}").encode(), b"t\0\0\x02{}\xc0\x8a\x97\xa6");
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_one_side_says_the_other_understands() {
        let (up, down) = everything();
        for said in up {
            assert_eq!(Up::parse(&read_back(&said.encode())), Ok(said));
        }
        for said in down {
            assert_eq!(Down::parse(&read_back(&said.encode())), Ok(said));
        }
    }

    #[test]
    fn neither_side_speaks_for_the_other() {
        let (up, down) = everything();
        assert!(up.iter().all(|said| Down::parse(&read_back(&said.encode())).is_err()));
        assert!(down.iter().all(|said| Up::parse(&read_back(&said.encode())).is_err()));
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_is_held() {
        let mut decoder = Decoder::default();
        let [_, length @ ..] = u32::try_from(BODY_BYTES_MAX + 1).unwrap().to_be_bytes();
        decoder.push(&[&b"A"[..], &length].concat());
        assert_eq!(decoder.next_frame(), Err(Broken));
        decoder.push(&Up::Time.encode());
        assert_eq!((decoder.next_frame(), decoder.bytes.len()), (Err(Broken), 0));
        let most = vec![0; BODY_BYTES_MAX];
        assert_eq!(Down::parse(&read_back(&Down::Answer(&most).encode())), Ok(Down::Answer(&most)));
    }

    proptest! {
        #[test]
        fn frames_arrive_however_the_link_cuts_them(cuts in prop::collection::vec(1_usize..40, 1..80)) {
            let (up, _) = everything();
            let sent: Vec<_> = up.iter().flat_map(Up::encode).collect();
            let (mut decoder, mut rest, mut came) = (Decoder::default(), &sent[..], Vec::new());
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                decoder.push(now);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    came.push(frame);
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let came: Vec<_> = came.iter().map(|frame| Up::parse(frame).unwrap()).collect();
            prop_assert_eq!(came, up);
        }

        #[test]
        fn a_changed_bit_is_noticed(at in 0_usize..80, bit in 0_u8..8) {
            let mut frame = Up::Read(Digest([7; 32]), 9, 9).encode();
            let at = at % frame.len();
            frame[at] ^= 1 << bit;
            let mut decoder = Decoder::default();
            decoder.push(&frame);
            // A length that grew waits for more.
            prop_assert!(!matches!(decoder.next_frame(), Ok(Some(_))));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(frame)) = decoder.next_frame() {
                let _ = (Up::parse(&frame), Down::parse(&frame));
            }
        }
    }
}
