//! `/api/v1/devices/{device}/messages`: what a device said, from the message log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waxwing_wire::envelope::Envelope;

use super::super::input::{PageQuery, Query};
use super::super::output::{Page, time};
use super::find;
use crate::app::App;
use crate::http::admin::audit::bad_cursor;
use crate::http::{Path, Problem};
use crate::store::messages::Logged;

/// A message as it came, with what it was checked against.
#[derive(Serialize, ToSchema)]
#[schema(as = Message)]
pub(in crate::http::admin) struct MessageView {
    /// Its place in the log; rises, with gaps.
    position: u64,
    /// When it came, as RFC 3339.
    received_at: String,
    /// What it is about: `telemetry` or `response`.
    kind: &'static str,
    /// Its id, which the device used once.
    #[schema(value_type = String)]
    message_id: waxwing_wire::MessageId,
    /// Serial number of the certificate whose key signed it.
    signed_by: String,
    /// What the device said.
    #[schema(value_type = Object)]
    payload: Option<Box<RawValue>>,
    /// The signed envelope, byte for byte.
    envelope: String,
}

impl From<Logged> for MessageView {
    fn from(Logged { position, message }: Logged) -> Self {
        Self {
            position,
            received_at: time(message.received_at),
            kind: message.kind.as_str(),
            message_id: message.message_id,
            signed_by: message.signed_by,
            payload: payload(&message.envelope),
            envelope: message.envelope,
        }
    }
}

/// Returns the payload of an envelope, exactly as sent.
pub(super) fn payload(envelope: &str) -> Option<Box<RawValue>> {
    let envelope = Envelope::parse(envelope.as_bytes()).ok()?;
    RawValue::from_string(envelope.payload.to_owned()).ok()
}

/// Returns what a device said, the newest first, for as long as messages are kept.
#[utoipa::path(get, path = "/api/v1/devices/{device}/messages", operation_id = "list_messages",
    tag = "devices", params(("device" = String, Path), PageQuery),
    responses((status = 200, body = Page<MessageView>), (status = 400, body = Problem),
        (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn messages(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<MessageView>>, Problem> {
    let device = find(&app, &device)?;
    let limit = page.limit()?;
    let before = match page.after() {
        "" => u64::MAX,
        number => number.parse().map_err(|_| bad_cursor())?,
    };
    let messages = app.log.of_device(&device.id, before, limit + 1).await?;
    let items = messages.into_iter().map(MessageView::from).collect();
    Ok(Json(Page::of(items, limit, |item: &MessageView| item.position.to_string())))
}
