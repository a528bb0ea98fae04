//! The envelope around telemetry and reports, and the report in it (D23).

use serde_json::Value;
use waxwing_wire::envelope::{ENVELOPE_BYTES_MAX, Envelope};
use waxwing_wire::existing;
use waxwing_wire::report::Report;
use waxwing_wire::topic::Kind;

use crate::metadata::hex;

/// What is accepted is sealed and opened again unchanged, and no field of it can put a line into the
/// signed bytes.
pub fn check(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    assert!(bytes.len() <= ENVELOPE_BYTES_MAX);
    let prefix = envelope.header.signed_prefix(Kind::Report);
    let lines: Vec<_> = prefix.split('\n').collect();
    let header = &envelope.header;
    let (device, time, id) =
        (header.device_id.as_str(), header.timestamp.to_string(), header.message_id.as_str());
    assert_eq!(lines, ["waxwing-msg-v1", "up", "report", device, &time, id, ""]);
    let sealed = envelope.header.seal(envelope.payload, &hex(&envelope.signature));
    if sealed.len() <= ENVELOPE_BYTES_MAX {
        let again = Envelope::parse(sealed.as_bytes()).expect("what was sealed is an envelope");
        let fields = |it: &Envelope<'_>| (it.header.clone(), it.signature.clone());
        assert_eq!(fields(&again), fields(&envelope));
        assert_eq!(again.payload, envelope.payload);
        assert_eq!(existing::signed_text(&again), existing::signed_text(&envelope));
    }
    let payload = bytes.windows(envelope.payload.len()).any(|it| it == envelope.payload.as_bytes());
    assert!(payload, "the payload is not what was sent");
    check_existing(&envelope);
    if let Ok(report) = Report::decode(envelope.payload) {
        assert_eq!(
            Report::decode(&report.encode()),
            Ok(report),
            "another report when written again"
        );
    }
}

/// What an existing device signs is ASCII, the same when it is written again, and says what was sent.
fn check_existing(envelope: &Envelope<'_>) {
    let Ok(text) = existing::signed_text(envelope) else { return };
    assert!(text.is_ascii());
    // Numbers keep their text, also those that no float holds.
    let Ok(sent) = serde_json::from_str::<Value>(envelope.payload) else { return };
    let mut signed: Value = serde_json::from_str(&text).expect("the signed text is JSON");
    assert_eq!(signed.get_mut("payload").map(Value::take), Some(sent));
}
