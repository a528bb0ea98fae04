//! JSON and its canonical form: what we read, another parser reads alike.

use serde_json::Value as Json;
use waxwing_tuf::json::Value;

use crate::signed::canonical;

/// Whatever is accepted is JSON to serde too, and its canonical form is the one that follows from
/// what serde read.
pub fn check(bytes: &[u8]) {
    let Ok(value) = Value::parse(bytes) else { return };
    let form = canonical(value);
    assert!(value.same_as(value), "a value differs from itself");
    // The limit is the depth of 16; serde's own is 128.
    let other: Json = serde_json::from_slice(bytes).expect("serde reads what we accept");
    let mut expected = String::new();
    // Numbers beyond 64 bits are floats to serde; their text is all we look at anyway.
    if write(&other, &mut expected).is_some() {
        assert_eq!(String::from_utf8_lossy(&form), expected, "canonical forms differ");
    }
    fields(value, &other);
}

/// Canonical JSON as securesystemslib defines it, from serde's tree.
fn write(value: &Json, out: &mut String) -> Option<()> {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(it) => out.push_str(if *it { "true" } else { "false" }),
        Json::Number(it) if it.is_f64() => return None,
        Json::Number(it) => out.push_str(&it.to_string()),
        Json::String(it) => write_text(it, out),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write(item, out)?;
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (index, (name, value)) in members.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write_text(name, out);
                out.push(':');
                write(value, out)?;
            }
            out.push('}');
        }
    }
    Some(())
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    out.push_str(&text.replace('\\', "\\\\").replace('"', "\\\""));
    out.push('"');
}

/// Every look-up finds what serde finds.
fn fields(value: Value<'_>, other: &Json) {
    if let Json::Object(members) = other {
        assert_eq!(value.members().map(Iterator::count), Some(members.len()));
        for (name, other) in members {
            fields(value.field(name).expect("a member that serde sees"), other);
        }
    }
    if let Json::Array(items) = other {
        let elements: Vec<_> = value.elements().expect("a list that serde sees").collect();
        assert_eq!(elements.len(), items.len());
        elements.into_iter().zip(items).for_each(|(value, other)| fields(value, other));
    }
    if let Json::String(text) = other {
        assert!(value.as_text().is_some_and(|it| it == **text), "texts differ");
    }
    assert_eq!(value.as_bool(), other.as_bool());
    assert_eq!(value.as_u64(), other.as_u64());
}
