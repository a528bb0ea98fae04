//! The poll: what a device tells and asks in its one round trip.
//!
//! The answer is a [`crate::bundle`].

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use semver::Version;

use crate::id::{Digest, Hardware, Nonce, ProductId};
use crate::json::Object;

/// Longest poll: every field at its limit and a full batch of reports.
pub const POLL_BYTES_MAX: usize = 24 * 1024;
/// Most metadata files a device tells about: the top-level roles of both repositories and eight
/// delegated ones.
pub const HAVE_MAX: usize = 16;
/// Most reports in one poll: a device that was off line sends the rest with the next.
pub const REPORTS_MAX: usize = 8;

/// What a device tells and asks.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize), serde(deny_unknown_fields))]
pub struct Request {
    /// Ties the answer to this question.
    pub nonce: Nonce,
    /// What the device is.
    pub product: ProductId,
    /// Hardware revision, a name of the product's `hardware` list.
    pub hw: Hardware,
    /// Release that runs.
    pub fw: Version,
    /// SHA-256 of the image that runs.
    pub fw_sha256: Digest,
    /// The device's floor: it takes no lower security version.
    pub security_version: u32,
    /// Versions of the trusted metadata on the device, by `d.<role>` and `i.<role>`.
    pub have: BTreeMap<String, u64>,
    /// SHA-256 of the certificates by which the device knows its server, if it took them from a
    /// signed target (D15); `None`: those that its firmware came with.
    #[cfg_attr(feature = "serde", serde(default))]
    pub pins: Option<Digest>,
    /// For how many seconds the server could not be reached, if the poll before was not answered and the
    /// device knows (D18).
    #[cfg_attr(feature = "serde", serde(default))]
    pub out_s: Option<u32>,
    /// Sealed reports that did not get through over MQTT: JSON envelopes.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "raw_texts"))]
    pub reports: Vec<String>,
}

impl Request {
    /// Encodes the poll as compact JSON.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        let object = Object::new(&mut out)
            .text("nonce", self.nonce)
            .text("product", &self.product)
            .text("hw", &self.hw)
            .text("fw", &self.fw)
            .text("fw_sha256", self.fw_sha256)
            .number("security_version", self.security_version.into())
            .json("have", |out| encode_have(&self.have, out));
        let object = match self.pins {
            Some(sha256) => object.text("pins", sha256),
            None => object,
        };
        let object = match self.out_s {
            Some(out_s) => object.number("out_s", out_s.into()),
            None => object,
        };
        object.json("reports", |out| encode_reports(&self.reports, out)).end();
        out
    }

    /// Decodes a poll within its limits.
    ///
    /// # Errors
    ///
    /// [`crate::Malformed`] names what is wrong.
    #[cfg(feature = "serde")]
    pub fn decode(bytes: &[u8]) -> Result<Self, crate::Malformed> {
        if bytes.len() > POLL_BYTES_MAX {
            return Err(crate::Malformed::new("the poll is larger than 24 KiB"));
        }
        let request: Self = crate::named::from_slice(bytes)?;
        if request.have.len() > HAVE_MAX {
            return Err(crate::Malformed::new("`have` names more than 16 files"));
        }
        if request.reports.len() > REPORTS_MAX {
            return Err(crate::Malformed::new("`reports` holds more than 8 reports"));
        }
        Ok(request)
    }
}

fn encode_have(have: &BTreeMap<String, u64>, out: &mut String) {
    have.iter()
        .fold(Object::new(out), |object, (role, version)| object.number(role, *version))
        .end();
}

fn encode_reports(reports: &[String], out: &mut String) {
    out.push('[');
    out.push_str(&reports.join(","));
    out.push(']');
}

#[cfg(feature = "serde")]
fn raw_texts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    use alloc::boxed::Box;

    use serde::Deserialize as _;
    use serde_json::value::RawValue;

    let values = Vec::<Box<RawValue>>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|value| Box::<str>::from(value).into()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Request {
        Request {
            nonce: Nonce([1; 16]),
            product: ProductId::parse("acme-th1").unwrap(),
            hw: Hardware::parse("r2").unwrap(),
            fw: Version::new(1, 0, 0),
            fw_sha256: Digest([2; 32]),
            security_version: 3,
            have: BTreeMap::from([("d.root".into(), 1), ("i.timestamp".into(), 12)]),
            pins: None,
            out_s: None,
            reports: vec![r#"{"device_id":"d-1"}"#.into()],
        }
    }

    #[test]
    fn golden_vector_of_a_poll() {
        insta::assert_snapshot!(sample().encode(), @r#"{"nonce":"01010101010101010101010101010101","product":"acme-th1","hw":"r2","fw":"1.0.0","fw_sha256":"0202020202020202020202020202020202020202020202020202020202020202","security_version":3,"have":{"d.root":1,"i.timestamp":12},"reports":[{"device_id":"d-1"}]}"#);
    }

    #[test]
    fn what_a_device_encodes_a_server_decodes() {
        for (pins, out_s) in [(None, None), (Some(Digest([3; 32])), Some(1801))] {
            let request = Request { pins, out_s, ..sample() };
            assert_eq!(Request::decode(request.encode().as_bytes()), Ok(request));
        }
    }

    #[test]
    fn polls_beyond_a_limit_are_refused_by_name() {
        let mut many = sample();
        many.reports = vec!["{}".into(); REPORTS_MAX + 1];
        assert!(refusal(&many.encode()).contains("`reports`"));
        let mut many = sample();
        many.have = (0..=HAVE_MAX).map(|n| (format!("i.{n}"), 1)).collect();
        assert!(refusal(&many.encode()).contains("`have`"));
        assert!(refusal(&" ".repeat(POLL_BYTES_MAX + 1)).contains("24 KiB"));
        assert!(refusal(&sample().encode().replace("\"hw\"", "\"hardware\"")).contains("hardware"));
    }

    fn refusal(json: &str) -> String {
        Request::decode(json.as_bytes()).unwrap_err().to_string()
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::decode(&bytes);
        }
    }
}
