//! The message of existing devices, which share a secret with the server (D23).
//!
//! The fields are those of every envelope. What is signed is the text that Python's
//! `json.dumps(fields, sort_keys=True)` gives for all of them but `signature`: names in the order of
//! their code points, `", "` and `": "` between them, everything beyond ASCII as `\uXXXX`. Numbers keep
//! the text in which they came, since two programs seldom write the same one. The signature is an
//! HMAC-SHA256 (RFC 2104) of that text in lower-case hexadecimal; it is made and checked elsewhere.
//!
//! Not here: the topics of such devices ([`crate::topic`]).

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::Malformed;
use crate::envelope::Envelope;

/// Deepest nesting of a payload: readings are flat, and each level costs a frame of the stack.
pub const DEPTH_MAX: usize = 16;

/// Returns the text that the signature of a message covers.
///
/// # Errors
///
/// [`Malformed`] when the payload is nested too deeply, has a name twice, or holds text that is not
/// Unicode.
pub fn signed_text(envelope: &Envelope<'_>) -> Result<String, Malformed> {
    let header = &envelope.header;
    // Names have no character that is written in another way.
    let mut text = format!(
        "{{\"device_id\": \"{}\", \"message_id\": \"{}\", \"payload\": ",
        header.device_id, header.message_id
    );
    write_value(envelope.payload, &mut text, DEPTH_MAX)?;
    let end = format!(", \"timestamp\": {}}}", header.timestamp);
    Ok(text + &end)
}

fn write_value(json: &str, out: &mut String, depth: usize) -> Result<(), Malformed> {
    if depth == 0 {
        return Err(Malformed::new("`payload` is nested more than 16 deep"));
    }
    match json.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(json)?;
            let write = |(name, value): (&Cow<'_, str>, &&RawValue), out: &mut String| {
                write_text(name, out);
                out.push_str(": ");
                write_value(value.get(), out, depth - 1)
            };
            write_list(members.iter(), ('{', '}'), out, write)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json)?;
            let write =
                |item: &&RawValue, out: &mut String| write_value(item.get(), out, depth - 1);
            write_list(items.iter(), ('[', ']'), out, write)
        }
        Some(b'"') => {
            write_text(&serde_json::from_str::<Cow<'_, str>>(json)?, out);
            Ok(())
        }
        // A number, or one of three words.
        Some(_) | None => {
            out.push_str(json);
            Ok(())
        }
    }
}

fn write_list<T>(
    items: impl Iterator<Item = T>,
    (open, close): (char, char),
    out: &mut String,
    mut write: impl FnMut(T, &mut String) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    out.push(open);
    for (n, item) in items.enumerate() {
        if n > 0 {
            out.push_str(", ");
        }
        write(item, out)?;
    }
    out.push(close);
    Ok(())
}

/// Writes text as Python does with `ensure_ascii`.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(char),
            _ => {
                let mut units = [0; 2];
                let units = char.encode_utf16(&mut units).iter();
                out.extend(units.map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    out.push('"');
}

/// The members of an object by their names, each of which is there once.
struct Members<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Self)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = BTreeMap<Cow<'de, str>, &'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name is there twice"));
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::Header;

    fn signed(payload: &str) -> Result<String, Malformed> {
        let header = Header {
            device_id: "sensor_001".parse().unwrap(),
            timestamp: 1_704_067_825,
            message_id: "550e8400-e29b-41d4-a716-446655440000".parse().unwrap(),
        };
        let sealed = header.seal(payload, "00");
        signed_text(&Envelope::parse(sealed.as_bytes()).unwrap())
    }

    fn payload_of(text: &str) -> &str {
        let (_, rest) = text.split_once("\"payload\": ").unwrap();
        rest.rsplit_once(", \"timestamp\"").unwrap().0
    }

    #[test]
    fn golden_vector_of_the_signed_text() {
        insta::assert_snapshot!(
            signed(r#"{"temperature":22.50,"humidity":65}"#).unwrap(),
            @r#"{"device_id": "sensor_001", "message_id": "550e8400-e29b-41d4-a716-446655440000", "payload": {"humidity": 65, "temperature": 22.50}, "timestamp": 1704067825}"#
        );
    }

    /// Each of these pairs is what Python 3.11 made of the text on its left.
    #[test]
    fn values_are_written_as_python_writes_them() {
        for (json, python) in [
            ("{}", "{}"),
            (
                r#"{ "b" : [ 1 , -2.5e3 ,[ ] ] , "a" : null }"#,
                r#"{"a": null, "b": [1, -2.5e3, []]}"#,
            ),
            (r#"{"é":"°C","t":"a\/b"}"#, r#"{"t": "a/b", "\u00e9": "\u00b0C"}"#),
            (
                r#"{"x":"\ud83d\ude00\u007f\b\f\n\r\t\"\\"}"#,
                r#"{"x": "\ud83d\ude00\u007f\b\f\n\r\t\"\\"}"#,
            ),
            (r#"{"B":true,"a":false,"_":{}}"#, r#"{"B": true, "_": {}, "a": false}"#),
        ] {
            assert_eq!(payload_of(&signed(json).unwrap()), python);
        }
    }

    #[test]
    fn what_has_two_meanings_or_no_end_is_refused() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        for (json, named) in [
            (r#"{"a":1,"a":2}"#, "twice"),
            (r#"{"a":{"\u0061":1,"a":2}}"#, "twice"),
            (r#"{"a":"\ud83d"}"#, "hex escape"),
            (deep.as_str(), "16 deep"),
        ] {
            let error = signed(json).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    proptest! {
        #[test]
        fn the_signed_text_means_the_same_and_is_ascii(
            text in ".{0,40}", number in any::<f64>().prop_filter("finite", |n| n.is_finite()),
        ) {
            let payload = serde_json::json!({ "text": text, "n": [number], &text: {} }).to_string();
            let signed = signed(&payload).unwrap();
            prop_assert!(signed.is_ascii());
            let again: serde_json::Value = serde_json::from_str(payload_of(&signed)).unwrap();
            prop_assert_eq!(again, serde_json::from_str::<serde_json::Value>(&payload).unwrap());
        }
    }
}
