//! What operators say of devices: tags and attributes, of one device or of many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use waxwing_wire::{DeviceId, ProductId};

use super::{Item, check_tags, check_zone, find, subject, unknown};
use crate::app::App;
use crate::domain::Device;
use crate::domain::audit::Action;
use crate::domain::device::{ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, Tags, are_attributes};
use crate::domain::query::KEY_BYTES_MAX;
use crate::fleet::Page;
use crate::http::admin::input::{Author, Body, device_query};
use crate::http::admin::{change, products};
use crate::http::{Path, Problem};
use crate::store;

/// Most devices that are labelled in one change: a fifth of a second of the only writer.
const DEVICES_MAX: usize = 10_000;

/// The value of a tag or an attribute.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::admin) struct Label {
    /// What it says; a tag may say nothing.
    #[serde(default)]
    value: String,
}

/// What to change of many devices: those of a list, or those that a query finds now.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::admin) struct Labels {
    /// These devices.
    #[schema(value_type = Option<Vec<String>>)]
    devices: Option<BTreeSet<DeviceId>>,
    /// Whom this query finds.
    query: Option<String>,
    /// With a query: only devices of this product.
    #[schema(value_type = Option<String>)]
    product: Option<ProductId>,
    /// Tags to set.
    #[serde(default)]
    #[schema(value_type = Object)]
    set_tags: Tags,
    /// Keys of tags to remove.
    #[serde(default)]
    remove_tags: BTreeSet<String>,
    /// Attributes to set.
    #[serde(default)]
    set_attributes: BTreeMap<String, String>,
    /// Keys of attributes to remove; what devices say of themselves stays.
    #[serde(default)]
    remove_attributes: BTreeSet<String>,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
pub(in crate::http::admin) struct Labelled {
    /// How many devices there were.
    devices: usize,
    /// How many of them are not as they were before.
    changed: usize,
}

/// Replaces the tags of a device. Its groups may change with them; what it has begun for a group that
/// it leaves, it takes to the end.
#[utoipa::path(put, path = "/api/v1/devices/{device}/tags", operation_id = "tag_device", tag = "devices",
    params(("device" = String, Path)), request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Item), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn tag(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
    author: Author,
    Body(tags): Body<Tags>,
) -> Result<Json<Item>, Problem> {
    one(&app, &author, &device, |device| device.tags = tags).await
}

/// Sets one tag of a device.
#[utoipa::path(put, path = "/api/v1/devices/{device}/tags/{key}", operation_id = "set_tag", tag = "devices",
    params(("device" = String, Path), ("key" = String, Path)), request_body = Label,
    responses((status = 200, body = Item), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn set_tag(
    State(app): State<Arc<App>>,
    Path((device, key)): Path<(String, String)>,
    author: Author,
    Body(Label { value }): Body<Label>,
) -> Result<Json<Item>, Problem> {
    one(&app, &author, &device, |device| drop(device.tags.insert(key, value))).await
}

/// Removes one tag of a device. Doing it twice is no error.
#[utoipa::path(delete, path = "/api/v1/devices/{device}/tags/{key}", operation_id = "remove_tag", tag = "devices",
    params(("device" = String, Path), ("key" = String, Path)),
    responses((status = 200, body = Item), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn remove_tag(
    State(app): State<Arc<App>>,
    Path((device, key)): Path<(String, String)>,
    author: Author,
) -> Result<Json<Item>, Problem> {
    one(&app, &author, &device, |device| drop(device.tags.remove(&key))).await
}

/// Replaces the attributes that operators give a device. What it says of itself stays, and counts where
/// they say nothing.
#[utoipa::path(put, path = "/api/v1/devices/{device}/attributes", operation_id = "describe_device", tag = "devices",
    params(("device" = String, Path)), request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Item), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn describe(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
    author: Author,
    Body(attributes): Body<BTreeMap<String, String>>,
) -> Result<Json<Item>, Problem> {
    one(&app, &author, &device, |device| device.attributes.given = attributes).await
}

/// Sets one attribute that operators give a device.
#[utoipa::path(put, path = "/api/v1/devices/{device}/attributes/{key}", operation_id = "set_attribute", tag = "devices",
    params(("device" = String, Path), ("key" = String, Path)), request_body = Label,
    responses((status = 200, body = Item), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn set_attribute(
    State(app): State<Arc<App>>,
    Path((device, key)): Path<(String, String)>,
    author: Author,
    Body(Label { value }): Body<Label>,
) -> Result<Json<Item>, Problem> {
    one(&app, &author, &device, |device| drop(device.attributes.given.insert(key, value))).await
}

/// Removes one attribute that operators gave a device. Doing it twice is no error.
#[utoipa::path(delete, path = "/api/v1/devices/{device}/attributes/{key}", operation_id = "remove_attribute", tag = "devices",
    params(("device" = String, Path), ("key" = String, Path)),
    responses((status = 200, body = Item), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn remove_attribute(
    State(app): State<Arc<App>>,
    Path((device, key)): Path<(String, String)>,
    author: Author,
) -> Result<Json<Item>, Problem> {
    one(&app, &author, &device, |device| drop(device.attributes.given.remove(&key))).await
}

/// Changes tags and attributes of many devices: of all, or of none if one of them would have too many.
#[utoipa::path(post, path = "/api/v1/labels", operation_id = "label_devices", tag = "devices", request_body = Labels,
    responses((status = 200, body = Labelled), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn label(
    State(app): State<Arc<App>>,
    author: Author,
    Body(labels): Body<Labels>,
) -> Result<Json<Labelled>, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let devices = labels.devices(&app)?;
    let mut changed = Vec::new();
    for old in &devices {
        let mut new = Device::clone(old);
        labels.apply(&mut new);
        if new != *old {
            check(&new)?;
            check_zone(Some(old), &new)?;
            changed.push(Device { changed_at: at, ..new });
        }
    }
    for device in &changed {
        store::devices::update(change.connection(), device).await?;
    }
    let detail = json!({
        "devices": labels.devices, "query": labels.query, "product": labels.product,
        "set_tags": labels.set_tags, "remove_tags": labels.remove_tags,
        "set_attributes": labels.set_attributes, "remove_attributes": labels.remove_attributes,
        "changed": changed.len(),
    });
    let line = (Action::DevicesLabelled, "devices".to_owned(), detail);
    change::record(&mut change, &author, at, line).await?;
    let turn = change.commit().await?;
    let answer = Labelled { devices: devices.len(), changed: changed.len() };
    for device in changed {
        app.fleet.put_device(device);
    }
    drop(turn);
    Ok(Json(answer))
}

impl Labels {
    fn devices(&self, app: &App) -> Result<Vec<Device>, Problem> {
        let refuse =
            |field, detail: String| Err(Problem::refused("invalid_labels", detail).field(field));
        let devices = match (&self.devices, &self.query) {
            (Some(ids), None) => ids.iter().map(|id| app.fleet.device(id)).collect::<Option<_>>(),
            (None, Some(query)) => {
                let product = self.product.as_ref().map(|id| products::find(app, id.as_str()));
                let product = product.transpose()?;
                let page = Page { after: None, limit: DEVICES_MAX + 1 };
                let product = product.as_ref().map(|product| &product.id);
                let found = app.fleet.search(&device_query(query)?, product, page);
                Some(found.devices.into_iter().map(|(_, device)| device).collect::<Vec<_>>())
            }
            (Some(_), Some(_)) | (None, None) => {
                return refuse("devices", "Give either `devices` or `query`.".to_owned());
            }
        };
        let devices = devices.ok_or_else(|| unknown().field("devices"))?;
        if devices.len() > DEVICES_MAX {
            return refuse(
                "query",
                format!("At most {DEVICES_MAX} devices at once. Ask for fewer."),
            );
        }
        Ok(devices)
    }

    fn apply(&self, device: &mut Device) {
        device.tags.retain(|key, _| !self.remove_tags.contains(key));
        device.tags.extend(self.set_tags.clone());
        device.attributes.given.retain(|key, _| !self.remove_attributes.contains(key));
        device.attributes.given.extend(self.set_attributes.clone());
    }
}

/// Changes what operators say of a device.
async fn one(
    app: &App,
    author: &Author,
    device: &str,
    edit: impl FnOnce(&mut Device),
) -> Result<Json<Item>, Problem> {
    let (mut change, at) = change::begin(app).await?;
    let old = find(app, device)?;
    let mut new = Device { changed_at: at, ..Device::clone(&old) };
    edit(&mut new);
    check(&new)?;
    check_zone(Some(&old), &new)?;
    let seen = store::devices::seen(&app.store, &new.id).await?;
    store::devices::update(change.connection(), &new).await?;
    let (action, detail) = if new.attributes == old.attributes {
        (Action::DeviceTagged, json!({ "tags": new.tags }))
    } else {
        (Action::DeviceDescribed, json!({ "attributes": new.attributes.given }))
    };
    change::record(&mut change, author, at, (action, subject(&new), detail)).await?;
    let turn = change.commit().await?;
    let item = Item::new(&new, seen);
    app.fleet.put_device(new);
    drop(turn);
    Ok(Json(item))
}

fn check(device: &Device) -> Result<(), Problem> {
    check_tags(&device.tags)?;
    if are_attributes(&device.attributes.given) {
        return Ok(());
    }
    let detail = format!(
        "At most {ATTRIBUTES_MAX} attributes; a key is 1 to {KEY_BYTES_MAX} letters, digits and \
         `._-:@+`, a value at most {ATTRIBUTE_BYTES_MAX} bytes without control characters."
    );
    Err(Problem::refused("invalid_attributes", detail).field("attributes"))
}
