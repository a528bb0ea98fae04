//! Commands to one device (D7): signed like metadata, numbered, and soon void.
//!
//! Not here: how a command travels.

use std::time::Duration;

use serde_json::{Map, Value};
use waxwing_tuf::author::{self, director};
use waxwing_tuf::time::Time;
use waxwing_wire::command::Order;
use waxwing_wire::{DeviceId, MessageId};

use super::Director;

/// How long what a back end says is good for, and a command whose sender says nothing else: what comes
/// later is not what anybody wants any more.
pub const COMMAND_LIFE: Duration = Duration::from_mins(5);

/// The name of a command that carries what a back end answered.
const ANSWER: &str = "answer";

impl Director {
    /// Signs a command to a device, void from a time on. `seq` must rise from command to command.
    pub fn command(
        &self,
        device: &DeviceId,
        order: &Order,
        seq: u64,
        expires_ms: u64,
    ) -> Result<Vec<u8>, author::Error> {
        let fields = order.fields().into_iter();
        let content = fields.map(|(name, text)| (name.to_owned(), text.into())).collect();
        self.tell(device, &content, seq, expires_ms)
    }

    /// Signs what a back end says to a device: `body` is JSON, and signed as a text, for signed files hold
    /// no numbers but integers.
    pub fn answer(
        &self,
        device: &DeviceId,
        message_id: &MessageId,
        body: &str,
        seq: u64,
        now_ms: u64,
    ) -> Result<Vec<u8>, author::Error> {
        let content = Map::from_iter([
            ("body".to_owned(), body.into()),
            ("message_id".to_owned(), message_id.as_str().into()),
            ("name".to_owned(), ANSWER.into()),
        ]);
        let life_ms = u64::try_from(COMMAND_LIFE.as_millis()).unwrap_or(u64::MAX);
        self.tell(device, &content, seq, now_ms.saturating_add(life_ms))
    }

    fn tell(
        &self,
        device: &DeviceId,
        content: &Map<String, Value>,
        seq: u64,
        expires_ms: u64,
    ) -> Result<Vec<u8>, author::Error> {
        let expires = Time::from_millis(expires_ms);
        director::command(self.signer.as_ref(), device.as_str(), seq, expires, content)
    }
}
