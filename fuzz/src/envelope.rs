//! The envelope around telemetry and reports, and the report in it (D23).

use waxwing_wire::envelope::{ENVELOPE_BYTES_MAX, Envelope};
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
        assert_eq!(Envelope::parse(sealed.as_bytes()).as_ref(), Ok(&envelope));
    }
    let payload = bytes.windows(envelope.payload.len()).any(|it| it == envelope.payload.as_bytes());
    assert!(payload, "the payload is not what was sent");
    if let Ok(report) = Report::decode(envelope.payload) {
        assert_eq!(
            Report::decode(&report.encode()),
            Ok(report),
            "another report when written again"
        );
    }
}
