//! The one full check of a JSON text, and the cursor that walks a checked one.

use core::fmt;

use super::Value;
use super::text::{Text, character};

/// Deepest nesting read. TUF metadata needs 7 levels; more only costs stack.
pub const DEPTH_MAX: usize = 16;

/// Longest integer read, without its sign: whatever fits 64 bits.
pub const INTEGER_DIGITS_MAX: usize = 20;

/// Most members of an object whose names are out of order. Canonical form has them in order, and so has
/// whatever sorts its maps, as every writer of TUF we know; some leave a struct as it was declared. They
/// are put in order without memory, by one look at all of them for each.
pub const UNSORTED_MEMBERS_MAX: usize = 32;

/// Why a text is not JSON we read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Malformed {
    /// A control character stands unescaped in a string.
    Control,
    /// Values nest deeper than [`DEPTH_MAX`].
    Depth,
    /// One object has two members of one name.
    DuplicateName,
    /// A string has an unknown escape or half a surrogate pair.
    Escape,
    /// A number is not an integer in its shortest spelling, or longer than [`INTEGER_DIGITS_MAX`].
    Number,
    /// It is not JSON at all, or more follows after the value.
    Syntax,
    /// An object of more than [`UNSORTED_MEMBERS_MAX`] members has them out of order.
    Unsorted,
    /// It is not UTF-8.
    Utf8,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control character in a string",
            Self::Depth => "nested too deeply",
            Self::DuplicateName => "two members of one name",
            Self::Escape => "bad escape in a string",
            Self::Number => "number that is not a plain integer",
            Self::Syntax => "not JSON",
            Self::Unsorted => "too many members out of order",
            Self::Utf8 => "not UTF-8",
        })
    }
}

impl core::error::Error for Malformed {}

/// Checks that `text` is exactly one value and returns it without the space around it.
pub(super) fn check(text: &str) -> Result<&str, Malformed> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.space();
    let start = cursor.at;
    cursor.check_value(DEPTH_MAX)?;
    let value = cursor.since(start);
    cursor.space();
    if cursor.peek().is_some() { Err(Malformed::Syntax) } else { Ok(value) }
}

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// Walking a checked text.
impl<'a> Cursor<'a> {
    /// Starts behind the opening bracket of `text`.
    pub(super) fn inside(text: &'a str) -> Self {
        Self { text, at: 1 }
    }

    /// The next name, value or element of the object or array the cursor is in.
    pub(super) fn item(&mut self) -> Option<&'a str> {
        while matches!(self.peek()?, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':') {
            self.at += 1;
        }
        let start = self.at;
        match self.peek()? {
            b'"' => self.skip_string(),
            b'{' | b'[' => self.skip_nested(),
            b'}' | b']' => return None,
            _ => self.skip_while(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
        }
        Some(self.since(start))
    }

    fn skip_nested(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.skip_string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Moves behind the closing quote of the string that starts here.
    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return;
            }
        }
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }
}

/// Checking a foreign text.
impl<'a> Cursor<'a> {
    fn check_value(&mut self, depth: usize) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"') => self.check_string().map(drop),
            Some(b'{') => self.check_object(depth.checked_sub(1).ok_or(Malformed::Depth)?),
            Some(b'[') => self.check_array(depth.checked_sub(1).ok_or(Malformed::Depth)?),
            Some(b'-' | b'0'..=b'9') => self.check_integer(),
            _ => self.check_literal(),
        }
    }

    fn check_object(&mut self, depth: usize) -> Result<(), Malformed> {
        let start = self.at;
        let mut last = None;
        let mut is_sorted = true;
        let mut members = 0;
        self.at += 1;
        self.space();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = self.check_string()?;
            is_sorted &= last.replace(name).is_none_or(|last| last < name);
            members += 1;
            if !is_sorted && members > UNSORTED_MEMBERS_MAX {
                return Err(Malformed::Unsorted);
            }
            self.space();
            self.expect(b':')?;
            self.space();
            self.check_value(depth)?;
            self.space();
            if self.take(b'}') {
                return if is_sorted { Ok(()) } else { unique(self.since(start)) };
            }
            self.expect(b',')?;
            self.space();
        }
    }

    fn check_array(&mut self, depth: usize) -> Result<(), Malformed> {
        self.at += 1;
        self.space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.check_value(depth)?;
            self.space();
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',')?;
            self.space();
        }
    }

    fn check_string(&mut self) -> Result<Text<'a>, Malformed> {
        self.expect(b'"')?;
        let mut rest = self.text.get(self.at..).unwrap_or_default().chars();
        loop {
            let here = rest.as_str();
            if here.starts_with('"') {
                break;
            }
            character(&mut rest).ok_or(Malformed::Syntax)??;
        }
        let start = self.at;
        self.at = self.text.len() - rest.as_str().len();
        let text = Text::new(self.since(start));
        self.at += 1;
        Ok(text)
    }

    fn check_integer(&mut self) -> Result<(), Malformed> {
        let negative = self.take(b'-');
        let start = self.at;
        self.skip_while(|byte| byte.is_ascii_digit());
        let digits = self.since(start);
        let shortest = match digits {
            "" => false,
            "0" => !negative,
            _ => !digits.starts_with('0'),
        };
        let ends = !matches!(self.peek(), Some(b'.' | b'e' | b'E'));
        if shortest && ends && digits.len() <= INTEGER_DIGITS_MAX {
            Ok(())
        } else {
            Err(Malformed::Number)
        }
    }

    fn check_literal(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        self.skip_while(|byte| byte.is_ascii_alphabetic());
        match self.since(start) {
            "true" | "false" | "null" => Ok(()),
            _ => Err(Malformed::Syntax),
        }
    }

    fn space(&mut self) {
        self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.take(byte) { Ok(()) } else { Err(Malformed::Syntax) }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }
}

/// Checks an object whose names do not stand in order, as those in canonical form do.
fn unique(object: &str) -> Result<(), Malformed> {
    let mut members = Value(object).members().into_iter().flatten();
    while let Some((name, _)) = members.next() {
        if members.clone().any(|(other, _)| other == name) {
            return Err(Malformed::DuplicateName);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[track_caller]
    fn refused(text: &str, why: Malformed) {
        assert_eq!(check(text), Err(why), "{text}");
    }

    #[test]
    fn every_kind_of_value_is_read() {
        for text in [
            "{}",
            "[]",
            "\"\"",
            "0",
            "-1",
            "true",
            "false",
            "null",
            "[1,[2,{\"a\":[]}]]",
            "\"\\ud83d\\ude00é\\n\"",
            "18446744073709551615",
        ] {
            assert_eq!(check(&std::format!(" \t\r\n{text} ")), Ok(text));
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "\"",
            "]",
            "{]",
            "[}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1,]",
            "[,1]",
            "{,}",
            "tru",
            "True",
            "nul",
            "1 2",
            "{}{}",
            "\u{feff}{}",
            "'a'",
            "{a:1}",
            "[1 2]",
            "{\"a\" 1}",
            "NaN",
            "\"a\"x",
            "01x",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_that_are_not_plain_integers_are_refused() {
        for text in ["1.0", "1e3", "1E3", "-0", "01", "-", "-01", "0.1", "123456789012345678901"] {
            refused(text, Malformed::Number);
        }
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused_not_recursed_into() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(check(&nested(DEPTH_MAX)).is_ok());
        refused(&nested(DEPTH_MAX + 1), Malformed::Depth);
        refused(&"{\"a\":".repeat(100_000), Malformed::Depth);
    }

    #[test]
    fn two_members_of_one_name_are_refused_however_they_are_spelled() {
        refused(r#"{"a":1,"b":2,"a":1}"#, Malformed::DuplicateName);
        refused(r#"{"a":1,"\u0061":2}"#, Malformed::DuplicateName);
        refused(r#"[{"x":{"a":1,"a":1}}]"#, Malformed::DuplicateName);
        assert!(check(r#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
    }

    #[test]
    fn members_out_of_order_are_read_up_to_the_limit_and_those_in_order_beyond_it() {
        let object = |members: &mut dyn Iterator<Item = usize>| {
            let members: Vec<_> = members.map(|n| std::format!("\"{n:05}\":{n}")).collect();
            std::format!("{{{}}}", members.join(","))
        };
        assert!(check(&object(&mut (0..UNSORTED_MEMBERS_MAX).rev())).is_ok());
        refused(&object(&mut (0..=UNSORTED_MEMBERS_MAX).rev()), Malformed::Unsorted);
        assert!(check(&object(&mut (0..10_000))).is_ok());
        refused(&object(&mut (1..10_000).chain([0])), Malformed::Unsorted);
    }

    #[test]
    fn strings_that_parsers_read_differently_are_refused() {
        for text in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\ud800""#,
            r#""\ud800x""#,
            r#""\x""#,
            r#""\u12g4""#,
            r#""\u12"#,
        ] {
            refused(text, Malformed::Escape);
        }
        refused("\"a\nb\"", Malformed::Control);
        refused("\"\0\"", Malformed::Control);
    }
}
