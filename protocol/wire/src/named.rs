//! Reads JSON objects by the names of their fields, and nothing else.
//!
//! What serde derives for a struct also takes an array, field by place: a second spelling of every
//! message, which no document names. Not here: what is written, which is `json`.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::Malformed;

/// Reads an object.
///
/// # Errors
///
/// [`Malformed`] names the field and the place.
pub(crate) fn from_str<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Malformed> {
    let Named(object) = serde_json::from_str(json)?;
    Ok(object)
}

/// Reads an object from bytes that nobody looked at.
///
/// # Errors
///
/// [`Malformed`] names the field and the place, or that they are not UTF-8.
pub(crate) fn from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Malformed> {
    let Named(object) = serde_json::from_slice(json)?;
    Ok(object)
}

/// What was read from an object.
struct Named<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfObject(PhantomData))
    }
}

struct OfObject<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Named)
    }
}

/// Reads a field that is an object or not there.
pub(crate) fn optional<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<Named<T>>::deserialize(deserializer).map(|it| it.map(|Named(it)| it))
}

/// Reads a list of objects.
pub(crate) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let items = Vec::<Named<T>>::deserialize(deserializer)?;
    Ok(items.into_iter().map(|Named(it)| it).collect())
}

#[cfg(test)]
mod tests {
    use crate::command::Answer;
    use crate::envelope::Envelope;
    use crate::poll::Request;
    use crate::relay;
    use crate::report::Report;

    const REPORT: &str = r#""r-1","1.2.0","verified",0,"HASH",1,7"#;

    fn report(deferred: &str) -> String {
        let hash = "0".repeat(64);
        format!(
            r#"{{"rollout":"r-1","release":"1.2.0","state":"verified","code":0,"fw_sha256":"{hash}","attempt":1,"measured_at":7,"deferred":{deferred}}}"#
        )
    }

    #[test]
    fn no_message_is_a_list_of_values_without_names() {
        let hash = "0".repeat(64);
        let envelope = r#"["d-1",1795167000,"m-7",{},"00"]"#;
        let poll = format!(
            r#"["00000000000000000000000000000000","p-1","h-1","1.0.0","{hash}",0,{{}},null,null,[]]"#
        );
        let refused = [
            Answer::decode(r#"[2,"failed",":"]"#).unwrap_err(),
            Envelope::parse(envelope.as_bytes()).unwrap_err(),
            Request::decode(poll.as_bytes()).unwrap_err(),
            Report::decode(&format!("[{}]", REPORT.replace("HASH", &hash))).unwrap_err(),
            Report::decode(&report("[1,9]")).unwrap_err(),
            relay::decode(b"[[]]").unwrap_err(),
            relay::decode(br#"{"messages":[["report",{}]]}"#).unwrap_err(),
            relay::Answer::decode(b"[[]]", 0).unwrap_err(),
            relay::Answer::decode(br#"{"outcomes":[[null,null,"kept","x"]]}"#, 1).unwrap_err(),
        ];
        for error in refused {
            let error = error.to_string();
            assert!(error.contains("sequence, expected an object"), "{error}");
        }
        Report::decode(&report(r#"{"times":1,"until":9}"#)).unwrap();
    }
}
