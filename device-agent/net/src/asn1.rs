//! DER (X.690), as much of it as a certificate of our own and its enrolment take.
//!
//! Lengths are read strictly: shortest form, nothing missing, nothing beyond 64 KiB. Not here: what
//! the contents mean.

use alloc::vec::Vec;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// Bits of a tag that say that more of it follows.
const LONG_TAG: u8 = 0x1f;
/// Longest length that is written as itself.
const LENGTH_MAX: u8 = 0x7f;
/// A length of one byte follows, or of two.
const ONE_BYTE: u8 = 0x81;
const TWO_BYTES: u8 = 0x82;

/// A tag, what it stands before, and both as they were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'d> {
    pub(crate) tag: u8,
    pub(crate) content: &'d [u8],
    pub(crate) whole: &'d [u8],
}

/// Reads one item after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'d>(pub(crate) &'d [u8]);

impl<'d> Reader<'d> {
    /// Reads the next item.
    pub(crate) fn any(&mut self) -> Option<Item<'d>> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, shortest, rest) = match first {
            0..=LENGTH_MAX => (usize::from(first), 0, rest),
            ONE_BYTE => {
                let (length, rest) = rest.split_first()?;
                (usize::from(*length), 0x80, rest)
            }
            TWO_BYTES => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*length)), 0x100, rest)
            }
            _ => return None,
        };
        if length < shortest || tag & LONG_TAG == LONG_TAG {
            return None;
        }
        let (content, behind) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - behind.len())?;
        self.0 = behind;
        Some(Item { tag, content, whole })
    }

    /// Reads the next item, which has this tag, and returns its content.
    pub(crate) fn next(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.any().filter(|item| item.tag == tag).map(|item| item.content)
    }

    /// As [`Reader::next`], for an item that holds others.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.next(tag).map(Self)
    }

    /// Passes over the next item if it has this tag.
    pub(crate) fn skip(&mut self, tag: u8) {
        let mut ahead = *self;
        if ahead.next(tag).is_some() {
            *self = ahead;
        }
    }

    /// Returns `Some` when nothing is left.
    pub(crate) const fn end(self) -> Option<()> {
        if self.0.is_empty() { Some(()) } else { None }
    }
}

/// Writes an item that holds these parts; `None` when they are too long.
pub(crate) fn wrap(tag: u8, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let content = parts.concat();
    let [high, low] = u16::try_from(content.len()).ok()?.to_be_bytes();
    let head = match (high, low) {
        (0, ..0x80) => [tag, low].to_vec(),
        (0, _) => [tag, ONE_BYTE, low].to_vec(),
        _ => [tag, TWO_BYTES, high, low].to_vec(),
    };
    Some([head, content].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_at_every_length() {
        for length in [0, 1, 127, 128, 255, 256, 65_535] {
            let content = std::vec![7; length];
            let der = wrap(SEQUENCE, &[&content]).unwrap();
            let mut reader = Reader(&der);
            let item = reader.any().unwrap();
            assert_eq!((item.tag, item.content, item.whole), (SEQUENCE, &content[..], &der[..]));
            assert_eq!(reader.end(), Some(()));
        }
        assert_eq!(wrap(SEQUENCE, &[&std::vec![7; 65_536]]), None);
    }

    #[test]
    fn a_length_has_one_form_only() {
        for (what, der) in [
            ("nothing", &[][..]),
            ("no length", &[0x30]),
            ("content missing", &[0x30, 2, 0]),
            ("no end given", &[0x30, 0x80, 0, 0]),
            ("one byte too many", &[0x30, 0x81, 1, 0]),
            ("two bytes too many", &[0x30, 0x82, 0, 1, 0]),
            ("half a length", &[0x30, 0x82, 1]),
            ("beyond 64 KiB", &[0x30, 0x83, 1, 0, 0]),
            ("a long tag", &[0x1f, 0x20, 0]),
        ] {
            assert!(Reader(der).any().is_none(), "{what}");
        }
        assert!(Reader(&[0x30, 0]).next(SET).is_none());
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(der in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = Reader(&der);
            while reader.any().is_some() {}
        }
    }
}
