//! `/api/v1/devices/{device}/gateways`: which other devices may carry what a device says, and its firmware.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use waxwing_wire::DeviceId;

use super::actions::refuse_revoked;
use super::{find, subject};
use crate::app::App;
use crate::domain::Device;
use crate::domain::audit::Action;
use crate::http::admin::change;
use crate::http::admin::input::Author;
use crate::http::admin::output::time;
use crate::http::{Path, Problem};
use crate::store::device_gateways::{self, Grant};

/// Most gateways of one device: those that hear it where it is.
const GATEWAYS_MAX: usize = 16;

/// Most devices that one gateway carries for: as many as a radio hears, and a list that people can read.
const DEVICES_MAX: usize = 256;

/// A device that may carry what another one says.
#[derive(Serialize, ToSchema)]
#[schema(as = GatewayGrant)]
pub(in crate::http::admin) struct View {
    /// Whose messages and firmware are carried.
    #[schema(value_type = String)]
    device: DeviceId,
    /// Who may carry them.
    #[schema(value_type = String)]
    gateway: DeviceId,
    /// Since when, as RFC 3339.
    granted_at: String,
}

impl From<Grant> for View {
    fn from(Grant { device, gateway, granted_at }: Grant) -> Self {
        Self { device, gateway, granted_at: time(granted_at) }
    }
}

/// Returns who may carry for a device, and for whom the device may carry.
#[utoipa::path(get, path = "/api/v1/devices/{device}/gateways", operation_id = "list_gateways",
    tag = "devices", params(("device" = String, Path)),
    responses((status = 200, body = Vec<View>), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn list(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
) -> Result<Json<Vec<View>>, Problem> {
    let device = find(&app, &device)?;
    let grants = device_gateways::of(&app.store, &device.id).await?;
    Ok(Json(grants.into_iter().map(View::from).collect()))
}

/// Lets a device carry what another one says and signs, and its firmware. Doing it twice is no error.
#[utoipa::path(put, path = "/api/v1/devices/{device}/gateways/{gateway}", operation_id = "set_gateway",
    tag = "devices", params(("device" = String, Path), ("gateway" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn set(
    State(app): State<Arc<App>>,
    Path((device, gateway)): Path<(String, String)>,
    author: Author,
) -> Result<StatusCode, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let (device, gateway) = pair(&app, &device, &gateway)?;
    refuse_revoked(&device)?;
    refuse_revoked(&gateway)?;
    check_room(&app, &device, &gateway).await?;
    let line = (Action::DeviceGatewaySet, subject(&device), json!({ "gateway": gateway.id }));
    let grant = Grant { device: device.id, gateway: gateway.id, granted_at: at };
    if device_gateways::add(change.connection(), &grant).await? {
        change::record(&mut change, &author, at, line).await?;
        let turn = change.commit().await?;
        app.gateways.grant(&grant.gateway, &grant.device);
        drop(turn);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a device carry nothing for another one any more. Doing it twice is no error.
#[utoipa::path(delete, path = "/api/v1/devices/{device}/gateways/{gateway}",
    operation_id = "remove_gateway", tag = "devices",
    params(("device" = String, Path), ("gateway" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn remove(
    State(app): State<Arc<App>>,
    Path((device, gateway)): Path<(String, String)>,
    author: Author,
) -> Result<StatusCode, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let (device, gateway) = pair(&app, &device, &gateway)?;
    if device_gateways::remove(change.connection(), &device.id, &gateway.id).await? {
        let detail = json!({ "gateway": gateway.id });
        let line = (Action::DeviceGatewayRemoved, subject(&device), detail);
        change::record(&mut change, &author, at, line).await?;
        let turn = change.commit().await?;
        app.gateways.revoke(&gateway.id, &device.id);
        drop(turn);
    }
    Ok(StatusCode::NO_CONTENT)
}

fn pair(app: &App, device: &str, gateway: &str) -> Result<(Device, Device), Problem> {
    if device == gateway {
        let detail = "A device speaks for itself already. Name another one that may carry for it.";
        return Err(Problem::refused("own_gateway", detail));
    }
    Ok((find(app, device)?, find(app, gateway)?))
}

async fn check_room(app: &App, device: &Device, gateway: &Device) -> Result<(), Problem> {
    let gateways = device_gateways::of(&app.store, &device.id).await?.into_iter();
    let gateways = gateways.filter(|it| it.device == device.id && it.gateway != gateway.id);
    let devices = device_gateways::of(&app.store, &gateway.id).await?.into_iter();
    let devices = devices.filter(|it| it.gateway == gateway.id && it.device != device.id);
    if gateways.count() < GATEWAYS_MAX && devices.count() < DEVICES_MAX {
        return Ok(());
    }
    let detail = format!(
        "A device has {GATEWAYS_MAX} gateways at most, and a gateway carries for {DEVICES_MAX} devices. Take \
         something back first: `GET /api/v1/devices/{}/gateways`.",
        device.id
    );
    Err(Problem::conflict("too_many_gateways", detail))
}
