//! The content of a JSON string, unescaped as it is read.

use alloc::string::String;
use core::cmp::Ordering;
use core::fmt;

use super::scan::Malformed;

/// The content of a JSON string. Compares, sorts and prints by what it means, not by how it is
/// escaped; the order is that of code points, which canonical JSON sorts names by.
#[derive(Clone, Copy)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// Wraps what stands between the quotes of a checked string.
    pub(super) fn new(raw: &'a str) -> Self {
        Self(raw)
    }

    /// The content as a slice of the document, if it is spelled without escapes.
    pub fn as_plain(self) -> Option<&'a str> {
        (!self.0.contains('\\')).then_some(self.0)
    }

    /// The characters of the content.
    pub fn chars(self) -> Chars<'a> {
        Chars(self.0.chars())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.chars().collect::<String>(), f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|character| fmt::Write::write_char(f, character))
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.chars().eq(other.chars())
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.chars().cmp(other.chars())
    }
}

/// The characters of a JSON string. See [`Text::chars`].
#[derive(Clone, Debug)]
pub struct Chars<'a>(core::str::Chars<'a>);

impl Iterator for Chars<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        character(&mut self.0)?.ok()
    }
}

/// Reads one character of a string's content, escaped or not.
pub(super) fn character(rest: &mut core::str::Chars<'_>) -> Option<Result<char, Malformed>> {
    let first = rest.next()?;
    Some(match first {
        '\\' => escaped(rest).ok_or(Malformed::Escape),
        '\0'..='\u{1f}' => Err(Malformed::Control),
        _ => Ok(first),
    })
}

fn escaped(rest: &mut core::str::Chars<'_>) -> Option<char> {
    Some(match rest.next()? {
        '"' => '"',
        '/' => '/',
        '\\' => '\\',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unicode(rest),
        _ => return None,
    })
}

/// Reads `XXXX` or, for a character outside the basic plane, `XXXX\uXXXX`. A lone surrogate is
/// nothing: Python would keep it, most others would replace it.
fn unicode(rest: &mut core::str::Chars<'_>) -> Option<char> {
    let first = hex4(rest)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first);
    }
    if rest.next() != Some('\\') || rest.next() != Some('u') {
        return None;
    }
    let second = hex4(rest).filter(|unit| (0xdc00..0xe000).contains(unit))?;
    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
}

fn hex4(rest: &mut core::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |unit, _| Some(unit << 4 | rest.next()?.to_digit(16)?))
}
