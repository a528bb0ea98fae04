//! The bundle: several small files in one answer or one upload.
//!
//! ```text
//! "TB1\n"  { u8 kind | u8 name_len | name | u32be len | bytes }*  0x00 | u32be retry_after_s
//! ```
//!
//! Nothing in a bundle is trusted: it is only a way to save round trips.

use alloc::vec::Vec;
use core::fmt;

/// First bytes of a bundle, with the version of the format.
pub const MAGIC: &[u8; 4] = b"TB1\n";
/// Longest bundle: 64 files of a product's metadata budget would be more, but no honest one needs
/// a quarter of this.
pub const BUNDLE_BYTES_MAX: usize = 256 * 1024;
/// Longest bundle that answers a poll: the smallest devices have a heap of about twice as much, and have
/// to hold it while they check it.
pub const DEVICE_ANSWER_BYTES_MAX: usize = 48 * 1024;
/// Most frames: a chain of 2 x 8 roots, eight roles, a batch of acknowledged reports, and room.
pub const FRAMES_MAX: usize = 64;
/// Media type of a bundle.
pub const MEDIA_TYPE: &str = "application/vnd.waxwing.bundle";

/// What a frame carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The server has stored the report of this name (a message id); the body is empty.
    Acknowledged,
    /// A metadata file of the Director.
    Director,
    /// A metadata file of the Image repository.
    Image,
}

impl Kind {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Acknowledged => b'a',
            Self::Director => b'd',
            Self::Image => b'i',
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'a' => Some(Self::Acknowledged),
            b'd' => Some(Self::Director),
            b'i' => Some(Self::Image),
            _ => None,
        }
    }
}

/// One file of a bundle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its file name or message id.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// A bundle, taken apart but not believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bundle<'a> {
    /// The frames, in the order sent.
    pub frames: Vec<Frame<'a>>,
    /// After how many seconds the server would like to be asked again; a hint.
    pub retry_after_s: u32,
}

impl<'a> Bundle<'a> {
    /// Takes a bundle apart without copying.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for anything but one whole bundle within the limits.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(Malformed);
        }
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(Malformed)?;
        let mut frames = Vec::new();
        while let Some(frame) = parse_frame(&mut rest)? {
            if frames.len() == FRAMES_MAX {
                return Err(Malformed);
            }
            frames.push(frame);
        }
        let retry_after_s = parse_u32(&mut rest)?;
        if rest.is_empty() { Ok(Self { frames, retry_after_s }) } else { Err(Malformed) }
    }

    /// Returns the content of the first frame with this kind and name.
    pub fn find(&self, kind: Kind, name: &str) -> Option<&'a [u8]> {
        self.frames.iter().find(|f| f.kind == kind && f.name == name).map(|f| f.bytes)
    }

    /// Returns the names of the frames of one kind.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &'a str> + '_ {
        self.frames.iter().filter(move |f| f.kind == kind).map(|f| f.name)
    }
}

fn parse_frame<'a>(rest: &mut &'a [u8]) -> Result<Option<Frame<'a>>, Malformed> {
    let kind = match take(rest, 1)? {
        [0] => return Ok(None),
        [byte] => Kind::from_byte(*byte).ok_or(Malformed)?,
        _ => return Err(Malformed),
    };
    let name_len = take(rest, 1)?.first().copied().map_or(0, usize::from);
    let name = core::str::from_utf8(take(rest, name_len)?).map_err(|_| Malformed)?;
    let len = usize::try_from(parse_u32(rest)?).map_err(|_| Malformed)?;
    Ok(Some(Frame { kind, name, bytes: take(rest, len)? }))
}

fn parse_u32(rest: &mut &[u8]) -> Result<u32, Malformed> {
    let (bytes, tail) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = tail;
    Ok(u32::from_be_bytes(*bytes))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (taken, tail) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = tail;
    Ok(taken)
}

/// Puts a bundle together.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Writer {
    /// Starts a bundle that operators send.
    pub fn new() -> Self {
        Self { bytes: MAGIC.to_vec(), bytes_max: BUNDLE_BYTES_MAX }
    }

    /// Starts a bundle that answers a poll.
    pub fn for_device() -> Self {
        Self { bytes_max: DEVICE_ANSWER_BYTES_MAX, ..Self::new() }
    }

    /// Adds a file.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] when the name is longer than 255 bytes or the bundle would become longer than such a
    /// one may be; it stays as it was.
    pub fn push(&mut self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), TooLarge> {
        let name_len = u8::try_from(name.len()).map_err(|_| TooLarge)?;
        let len = u32::try_from(bytes.len()).map_err(|_| TooLarge)?;
        if self.bytes.len() + FRAME_OVERHEAD_BYTES + name.len() + bytes.len() > self.bytes_max {
            return Err(TooLarge);
        }
        self.bytes.extend_from_slice(&[kind.to_byte(), name_len]);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the bundle with the server's pacing hint.
    pub fn finish(mut self, retry_after_s: u32) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes.extend_from_slice(&retry_after_s.to_be_bytes());
        self.bytes
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

/// A frame's own bytes plus the end of the bundle.
const FRAME_OVERHEAD_BYTES: usize = 2 + 4 + 1 + 4;

/// The bytes are no bundle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a bundle, or one beyond its limits")
    }
}

impl core::error::Error for Malformed {}

/// The bundle would pass its limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bundle would pass its size limit")
    }
}

impl core::error::Error for TooLarge {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.push(Kind::Director, "timestamp.json", b"{}").unwrap();
        writer.push(Kind::Acknowledged, "m-1", b"").unwrap();
        writer.finish(60)
    }

    #[test]
    fn golden_vector_of_a_bundle() {
        let expected = b"TB1\nd\x0etimestamp.json\0\0\0\x02{}a\x03m-1\0\0\0\0\0\0\0\0\x3c";
        assert_eq!(sample(), expected);
    }

    #[test]
    fn what_was_written_is_read_back() {
        let bytes = sample();
        let bundle = Bundle::parse(&bytes).unwrap();
        assert_eq!(bundle.find(Kind::Director, "timestamp.json"), Some(&b"{}"[..]));
        assert_eq!(bundle.names(Kind::Acknowledged).collect::<Vec<_>>(), ["m-1"]);
        assert_eq!(bundle.retry_after_s, 60);
    }

    #[test]
    fn every_truncation_and_every_appended_byte_is_noticed() {
        let bytes = sample();
        for len in 0..bytes.len() {
            assert_eq!(Bundle::parse(&bytes[..len]), Err(Malformed));
        }
        assert_eq!(Bundle::parse(&[&bytes[..], b"x"].concat()), Err(Malformed));
    }

    #[test]
    fn a_length_beyond_the_input_allocates_nothing() {
        let bytes = b"TB1\nd\x01x\xff\xff\xff\xff";
        assert_eq!(Bundle::parse(bytes), Err(Malformed));
    }

    #[test]
    fn more_frames_than_the_limit_are_refused() {
        let mut writer = Writer::new();
        for _ in 0..=FRAMES_MAX {
            writer.push(Kind::Image, "x", b"").unwrap();
        }
        assert_eq!(Bundle::parse(&writer.finish(0)), Err(Malformed));
    }

    #[test]
    fn a_file_too_large_for_the_bundle_is_left_out_whole() {
        let mut writer = Writer::new();
        assert_eq!(writer.push(Kind::Image, "x", &vec![0; BUNDLE_BYTES_MAX]), Err(TooLarge));
        assert_eq!(Bundle::parse(&writer.finish(0)).unwrap().frames, []);
    }

    #[test]
    fn an_answer_is_never_longer_than_a_device_takes() {
        let mut writer = Writer::for_device();
        let file = [0; 1000];
        let count = (0..100).take_while(|_| writer.push(Kind::Image, "x", &file).is_ok()).count();
        assert_eq!(count, 48);
        let left = DEVICE_ANSWER_BYTES_MAX - writer.clone().finish(0).len() - 7;
        assert_eq!(writer.push(Kind::Image, "x", &vec![0; left + 1]), Err(TooLarge));
        writer.push(Kind::Image, "x", &vec![0; left]).unwrap();
        assert_eq!(writer.finish(0).len(), DEVICE_ANSWER_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Bundle::parse(&bytes);
            bytes.splice(0..0, MAGIC.iter().copied());
            let _ = Bundle::parse(&bytes);
        }
    }
}
