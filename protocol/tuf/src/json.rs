//! JSON as TUF uses it: a zero-copy reader and its canonical form.
//!
//! [`Value::parse`] checks the whole text once; afterwards a [`Value`] is a slice of that text and
//! every look-up is a scan that cannot fail. Signatures cover the *canonical* form, which
//! [`Value::canonical`] streams into a hash: no tree and no second copy ever exist in memory.
//!
//! It is deliberately stricter than RFC 8259: only integers, no duplicate names, no lone surrogates,
//! at most [`DEPTH_MAX`] levels. Each of these is a place where two parsers may read one signed
//! text differently. Nor may a foreign text have us sort much: see [`UNSORTED_MEMBERS_MAX`]. It is not a general JSON library and never writes anything but canonical form.

mod canonical;
mod scan;
mod text;

pub use scan::{DEPTH_MAX, INTEGER_DIGITS_MAX, Malformed, UNSORTED_MEMBERS_MAX};
pub use text::Text;

use scan::Cursor;

/// One JSON value inside a checked text.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// Checks `bytes` and returns the one value they hold.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let text = core::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)?;
        scan::check(text).map(Self)
    }

    /// The value in a text that [`Self::parse`] has accepted before.
    pub(crate) fn from_checked(text: &'a str) -> Self {
        Self(text.trim_ascii())
    }

    /// Streams the canonical form of the value (securesystemslib's `encode_canonical`) into `sink`.
    pub fn canonical(self, sink: &mut dyn FnMut(&[u8])) {
        canonical::write(self, sink);
    }

    /// Whether two values have the same canonical form.
    pub fn same_as(self, other: Value<'_>) -> bool {
        canonical::same(self, other)
    }

    /// The text of the value, as it stands in the document.
    pub fn as_raw(self) -> &'a str {
        self.0
    }

    /// The value of member `name`; `None` if there is none or this is not an object.
    pub fn field(self, name: &str) -> Option<Self> {
        self.members()?.find(|(key, _)| *key == *name).map(|(_, value)| value)
    }

    /// The members of an object, in the order of the document.
    pub fn members(self) -> Option<Members<'a>> {
        self.0.starts_with('{').then(|| Members(Cursor::inside(self.0)))
    }

    /// The elements of an array.
    pub fn elements(self) -> Option<Elements<'a>> {
        self.0.starts_with('[').then(|| Elements(Cursor::inside(self.0)))
    }

    /// The content of a string.
    pub fn as_text(self) -> Option<Text<'a>> {
        self.0.strip_prefix('"')?.strip_suffix('"').map(Text::new)
    }

    /// The content of a string that is spelled without escapes, as every name and number in our
    /// own metadata is.
    pub fn as_plain(self) -> Option<&'a str> {
        self.as_text()?.as_plain()
    }

    /// An integer from 0 to 2^64-1.
    pub fn as_u64(self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// `true` or `false`.
    pub fn as_bool(self) -> Option<bool> {
        self.0.parse().ok()
    }
}

/// The members of an object. See [`Value::members`].
#[derive(Clone, Debug)]
pub struct Members<'a>(Cursor<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.0.item()?;
        let value = self.0.item()?;
        Some((Value(name).as_text()?, Value(value)))
    }
}

/// The elements of an array. See [`Value::elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a>(Cursor<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.0.item().map(Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value<'_> {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn fields_are_found_by_their_decoded_name() {
        let object = value(r#" { "a" : 1 , "b\u0063" : [ "x" , {} ] , "d" : "\"}" } "#);
        assert_eq!(object.field("a").and_then(Value::as_u64), Some(1));
        assert_eq!(object.field("bc").unwrap().elements().unwrap().count(), 2);
        assert_eq!(object.field("d").unwrap().as_text().unwrap().to_string(), "\"}");
        assert!(object.field("x").is_none());
    }

    #[test]
    fn a_look_up_in_the_wrong_kind_of_value_finds_nothing() {
        for text in ["1", "-1", "\"a\"", "[]", "true", "null"] {
            assert!(value(text).field("a").is_none(), "{text}");
        }
        for text in ["{}", "-1", "\"1\"", "18446744073709551616", "true"] {
            assert_eq!(value(text).as_u64(), None, "{text}");
        }
        assert_eq!(value("18446744073709551615").as_u64(), Some(u64::MAX));
        assert_eq!(value("false").as_bool(), Some(false));
    }

    #[test]
    fn values_are_compared_by_meaning_not_by_spelling() {
        assert!(value(r#"{"b":[1, 2],"a":"\u0041"}"#).same_as(value(r#"{ "a":"A","b":[1,2] }"#)));
        assert!(!value(r#"{"a":"1"}"#).same_as(value(r#"{"a":1}"#)));
        assert!(!value("[1,2]").same_as(value("[2,1]")));
        assert!(!value("[1]").same_as(value("[1,2]")));
    }
}
