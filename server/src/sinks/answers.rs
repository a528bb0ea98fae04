//! What a back end answers goes to the device that it is for: signed by the Director as commands are, and on
//! the same topic.
//!
//! An answer may come twice, as its message may. Not here: whether the device does anything with it.

use serde_json::Value;
use waxwing_tuf::command::COMMAND_BYTES_MAX;
use waxwing_wire::{DeviceId, MessageId};

use crate::app::App;
use crate::director::COMMAND_LIFE;
use crate::logging::Chain;
use crate::mqtt::Delivery;
use crate::mqtt::commands::{self, Prepared, SendError};
use crate::store::Connection;

/// What a back end says to a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    /// Who asked.
    pub(super) device: DeviceId,
    /// What it answers.
    pub(super) message_id: MessageId,
    /// A JSON object.
    pub(super) body: String,
}

/// Reads what a back end said: nothing, or something that is no JSON object, is no answer to a device.
pub(super) fn body(bytes: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    // Written anew: without line breaks and spaces that a device would have to take.
    value.is_object().then(|| value.to_string())
}

/// Sends answers on their way. That one cannot be sent is counted, and is no reason to ask again.
pub(super) async fn route(app: &App, sink: &str, answers: &[Answer]) {
    if answers.is_empty() {
        return;
    }
    if let Err(error) = try_route(app, sink, answers).await {
        tracing::error!(sink, error = %Chain(&error), "answers to devices were lost");
    }
}

async fn try_route(app: &App, sink: &str, answers: &[Answer]) -> Result<(), SendError> {
    let mut change = app.store.begin().await?;
    let mut prepared = Vec::with_capacity(answers.len());
    for answer in answers {
        prepared.push(prepare(app, change.connection(), answer).await?);
    }
    let turn = change.commit().await?;
    for prepared in prepared {
        let word = prepared.map_or("too_long", |it| word(it.hand_over(&app.hub)));
        app.sinks.numbers.answered(sink, word);
    }
    drop(turn);
    Ok(())
}

/// Signs an answer and keeps it within the change, unless no device would take so much.
async fn prepare(
    app: &App,
    db: &mut Connection,
    answer: &Answer,
) -> Result<Option<Prepared>, SendError> {
    let now_ms = app.director.now_ms()?;
    let seq = app.fleet.stamp(now_ms);
    let Answer { device, message_id, body } = answer;
    let bytes = app.director.answer(device, message_id, body, seq, now_ms)?;
    if bytes.len() > COMMAND_BYTES_MAX {
        return Ok(None);
    }
    let kept = commands::keep_or_relay(app, db, device, bytes.into(), COMMAND_LIFE).await?;
    Ok(Some(kept))
}

const fn word(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Absent => "absent",
        Delivery::Behind => "behind",
        Delivery::Kept => "kept",
        Delivery::NotListening => "not_listening",
        Delivery::Sent => "sent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_is_an_answer() {
        assert_eq!(body(b"{ \"a\" : [1.50,\"\xc2\xb0\"]\n}").unwrap(), r#"{"a":[1.5,"°"]}"#);
        for nothing in ["", "ok", "[]", "1", "{", "null"] {
            assert_eq!(body(nothing.as_bytes()), None, "{nothing}");
        }
    }
}
