//! Random JSON texts, whole and broken.

use proptest::prelude::*;

/// Random JSON texts: every kind of value, spelled in many ways.
pub(crate) fn documents() -> BoxedStrategy<Vec<u8>> {
    let space = || "[ \t\r\n]{0,2}";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        (0..100_u8).prop_map(|value| value.to_string()),
        text(),
    ];
    let tree = leaf.prop_recursive(6, 40, 6, move |inner| {
        let member = (text(), space(), inner.clone())
            .prop_map(|(name, space, value)| format!("{name}{space}:{value}"));
        let list = |open: &'static str, close: &'static str| {
            move |(items, space): (Vec<String>, String)| {
                format!("{open}{space}{}{space}{close}", items.join(&format!("{space},{space}")))
            }
        };
        prop_oneof![
            (proptest::collection::vec(inner, 0..6), space()).prop_map(list("[", "]")),
            (proptest::collection::vec(member, 0..6), space()).prop_map(list("{", "}")),
        ]
    });
    (space(), tree).prop_map(|(space, value)| format!("{space}{value}{space}").into_bytes()).boxed()
}

/// A JSON string with escapes, quotes and characters of all lengths.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-c0-9 /.-]{1,3}",
        Just("\\\"".to_owned()),
        Just("\\\\".to_owned()),
        Just("\\/".to_owned()),
        "\\\\[bfnrt]",
        "\\\\u00[0-9a-fA-F]{2}",
        "\\\\ud83d\\\\ude0[0-9]",
        "[éß\u{7f}\u{2028}\u{ffff}😀]",
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A JSON text with one byte changed, removed or put in.
pub(crate) fn mutant() -> BoxedStrategy<Vec<u8>> {
    documents().prop_flat_map(changed).boxed()
}

/// A text with one byte changed, removed or put in.
pub(crate) fn changed(text: Vec<u8>) -> BoxedStrategy<Vec<u8>> {
    let interesting = prop_oneof![
        any::<u8>(),
        proptest::sample::select(b"{}[],:\"\\ -+.eE01u\0\xef\xbb\xbf".to_vec())
    ];
    (any::<proptest::sample::Index>(), interesting, 0..3_u8)
        .prop_map(move |(at, byte, kind)| {
            let mut bytes = text.clone();
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
            bytes
        })
        .boxed()
}
