//! `/api/v1/devices/{device}/message-secret`: how an existing device signs its telemetry (D23).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::actions::refuse_revoked;
use super::{find, subject};
use crate::app::App;
use crate::domain::Device;
use crate::domain::audit::Action;
use crate::http::admin::change;
use crate::http::admin::input::{Author, Body};
use crate::http::{Path, Problem};
use crate::message_secrets::{SECRET_BYTES_MAX, SECRET_BYTES_MIN, Secret};
use crate::random;
use crate::store;

/// Random bytes of a secret that the server makes.
const RANDOM_BYTES: usize = 32;

/// The secret of a device.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::admin) struct NewSecret {
    /// What the device has; without it the server makes one.
    #[serde(default)]
    secret: Option<String>,
}

/// The secret of a device. It is shown this once.
#[derive(Serialize, ToSchema)]
pub(in crate::http::admin) struct ShownSecret {
    /// What the device signs with; `null` if it was given and need not be shown.
    secret: Option<String>,
}

/// Lets a device sign its telemetry with a secret (HMAC-SHA256, docs/protocol.md) and no longer with
/// the key of its certificate, for devices that can do nothing else. A secret that it had is no good
/// any more.
#[utoipa::path(put, path = "/api/v1/devices/{device}/message-secret", operation_id = "set_message_secret",
    tag = "devices", params(("device" = String, Path)), request_body = NewSecret,
    responses((status = 200, body = ShownSecret), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn set_secret(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
    author: Author,
    Body(NewSecret { secret: given }): Body<NewSecret>,
) -> Result<Json<ShownSecret>, Problem> {
    let is_given = given.is_some();
    let secret = given.map_or_else(|| made(&app), Zeroizing::new);
    let secret = Secret::parse(secret).ok_or_else(unfit)?;
    let line = (Action::DeviceSecretSet, json!({ "given": is_given }));
    change_secret(&app, &device, &author, line, Some(&secret)).await?;
    let shown = (!is_given).then(|| secret.to_text().to_owned());
    Ok(Json(ShownSecret { secret: shown }))
}

/// Lets a device sign its telemetry with the key of its certificate again. Doing it twice is no error.
#[utoipa::path(delete, path = "/api/v1/devices/{device}/message-secret",
    operation_id = "remove_message_secret", tag = "devices", params(("device" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(in crate::http::admin) async fn remove_secret(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
    author: Author,
) -> Result<StatusCode, Problem> {
    change_secret(&app, &device, &author, (Action::DeviceSecretRemoved, json!({})), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn change_secret(
    app: &App,
    device: &str,
    author: &Author,
    (action, detail): (Action, serde_json::Value),
    secret: Option<&Secret>,
) -> Result<(), Problem> {
    let (mut change, at) = change::begin(app).await?;
    let device = find(app, device)?;
    refuse_revoked(&device)?;
    if secret.is_none() && device.message_secret.is_none() {
        return Ok(());
    }
    let message_secret = secret.map(|secret| app.vault.seal(&device.id, secret));
    let device = Device { message_secret, ..device };
    store::devices::update(change.connection(), &device).await?;
    change::record(&mut change, author, at, (action, subject(&device), detail)).await?;
    let turn = change.commit().await?;
    app.fleet.put_device(device);
    drop(turn);
    Ok(())
}

fn made(app: &App) -> Zeroizing<String> {
    let bytes = Zeroizing::new(random::bytes::<RANDOM_BYTES>(app.random.as_ref()));
    Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))
}

fn unfit() -> Problem {
    let detail = format!(
        "A secret is {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} letters, digits and signs of ASCII without \
         spaces. Leave the field out, and the server makes one."
    );
    Problem::refused("unfit_secret", detail).field("secret")
}
