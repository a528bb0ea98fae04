//! `/api/v1/devices`: identities, what they are called by, and what was last seen of them.

mod actions;
mod certificates;
pub(super) mod commands;
pub(super) mod gateways;
mod labels;
mod messages;
pub(super) mod readers;
mod secret;
mod standing;
mod telemetry;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use waxwing_wire::{DeviceId, ProductId};

pub(super) use self::actions::*;
pub(super) use self::certificates::*;
pub(super) use self::labels::*;
pub(super) use self::messages::*;
pub(super) use self::secret::*;
pub(super) use self::standing::*;
pub(super) use self::telemetry::*;
pub(super) use self::view::{DeviceView, Item};
use super::input::{Author, Body, DevicesQuery, Query, limit, name};
use super::output::Page;
use super::{change, products};
use crate::app::App;
use crate::domain::Device;
use crate::domain::audit::Action;
use crate::domain::device::{
    Attributes, Status, TAG_BYTES_MAX, TAGS_MAX, TIME_ZONE_TAG, Tags, are_tags,
};
use crate::domain::query::KEY_BYTES_MAX;
use crate::http::{Path, Problem};
use crate::store;

/// A device to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDevice {
    /// Its name, which its certificates will carry.
    #[schema(value_type = String, example = "th1-000123")]
    id: DeviceId,
    /// What it is.
    #[schema(value_type = String)]
    product: ProductId,
    /// What operators call it by.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"site": "berlin"}))]
    tags: Tags,
}

/// Returns devices, by name.
#[utoipa::path(get, path = "/api/v1/devices", operation_id = "list_devices", tag = "devices", params(DevicesQuery),
    responses((status = 200, body = Page<Item>), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<DevicesQuery>,
) -> Result<Json<Page<Item>>, Problem> {
    let limit = limit(query.limit)?;
    let after = query.after.unwrap_or_default();
    let product = query.product.as_deref();
    let page = store::devices::page(&app.store, product, &after, limit + 1).await?;
    let items = page
        .into_iter()
        .filter_map(|(id, seen)| app.fleet.device(&id).map(|device| Item::new(&device, seen)));
    Ok(Json(Page::of(items.collect(), limit, |item: &Item| item.id.to_string())))
}

/// Returns a device with its certificates, deployments and latest telemetry.
#[utoipa::path(get, path = "/api/v1/devices/{device}", operation_id = "show_device", tag = "devices",
    params(("device" = String, Path)),
    responses((status = 200, body = DeviceView), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
) -> Result<Json<DeviceView>, Problem> {
    let device = find(&app, &device)?;
    let seen = store::devices::seen(&app.store, &device.id).await?;
    let telemetry = app.log.last_telemetry(&device.id).await?;
    Ok(Json(DeviceView::new(&app, &device, seen, telemetry)))
}

/// Registers a device. It can enrol once it has a token.
#[utoipa::path(post, path = "/api/v1/devices", operation_id = "create_device", tag = "devices", request_body = NewDevice,
    responses((status = 201, body = Item), (status = 400, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    author: Author,
    Body(new): Body<NewDevice>,
) -> Result<(StatusCode, Json<Item>), Problem> {
    check_tags(&new.tags)?;
    if app.fleet.product(&new.product).is_none() {
        return Err(Problem::refused("unknown_product", products::NEXT_STEP).field("product"));
    }
    let (mut change, at) = change::begin(&app).await?;
    if app.fleet.device(&new.id).is_some() {
        let detail = format!("There is a device {} already. Choose another id.", new.id);
        return Err(Problem::conflict("device_exists", detail).field("id"));
    }
    let device = device(new, at);
    check_zone(None, &device)?;
    store::devices::add(change.connection(), &device).await?;
    let (subject, detail) = (subject(&device), json!({ "product": device.product }));
    change::record(&mut change, &author, at, (Action::DeviceCreated, subject, detail)).await?;
    let turn = change.commit().await?;
    let item = Item::new(&device, None);
    app.fleet.put_device(device);
    drop(turn);
    Ok((StatusCode::CREATED, Json(item)))
}

/// Returns a device by its name in a path.
fn find(app: &App, device: &str) -> Result<Device, Problem> {
    app.fleet.device(&name(device, unknown)?).ok_or_else(unknown)
}

fn unknown() -> Problem {
    let detail = "There is no such device. `GET /api/v1/devices` lists them.";
    Problem::not_found("unknown_device", detail)
}

fn subject(device: &Device) -> String {
    format!("device/{}", device.id)
}

/// Checks that tags are few and short, and queries can ask for them.
pub(super) fn check_tags(tags: &Tags) -> Result<(), Problem> {
    if are_tags(tags) {
        return Ok(());
    }
    let detail = format!(
        "At most {TAGS_MAX} tags; a key is 1 to {KEY_BYTES_MAX} letters, digits and `._-:@+`, a value at \
         most {TAG_BYTES_MAX} bytes without control characters."
    );
    Err(Problem::refused("invalid_tags", detail).field("tags"))
}

/// Checks that a time zone that a device gets is one: what was there before stays.
pub(super) fn check_zone(old: Option<&Device>, new: &Device) -> Result<(), Problem> {
    let Some(name) = new.unknown_zone() else { return Ok(()) };
    if old.is_some_and(|old| old.tags.get(TIME_ZONE_TAG) == new.tags.get(TIME_ZONE_TAG)) {
        return Ok(());
    }
    let detail = format!(
        "`{name}` is no time zone of the IANA database, such as Europe/Berlin. The maintenance windows of \
         {} would be those of UTC.",
        new.id
    );
    Err(Problem::refused("unknown_time_zone", detail).field(format!("tags.{TIME_ZONE_TAG}")))
}

fn device(new: NewDevice, at: u64) -> Device {
    Device {
        id: new.id,
        product: new.product,
        tags: new.tags,
        attributes: Attributes::default(),
        version: None,
        status: Status::Registered,
        created_at: at,
        changed_at: at,
        certificates: Vec::new(),
        message_secret: None,
    }
}
