//! What a device says of a command.

use waxwing_wire::command::{ANSWER_DETAIL_BYTES_MAX, Answer};

/// What is accepted keeps the limits, says what serde reads, and is the same when written again.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(answer) = Answer::decode(text) else { return };
    assert!(answer.detail.len() <= ANSWER_DETAIL_BYTES_MAX);
    let json: serde_json::Value = serde_json::from_str(text).expect("serde reads what we accept");
    assert_eq!(json["command"].as_u64(), Some(answer.number));
    assert_eq!(json["outcome"], answer.outcome.as_str());
    assert_eq!(json["detail"].as_str().unwrap_or_default(), answer.detail);
    let again = Answer::decode(&answer.encode());
    assert_eq!(again, Ok(answer), "another answer when written again");
}

/// Answers, and one that says too much.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let long = "x".repeat(ANSWER_DETAIL_BYTES_MAX + 1);
    let long = format!(r#"{{"command":1,"outcome":"done","detail":"{long}"}}"#);
    vec![
        ("done", br#"{"command":1795167000123,"outcome":"done"}"#.into()),
        ("log", br#"{"command":7,"outcome":"failed","detail":"a \"b\"\u000a"}"#.into()),
        ("too_long", long.into()),
        ("without_names", br#"[2,"failed",":"]"#.into()),
    ]
}
