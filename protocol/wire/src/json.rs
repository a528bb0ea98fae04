//! Writes the few JSON shapes a device sends.
//!
//! Not a JSON library: no reading, no floats, no pretty printing.

use alloc::string::String;
use core::fmt::{Display, Write as _};

/// Writes one JSON object, field by field, in the order of the calls.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Writes a field whose value is the text form of `value`.
    pub(crate) fn text(mut self, name: &str, value: impl Display) -> Self {
        self.name(name);
        self.out.push('"');
        // Writing to a String cannot fail.
        let _ = write!(Escaped(self.out), "{value}");
        self.out.push('"');
        self
    }

    /// Writes a field with a whole number.
    pub(crate) fn number(mut self, name: &str, value: u64) -> Self {
        self.name(name);
        let _ = write!(self.out, "{value}");
        self
    }

    /// Writes a field whose value `write` appends as JSON.
    pub(crate) fn json(mut self, name: &str, write: impl FnOnce(&mut String)) -> Self {
        self.name(name);
        write(self.out);
        self
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.push('}');
    }

    fn name(&mut self, name: &str) {
        if !core::mem::take(&mut self.empty) {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }
}

/// Escapes text as RFC 8259 section 7 demands.
struct Escaped<'a>(&'a mut String);

impl core::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                '\0'..='\x1f' => write!(self.0, "\\u{:04x}", u32::from(c))?,
                _ => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_survives_a_json_parser() {
        let mut out = String::new();
        let text = "a\"b\\c\n\u{1}\u{7f}ä🐦";
        Object::new(&mut out).text("t", text).number("n", u64::MAX).end();
        let back: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(back["t"], text);
        assert_eq!(back["n"], u64::MAX);
    }
}
