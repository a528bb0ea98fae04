//! What can be done to a device: let it enrol, shut it out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use waxwing_wire::RolloutId;

use super::{Item, find, subject};
use crate::app::App;
use crate::domain::audit::Action;
use crate::domain::device::Status;
use crate::domain::{Deployment, Device};
use crate::http::admin::auth::token_sha256;
use crate::http::admin::change;
use crate::http::admin::input::Author;
use crate::http::admin::output::time;
use crate::http::{Path, Problem};
use crate::random;
use crate::revocation;
use crate::store::{self, Change};

/// Random bytes of an enrolment token.
const TOKEN_BYTES: usize = 32;

/// Life of an enrolment token: from the printer to the production line, and a week-end.
const TOKEN_LIFE_MS: u64 = 7 * 24 * 3600 * 1000;

/// An enrolment token. It is shown this once.
#[derive(Serialize, ToSchema)]
pub(in crate::http::admin) struct Token {
    /// The password for EST `simpleenroll`; the user name is the id of the device.
    token: String,
    /// Until when it is good, as RFC 3339.
    expires_at: String,
}

/// Makes a one-time token with which the device gets its first certificate. One that was made before
/// and not used ends.
#[utoipa::path(post, path = "/api/v1/devices/{device}/tokens", operation_id = "create_device_token", tag = "devices",
    params(("device" = String, Path)),
    responses((status = 201, body = Token), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(in crate::http::admin) async fn create_token(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
    author: Author,
) -> Result<(StatusCode, Json<Token>), Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let device = find(&app, &device)?;
    refuse_revoked(&device)?;
    let token = URL_SAFE_NO_PAD.encode(random::bytes::<TOKEN_BYTES>(app.random.as_ref()));
    let (sha256, expires_at) = (token_sha256(&token), at.saturating_add(TOKEN_LIFE_MS));
    let db = change.connection();
    store::enrolment::add_token(db, &sha256, &device.id, at, expires_at).await?;
    let line = (Action::TokenCreated, subject(&device), json!({}));
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    Ok((StatusCode::CREATED, Json(Token { token, expires_at: time(expires_at) })))
}

/// Shuts a device out for good: its certificates, tokens and connections end at once. Doing it twice
/// is no error.
#[utoipa::path(post, path = "/api/v1/devices/{device}/revoke", operation_id = "revoke_device", tag = "devices",
    params(("device" = String, Path)),
    responses((status = 200, body = Item), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn revoke(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
    author: Author,
) -> Result<Json<Item>, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let device = find(&app, &device)?;
    let seen = store::devices::seen(&app.store, &device.id).await?;
    if device.status == Status::Revoked {
        return Ok(Json(Item::new(&device, seen)));
    }
    let device = Device {
        status: Status::Revoked,
        changed_at: at,
        certificates: Vec::new(),
        message_secret: None,
        ..Device::clone(&device)
    };
    store::devices::update(change.connection(), &device).await?;
    store::devices::shut_out(change.connection(), &device.id, at).await?;
    store::commands::shut_out(change.connection(), &device.id, at).await?;
    let skipped = open_deployments(&app, &device);
    skip(&mut change, &device, &skipped, at).await?;
    let line = (Action::DeviceRevoked, subject(&device), json!({ "skipped": names(&skipped) }));
    change::record(&mut change, &author, at, line).await?;
    let turn = change.commit().await?;
    let item = Item::new(&device, seen);
    for (rollout, deployment) in &skipped {
        app.fleet.put_deployment(&device.id, rollout, deployment.skipped(at));
    }
    let id = device.id.clone();
    // In this order: a connection that is just being made looks at the record once it is known.
    app.fleet.put_device(device);
    app.orders.forget(&id);
    revocation::follow_up(&app, &id).await;
    drop(turn);
    Ok(Json(item))
}

/// A device that is shut out takes no part any more; what it had not finished is skipped.
fn open_deployments(app: &App, device: &Device) -> Vec<(RolloutId, Deployment)> {
    let deployments = app.fleet.deployments_of(&device.id).into_iter();
    deployments.filter(|(_, deployment)| !deployment.state.is_final()).collect()
}

fn names(deployments: &[(RolloutId, Deployment)]) -> Vec<&RolloutId> {
    deployments.iter().map(|(rollout, _)| rollout).collect()
}

/// Writes that there is nothing to do any more for a device in these rollouts.
async fn skip(
    change: &mut Change,
    device: &Device,
    deployments: &[(RolloutId, Deployment)],
    at: u64,
) -> Result<(), Problem> {
    for (rollout, deployment) in deployments {
        let skipped = deployment.skipped(at);
        store::deployments::put(change.connection(), rollout, &device.id, &skipped).await?;
    }
    Ok(())
}

pub(super) fn refuse_revoked(device: &Device) -> Result<(), Problem> {
    if device.status != Status::Revoked {
        return Ok(());
    }
    let detail = "The device is revoked for good. Register it under a new id.";
    Err(Problem::conflict("device_revoked", detail))
}
