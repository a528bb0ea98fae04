//! The envelope around everything a device publishes, and the bytes its signature covers (D23).
//!
//! ```text
//! waxwing-msg-v1\n<direction>\n<topic kind>\n<device>\n<timestamp>\n<message id>\n<payload>
//! ```
//!
//! The payload is covered byte for byte as sent. Signatures are made and checked elsewhere.

use alloc::format;
use alloc::string::String;
#[cfg(feature = "serde")]
use alloc::vec::Vec;

use crate::id::{DeviceId, MessageId};
use crate::json::Object;
use crate::poll::POLL_BYTES_MAX;
use crate::topic::{Direction, Kind};

/// Longest envelope: telemetry of a small device with room to spare; one MQTT packet and one
/// read buffer hold it.
pub const ENVELOPE_BYTES_MAX: usize = 8 * 1024;
/// Longest envelope around a poll that a gateway carries: the longest poll, and 1 KiB for what stands
/// around it.
pub const SEALED_POLL_BYTES_MAX: usize = POLL_BYTES_MAX + 1024;
/// What stands in the place of the topic kind in the signed bytes of a poll: no message has this kind, so
/// neither can be taken for the other.
const POLL: &str = "poll";

/// Deepest nesting of a payload, itself included: readings need a few levels, and whoever reads them
/// after us goes down one call for each.
pub const NESTING_MAX: usize = 32;

/// What is signed besides the payload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// Who speaks; must be who the certificate says.
    pub device_id: DeviceId,
    /// When it was (re)sent, in Unix seconds (D24).
    pub timestamp: u64,
    /// Stays the same when the message is sent again.
    pub message_id: MessageId,
}

impl Header {
    /// Returns the signed bytes that come before the payload.
    pub fn signed_prefix(&self, kind: Kind) -> String {
        self.prefix(kind.direction(), kind.as_str())
    }

    /// Returns the signed bytes that come before a poll that a gateway carries.
    pub fn signed_prefix_of_poll(&self) -> String {
        self.prefix(Direction::Up, POLL)
    }

    fn prefix(&self, direction: Direction, kind: &str) -> String {
        format!(
            "waxwing-msg-v1\n{}\n{kind}\n{}\n{}\n{}\n",
            direction.as_str(),
            self.device_id,
            self.timestamp,
            self.message_id,
        )
    }

    /// Encodes the envelope: `payload` is a JSON object, `signature` lower-case hexadecimal.
    pub fn seal(&self, payload: &str, signature: &str) -> String {
        let mut out = String::new();
        Object::new(&mut out)
            .text("device_id", &self.device_id)
            .number("timestamp", self.timestamp)
            .text("message_id", &self.message_id)
            .json("payload", |out| out.push_str(payload))
            .text("signature", signature)
            .end();
        out
    }
}

/// An envelope, taken apart but not believed.
#[cfg(feature = "serde")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope<'a> {
    /// All of it, exactly as sent.
    pub text: &'a str,
    /// What is signed besides the payload.
    pub header: Header,
    /// A JSON object, exactly as sent.
    pub payload: &'a str,
    /// The signature: for ES256 the DER form, as in TUF metadata.
    pub signature: Vec<u8>,
}

#[cfg(feature = "serde")]
impl<'a> Envelope<'a> {
    /// Takes an envelope apart.
    ///
    /// # Errors
    ///
    /// [`crate::Malformed`] names what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, crate::Malformed> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(crate::Malformed::new("the envelope is larger than 8 KiB"));
        }
        Self::take_apart(bytes)
    }

    /// Takes the envelope around a poll apart.
    ///
    /// # Errors
    ///
    /// [`crate::Malformed`] names what is wrong.
    pub fn parse_poll(bytes: &'a [u8]) -> Result<Self, crate::Malformed> {
        if bytes.len() > SEALED_POLL_BYTES_MAX {
            return Err(crate::Malformed::new("the sealed poll is larger than 25 KiB"));
        }
        Self::take_apart(bytes)
    }

    fn take_apart(bytes: &'a [u8]) -> Result<Self, crate::Malformed> {
        let text = str::from_utf8(bytes)
            .map_err(|_| crate::Malformed::new("the envelope is not UTF-8"))?;
        let fields: Fields<'a> = crate::named::from_str(text)?;
        if !fields.payload.get().starts_with('{') {
            return Err(crate::Malformed::new("`payload` is not an object"));
        }
        if nesting(fields.payload.get()) > NESTING_MAX {
            return Err(crate::Malformed::new("`payload` is nested deeper than 32 levels"));
        }
        let header = Header {
            device_id: fields.device_id,
            timestamp: fields.timestamp,
            message_id: fields.message_id,
        };
        let signature = crate::id::hex_to_vec(&fields.signature)
            .map_err(|_| crate::Malformed::new("`signature` is not lower-case hexadecimal"))?;
        Ok(Self { text, header, payload: fields.payload.get(), signature })
    }
}

/// Returns how deep JSON is nested. No call for a level: the depth is up to whoever wrote it.
#[cfg(feature = "serde")]
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    device_id: DeviceId,
    timestamp: u64,
    message_id: MessageId,
    #[serde(borrow)]
    payload: &'a serde_json::value::RawValue,
    signature: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            device_id: DeviceId::parse("d-1").unwrap(),
            timestamp: 1_795_167_000,
            message_id: MessageId::parse("m-7").unwrap(),
        }
    }

    #[test]
    fn golden_vector_of_the_signed_bytes() {
        assert_eq!(
            header().signed_prefix(Kind::Report),
            "waxwing-msg-v1\nup\nreport\nd-1\n1795167000\nm-7\n"
        );
    }

    #[test]
    fn a_poll_is_signed_as_nothing_else_is() {
        let of_poll = header().signed_prefix_of_poll();
        assert_eq!(of_poll, "waxwing-msg-v1\nup\npoll\nd-1\n1795167000\nm-7\n");
        assert!(Kind::ALL.into_iter().all(|kind| header().signed_prefix(kind) != of_poll));
    }

    #[test]
    fn the_longest_poll_fits_into_its_envelope() {
        let id = "i".repeat(crate::id::NAME_BYTES_MAX);
        let header = Header {
            device_id: DeviceId::parse(&id).unwrap(),
            timestamp: u64::MAX,
            message_id: MessageId::parse(&id).unwrap(),
        };
        let poll = format!("{{\"a\":\"{}\"}}", "b".repeat(POLL_BYTES_MAX - 8));
        let sealed = header.seal(&poll, &"0".repeat(2 * 72));
        assert_eq!(Envelope::parse_poll(sealed.as_bytes()).unwrap().payload, poll);
        let long = vec![b' '; SEALED_POLL_BYTES_MAX + 1];
        assert!(Envelope::parse_poll(&long).unwrap_err().to_string().contains("25 KiB"));
    }

    #[test]
    fn golden_vector_of_an_envelope() {
        insta::assert_snapshot!(header().seal(r#"{"t":21}"#, "3006"), @r#"{"device_id":"d-1","timestamp":1795167000,"message_id":"m-7","payload":{"t":21},"signature":"3006"}"#);
    }

    #[test]
    fn the_payload_is_kept_byte_for_byte() {
        let payload = "{\"t\" :  21.50, \"x\":\"\\u0041\"}";
        let sealed = header().seal(payload, "3006");
        let envelope = Envelope::parse(sealed.as_bytes()).unwrap();
        assert_eq!(envelope.payload, payload);
        assert_eq!(envelope.header, header());
        assert_eq!(envelope.signature, [0x30, 6]);
    }

    #[test]
    fn malformed_envelopes_say_what_is_wrong() {
        let good = header().seal("{}", "00");
        for (from, to, named) in [
            ("\"payload\":{}", "\"payload\":[]", "payload"),
            ("\"payload\":{}", "\"payload\":{},\"payload\":{}", "payload"),
            ("\"signature\":\"00\"", "\"signature\":\"0G\"", "signature"),
            ("\"signature\":\"00\"", "\"signature\":\"000\"", "signature"),
            ("1795167000", "1795167000.5", "timestamp|invalid type|floating"),
            ("1795167000", "\"1795167000\"", "invalid type"),
            ("1795167000", "-1", "invalid value"),
            ("\"m-7\"", "\"m/7\"", "a name is"),
            ("\"device_id\"", "\"device\"", "device"),
        ] {
            let error = Envelope::parse(good.replace(from, to).as_bytes()).unwrap_err();
            assert!(named.split('|').any(|n| error.to_string().contains(n)), "{error}");
        }
        let error = Envelope::parse(&[b'{', 0xff]).unwrap_err().to_string();
        assert!(error.contains("UTF-8"), "{error}");
        let bytes = [b' '; ENVELOPE_BYTES_MAX + 1];
        assert!(Envelope::parse(&bytes).unwrap_err().to_string().contains("8 KiB"));
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let deep = "[".repeat(4000);
        let bytes = header().seal(&format!("{{\"a\":{deep}"), "00");
        assert!(Envelope::parse(bytes.as_bytes()).is_err());
    }

    #[test]
    fn a_payload_is_nested_as_deep_as_the_limit_and_no_deeper() {
        let nested = |levels: usize| {
            let (begin, end) = ("{\"a\":[".repeat(levels / 2), "]}".repeat(levels / 2));
            header().seal(&format!("{begin}{end}"), "00")
        };
        assert!(Envelope::parse(nested(NESTING_MAX).as_bytes()).is_ok());
        for levels in [NESTING_MAX + 2, 1000] {
            let error = Envelope::parse(nested(levels).as_bytes()).unwrap_err().to_string();
            assert!(error.contains("nested deeper"), "{error}");
        }
        let text = format!(r#"{{"a":"\\\"{}","b":[{{}},{{}}]}}"#, "[{".repeat(NESTING_MAX));
        assert!(
            Envelope::parse(header().seal(&text, "00").as_bytes()).is_ok(),
            "text is not nested"
        );
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::parse(&bytes);
        }
    }
}
