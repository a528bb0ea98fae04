//! `/api/v1/devices/{device}/readers`: which other devices may read what a device says, over MQTT.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use waxwing_wire::DeviceId;
use waxwing_wire::topic::{Direction, Kind};

use super::actions::refuse_revoked;
use super::{find, subject};
use crate::app::App;
use crate::domain::Device;
use crate::domain::audit::Action;
use crate::http::admin::change;
use crate::http::admin::input::{Author, Body};
use crate::http::admin::output::time;
use crate::http::{Path, Problem};
use crate::store::device_readers::{self, Grant};

/// Most devices that may read what one device says, and that one device may read: each message is handed
/// to all of them, and each has a small memory.
const GRANTS_MAX: usize = 16;

/// What a device may read of another one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::admin) struct NewGrant {
    /// Kinds of messages: `telemetry`, `report`, `state`, `response`.
    #[schema(example = json!(["telemetry"]))]
    kinds: Vec<String>,
}

/// A device that may read what another one says.
#[derive(Serialize, ToSchema)]
#[schema(as = Grant)]
pub(in crate::http::admin) struct View {
    /// What is read.
    #[schema(value_type = String)]
    device: DeviceId,
    /// Who may read it.
    #[schema(value_type = String)]
    reader: DeviceId,
    /// Which messages.
    kinds: Vec<&'static str>,
    /// Since when, as RFC 3339.
    granted_at: String,
}

impl From<Grant> for View {
    fn from(Grant { device, reader, kinds, granted_at }: Grant) -> Self {
        let kinds = kinds.into_iter().map(Kind::as_str).collect();
        Self { device, reader, kinds, granted_at: time(granted_at) }
    }
}

/// Returns who may read what a device says, and what the device may read of others.
#[utoipa::path(get, path = "/api/v1/devices/{device}/readers", operation_id = "list_readers",
    tag = "devices", params(("device" = String, Path)),
    responses((status = 200, body = Vec<View>), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn list(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
) -> Result<Json<Vec<View>>, Problem> {
    let device = find(&app, &device)?;
    let grants = device_readers::of(&app.store, &device.id).await?;
    Ok(Json(grants.into_iter().map(View::from).collect()))
}

/// Lets a device read these messages of another one: it may subscribe to their topics. What it could
/// read of it before it can read no more.
#[utoipa::path(put, path = "/api/v1/devices/{device}/readers/{reader}", operation_id = "set_reader",
    tag = "devices", params(("device" = String, Path), ("reader" = String, Path)),
    request_body = NewGrant,
    responses((status = 200, body = View), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn set(
    State(app): State<Arc<App>>,
    Path((device, reader)): Path<(String, String)>,
    author: Author,
    Body(NewGrant { kinds }): Body<NewGrant>,
) -> Result<Json<View>, Problem> {
    let kinds = kinds_of(&kinds)?;
    let (mut change, at) = change::begin(&app).await?;
    let (device, reader) = pair(&app, &device, &reader)?;
    refuse_revoked(&device)?;
    refuse_revoked(&reader)?;
    check_room(&app, &device, &reader).await?;
    let words: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
    let detail = json!({ "reader": reader.id, "kinds": words });
    let (id, reader) = (device.id.clone(), reader.id);
    let grant = Grant { device: id, reader, kinds, granted_at: at };
    device_readers::put(change.connection(), &grant).await?;
    let line = (Action::DeviceReaderSet, subject(&device), detail);
    change::record(&mut change, &author, at, line).await?;
    let turn = change.commit().await?;
    app.mqtt.grants.set(&grant.reader, &grant.device, &grant.kinds);
    drop(turn);
    Ok(Json(View::from(grant)))
}

/// Lets a device read nothing of another one any more: its subscriptions to it end. Doing it twice is no
/// error.
#[utoipa::path(delete, path = "/api/v1/devices/{device}/readers/{reader}",
    operation_id = "remove_reader", tag = "devices",
    params(("device" = String, Path), ("reader" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn remove(
    State(app): State<Arc<App>>,
    Path((device, reader)): Path<(String, String)>,
    author: Author,
) -> Result<StatusCode, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let (device, reader) = pair(&app, &device, &reader)?;
    if device_readers::remove(change.connection(), &device.id, &reader.id).await? {
        let detail = json!({ "reader": reader.id });
        let line = (Action::DeviceReaderRemoved, subject(&device), detail);
        change::record(&mut change, &author, at, line).await?;
        let turn = change.commit().await?;
        app.mqtt.grants.set(&reader.id, &device.id, &BTreeSet::new());
        drop(turn);
    }
    Ok(StatusCode::NO_CONTENT)
}

fn pair(app: &App, device: &str, reader: &str) -> Result<(Device, Device), Problem> {
    if device == reader {
        let detail = "A device knows what it says itself. Name another one that may read it.";
        return Err(Problem::refused("own_reader", detail));
    }
    Ok((find(app, device)?, find(app, reader)?))
}

async fn check_room(app: &App, device: &Device, reader: &Device) -> Result<(), Problem> {
    let readers = device_readers::of(&app.store, &device.id).await?.into_iter();
    let readers = readers.filter(|grant| grant.device == device.id && grant.reader != reader.id);
    let read = device_readers::of(&app.store, &reader.id).await?.into_iter();
    let read = read.filter(|grant| grant.reader == reader.id && grant.device != device.id);
    if readers.count() < GRANTS_MAX && read.count() < GRANTS_MAX {
        return Ok(());
    }
    let detail = format!(
        "{GRANTS_MAX} devices may read one device, and one device {GRANTS_MAX} others. Take something back \
         first: `GET /api/v1/devices/{}/readers`.",
        device.id
    );
    Err(Problem::conflict("too_many_readers", detail))
}

/// Reads the kinds: one at least, and only what devices send.
fn kinds_of(words: &[String]) -> Result<BTreeSet<Kind>, Problem> {
    let upward = |kind: &Kind| kind.direction() == Direction::Up;
    let kind = |word: &String| Kind::ALL.into_iter().filter(upward).find(|it| it.as_str() == word);
    let kinds = words.iter().map(kind).collect::<Option<BTreeSet<_>>>();
    kinds.filter(|kinds| !kinds.is_empty()).ok_or_else(|| {
        let detail = "Name one kind or more: telemetry, report, state, response.";
        Problem::refused("invalid_kinds", detail).field("kinds")
    })
}
