//! What a gateway hands over for devices that cannot reach the server, and what it is told of each.
//!
//! Messages travel as their senders sealed them, byte for byte: the gateway vouches for nothing. Both
//! bodies are JSON; `docs/gateway.md` shows them.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::envelope::ENVELOPE_BYTES_MAX;
pub use crate::frame::Outcome;
use crate::id::{DeviceId, MessageId};
use crate::json::Object;
use crate::named;
use crate::topic::Kind;

/// Most messages of one batch: a second of a hundred sensors; the server answers when each is on its disk.
pub const BATCH_MESSAGES_MAX: usize = 64;
/// Longest batch: eight of the longest messages, or the most messages of a usual length of 1 KiB.
pub const BATCH_BYTES_MAX: usize = 8 * ENVELOPE_BYTES_MAX;
/// Bytes of a batch that are no envelopes: what stands around all, and around each.
const AROUND_BYTES_MAX: usize = 64;

/// A message that is carried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Carried<'a> {
    /// What it is about, as the last level of its topic.
    pub kind: Kind,
    /// The envelope, exactly as sent.
    pub envelope: &'a str,
}

impl Carried<'_> {
    /// Returns how many bytes of a batch it takes at most.
    pub const fn batch_bytes(&self) -> usize {
        self.envelope.len().saturating_add(AROUND_BYTES_MAX)
    }
}

/// Writes a batch.
pub fn encode(messages: &[Carried<'_>]) -> String {
    let mut out = String::new();
    Object::new(&mut out).json("messages", |out| encode_all(messages, out)).end();
    out
}

fn encode_all(messages: &[Carried<'_>], out: &mut String) {
    out.push('[');
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        Object::new(out)
            .text("kind", message.kind)
            .json("envelope", |out| out.push_str(message.envelope))
            .end();
    }
    out.push(']');
}

/// Takes a batch apart without looking into its envelopes.
///
/// # Errors
///
/// [`crate::Malformed`] names the field or the limit.
pub fn decode(bytes: &[u8]) -> Result<Vec<Carried<'_>>, crate::Malformed> {
    if bytes.len() > BATCH_BYTES_MAX {
        return Err(crate::Malformed::new("the batch is larger than 64 KiB"));
    }
    let batch: Batch<'_> = named::from_slice(bytes)?;
    if batch.messages.len() > BATCH_MESSAGES_MAX {
        return Err(crate::Malformed::new("`messages` holds more than 64 messages"));
    }
    batch.messages.into_iter().map(Item::read).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow, deserialize_with = "named::list")]
    messages: Vec<Item<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    #[serde(borrow)]
    kind: &'a str,
    #[serde(borrow)]
    envelope: &'a RawValue,
}

impl<'a> Item<'a> {
    fn read(self) -> Result<Carried<'a>, crate::Malformed> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == self.kind);
        let kind =
            kind.ok_or_else(|| crate::Malformed::new("`kind` is none of those of topics"))?;
        Ok(Carried { kind, envelope: self.envelope.get() })
    }
}

/// What became of one message.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Told {
    /// Its sender; `null` if the envelope names none.
    pub device_id: Option<DeviceId>,
    /// Its id; `null` if the envelope names none.
    pub message_id: Option<MessageId>,
    /// What is to be done about it.
    pub outcome: Outcome,
    /// Why, in `snake_case`: programs may match on it.
    pub code: String,
}

/// What became of the messages of a batch, in their order.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Answer {
    /// One for each message.
    #[serde(deserialize_with = "named::list")]
    pub outcomes: Vec<Told>,
}

impl Answer {
    /// Reads the answer to a batch of so many messages.
    ///
    /// # Errors
    ///
    /// [`crate::Malformed`] when it is not the answer to that.
    pub fn decode(bytes: &[u8], messages: usize) -> Result<Self, crate::Malformed> {
        let answer: Self = named::from_slice(bytes)?;
        if answer.outcomes.len() != messages {
            let said = answer.outcomes.len().to_string();
            return Err(crate::Malformed::new(&(said + " outcomes are not one for each message")));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_vector_of_a_batch() {
        let messages = [
            Carried { kind: Kind::Telemetry, envelope: r#"{"device_id":"d-1"}"# },
            Carried { kind: Kind::Report, envelope: "{}" },
        ];
        insta::assert_snapshot!(encode(&messages), @r#"{"messages":[{"kind":"telemetry","envelope":{"device_id":"d-1"}},{"kind":"report","envelope":{}}]}"#);
    }

    #[test]
    fn envelopes_arrive_byte_for_byte() {
        let envelope = "{\"t\" :  21.50, \"x\":\"\\u0041\"}";
        let batch = encode(&[Carried { kind: Kind::Telemetry, envelope }]);
        assert_eq!(
            decode(batch.as_bytes()).unwrap(),
            [Carried { kind: Kind::Telemetry, envelope }]
        );
    }

    #[test]
    fn batches_beyond_a_limit_are_refused_by_name() {
        let refusal = |text: &str| decode(text.as_bytes()).unwrap_err().to_string();
        let message = Carried { kind: Kind::Telemetry, envelope: "{}" };
        let most = vec![message; BATCH_MESSAGES_MAX];
        assert_eq!(decode(encode(&most).as_bytes()).unwrap(), most);
        assert!(refusal(&encode(&[most, vec![message]].concat())).contains("`messages`"));
        assert!(refusal(&" ".repeat(BATCH_BYTES_MAX + 1)).contains("64 KiB"));
        assert!(refusal(&encode(&[message]).replace("telemetry", "poll")).contains("`kind`"));
        assert!(refusal(r#"{"messages":[],"gateway":"g-1"}"#).contains("gateway"));
    }

    #[test]
    fn an_answer_speaks_of_each_message() {
        let told = Told {
            device_id: None,
            message_id: MessageId::parse("m-1").ok(),
            outcome: Outcome::Stored,
            code: "applied".into(),
        };
        let text = serde_json::to_string(&Answer { outcomes: vec![told] }).unwrap();
        insta::assert_snapshot!(text, @r#"{"outcomes":[{"device_id":null,"message_id":"m-1","outcome":"stored","code":"applied"}]}"#);
        assert!(Answer::decode(text.as_bytes(), 1).is_ok());
        assert!(Answer::decode(text.as_bytes(), 2).is_err());
    }

    proptest! {
        #[test]
        fn what_stands_around_a_message_is_counted(kinds in prop::collection::vec(0_usize..5, 1..64)) {
            let carried = |n: usize| Carried { kind: Kind::ALL[n], envelope: "{\"a\":1}" };
            let all: Vec<_> = kinds.into_iter().map(carried).collect();
            let counted: usize = all.iter().map(Carried::batch_bytes).sum();
            prop_assert!(encode(&all).len() <= counted);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            let _ = Answer::decode(&bytes, 1);
        }
    }
}
