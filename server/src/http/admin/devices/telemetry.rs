//! `/api/v1/devices/{device}/telemetry`: what a device measured last, and in the last 24 hours.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::super::input::{PageQuery, Query};
use super::super::output::time;
use super::find;
use super::messages::payload;
use crate::app::App;
use crate::http::admin::audit::bad_cursor;
use crate::http::{Path, Problem};
use crate::store::messages::Logged;

/// How far back readings are shown, in milliseconds: a day. What is older is in the message log.
const SHOWN_MS: u64 = 24 * 3600 * 1000;

/// What a device measured.
#[derive(Serialize, ToSchema)]
pub(in crate::http::admin) struct Telemetry {
    /// The last that came, however long ago.
    last: Option<Measured>,
    /// Those of the last 24 hours, the newest first, as far as they are kept.
    items: Vec<Measured>,
    /// Pass it as `after` to get the next page; `null` on the last one.
    next: Option<String>,
}

/// One message of telemetry.
#[derive(Serialize, ToSchema)]
pub(in crate::http::admin) struct Measured {
    /// Its place in the message log.
    position: u64,
    /// When it came, as RFC 3339.
    received_at: String,
    /// What the device said.
    #[schema(value_type = Object)]
    payload: Option<Box<RawValue>>,
}

impl From<Logged> for Measured {
    fn from(Logged { position, message }: Logged) -> Self {
        let received_at = time(message.received_at);
        Self { position, received_at, payload: payload(&message.envelope) }
    }
}

/// Returns what a device measured last, and in the last 24 hours.
#[utoipa::path(get, path = "/api/v1/devices/{device}/telemetry", operation_id = "show_telemetry",
    tag = "devices", params(("device" = String, Path), PageQuery),
    responses((status = 200, body = Telemetry), (status = 400, body = Problem),
        (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn telemetry(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Telemetry>, Problem> {
    let device = find(&app, &device)?;
    let limit = page.limit()?;
    let before = match page.after() {
        "" => u64::MAX,
        number => number.parse().map_err(|_| bad_cursor())?,
    };
    let since_ms = app.clock.now_ms().saturating_sub(SHOWN_MS);
    let mut found = app.log.telemetry(&device.id, since_ms, before, limit + 1).await?;
    let has_more = found.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = found.last().filter(|_| has_more).map(|last| last.position.to_string());
    let last = app.log.last_telemetry(&device.id).await?.map(Measured::from);
    Ok(Json(Telemetry { last, items: found.into_iter().map(Measured::from).collect(), next }))
}
