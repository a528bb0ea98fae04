//! A signed command from server to device (D7).
//!
//! It has the envelope of metadata and is signed by the Director's online key, so that one verifier
//! serves both. What a command may do is not decided here.

use alloc::string::String;

use crate::json::Value;
use crate::refusal::Cause;
use crate::time::Time;

/// Longest command read, in bytes: a message of the smallest MQTT client.
pub const COMMAND_BYTES_MAX: usize = 2_048;

/// Something a device is told to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// Rises with every command to this device; to be stored before the command is carried out.
    pub seq: u64,
    /// From then on it is void.
    pub expires: Time,
    content: String,
}

impl Command {
    /// The `_type` in the signed part.
    pub(crate) const TYPE: &'static str = "command";

    /// What to do: an object.
    pub fn content(&self) -> Value<'_> {
        Value::from_checked(&self.content)
    }

    pub(crate) fn decode(signed: Value<'_>) -> Result<Self, Cause> {
        let expires = signed.field("expires").and_then(|value| Time::parse(value.as_plain()?));
        let content = signed.field("command").filter(|content| content.members().is_some());
        Ok(Self {
            seq: signed.field("seq").and_then(Value::as_u64).ok_or(Cause::BadField("seq"))?,
            expires: expires.ok_or(Cause::BadField("expires"))?,
            content: content.ok_or(Cause::BadField("command"))?.as_raw().into(),
        })
    }
}
