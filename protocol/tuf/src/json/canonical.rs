//! Canonical JSON: the one spelling of a value that signatures cover.
//!
//! The form is the OLPC one that securesystemslib writes: no space, members sorted by code points,
//! only `"` and `\` escaped, everything else as UTF-8. (So control characters stand raw: canonical
//! form is hashed, not parsed again.) Unicode is not normalised.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::{Members, Text, Value};

/// Streams the canonical form of `value` into `sink`.
pub(super) fn write(value: Value<'_>, sink: &mut dyn FnMut(&[u8])) {
    if let Some(members) = value.members() {
        write_object(members, sink);
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

/// What is in order already, as everything we write is, needs no memory.
fn write_object(members: Members<'_>, sink: &mut dyn FnMut(&[u8])) {
    if members.clone().map(|(name, _)| name).is_sorted() {
        write_members(members.map(Member::from), sink);
    } else {
        let sorted: BinaryHeap<Member<'_>> = members.map(Member::from).collect();
        write_members(sorted.into_sorted_vec().into_iter(), sink);
    }
}

fn write_members<'a>(members: impl Iterator<Item = Member<'a>>, sink: &mut dyn FnMut(&[u8])) {
    write_list(members, (b"{", b"}"), sink, |member, sink| {
        write_text(member.name, sink);
        sink(b":");
        write(member.value, sink);
    });
}

/// A member of an object. Sorts by its name, of which an object has no two.
struct Member<'a> {
    name: Text<'a>,
    value: Value<'a>,
}

impl<'a> From<(Text<'a>, Value<'a>)> for Member<'a> {
    fn from((name, value): (Text<'a>, Value<'a>)) -> Self {
        Self { name, value }
    }
}

impl Ord for Member<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl PartialOrd for Member<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Member<'_> {}

impl PartialEq for Member<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
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
