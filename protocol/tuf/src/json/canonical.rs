//! Canonical JSON: the one spelling of a value that signatures cover.
//!
//! The form is the OLPC one that securesystemslib writes: no space, members sorted by code points,
//! only `"` and `\` escaped, everything else as UTF-8. (So control characters stand raw: canonical
//! form is hashed, not parsed again.) Unicode is not normalised.

use alloc::vec::Vec;
use core::iter;

use super::{Members, Text, Value};

/// Streams the canonical form of `value` into `sink`.
pub(super) fn write(value: Value<'_>, sink: &mut dyn FnMut(&[u8])) {
    if let Some(members) = value.members() {
        write_object(&members, sink);
    } else if let Some(elements) = value.elements() {
        write_list(elements, (b"[", b"]"), sink, |element, sink| write(element, sink));
    } else if let Some(text) = value.as_text() {
        write_text(text, sink);
    } else {
        sink(value.as_raw().as_bytes());
    }
}

/// Whether both values have the same canonical form.
pub(super) fn same(one: Value<'_>, other: Value<'_>) -> bool {
    let mut form = Vec::new();
    write(one, &mut |bytes| form.extend_from_slice(bytes));
    let mut rest = Some(form.as_slice());
    write(other, &mut |bytes| rest = rest.and_then(|rest| rest.strip_prefix(bytes)));
    rest.is_some_and(<[u8]>::is_empty)
}

/// Names are in order already in everything we write; else the next one is looked for each time.
fn write_object(members: &Members<'_>, sink: &mut dyn FnMut(&[u8])) {
    let is_sorted = members.clone().map(|(name, _)| name).is_sorted();
    let (mut rest, mut last) = (members.clone(), None);
    let in_order = iter::from_fn(|| {
        let next = if is_sorted { rest.next() } else { after(members, last) };
        last = next.map(|(name, _)| name);
        next
    });
    write_list(in_order, (b"{", b"}"), sink, |(name, value), sink| {
        write_text(name, sink);
        sink(b":");
        write(value, sink);
    });
}

/// The member whose name comes next after `last`, of which an object has no two.
fn after<'a>(members: &Members<'a>, last: Option<Text<'a>>) -> Option<(Text<'a>, Value<'a>)> {
    let is_left = |name: Text<'_>| last.is_none_or(|last| last < name);
    members.clone().filter(|(name, _)| is_left(*name)).min_by_key(|(name, _)| *name)
}

fn write_list<T>(
    items: impl Iterator<Item = T>,
    (open, close): (&[u8], &[u8]),
    sink: &mut dyn FnMut(&[u8]),
    mut item: impl FnMut(T, &mut dyn FnMut(&[u8])),
) {
    sink(open);
    for (index, next) in items.enumerate() {
        if index > 0 {
            sink(b",");
        }
        item(next, sink);
    }
    sink(close);
}

fn write_text(text: Text<'_>, sink: &mut dyn FnMut(&[u8])) {
    sink(b"\"");
    match text.as_plain() {
        Some(plain) => sink(plain.as_bytes()),
        None => text.chars().for_each(|character| write_character(character, sink)),
    }
    sink(b"\"");
}

fn write_character(character: char, sink: &mut dyn FnMut(&[u8])) {
    if matches!(character, '"' | '\\') {
        sink(b"\\");
    }
    sink(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut form = Vec::new();
        write(Value::parse(text.as_bytes()).unwrap(), &mut |bytes| form.extend_from_slice(bytes));
        assert_eq!(String::from_utf8(form).unwrap(), expected);
    }

    #[test]
    fn names_are_sorted_and_space_is_gone() {
        check(
            r#" { "b" : [ 1 , -2 , true , null ] , "B" : { } , "a" : "x" } "#,
            r#"{"B":{},"a":"x","b":[1,-2,true,null]}"#,
        );
    }

    #[test]
    fn only_quote_and_backslash_are_escaped() {
        check(r#""\u0022\u005c\/\n\u0000\u00e9\ud83d\ude00""#, "\"\\\"\\\\/\n\0é😀\"");
    }

    #[test]
    fn names_sort_by_code_point_not_by_utf_16_unit() {
        check("{\"\u{1f600}\":1,\"\u{ffff}\":2}", "{\"\u{ffff}\":2,\"\u{1f600}\":1}");
    }
}
