//! `/v1/gateway/...`: what a gateway carries for devices that cannot reach the server.
//!
//! The gateway comes with its own certificate, and a grant of an operator for each device; that lets it
//! hand things over and no more. What it hands over is judged by the key of the device that sealed it, with
//! the checks of every other message, so a gateway can drop and delay, and nothing else. What goes down is
//! signed for the device as ever. Not here: how a gateway talks to its devices.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::future::join_all;
use waxwing_wire::DeviceId;
use waxwing_wire::envelope::{Envelope, Header, SEALED_POLL_BYTES_MAX};
use waxwing_wire::relay::{self, Answer, BATCH_BYTES_MAX, Carried, Outcome, Told};
use waxwing_wire::topic::Kind;

use super::admission::Caller;
use super::{images, poll};
use crate::app::App;
use crate::domain::Device;
use crate::domain::device::Status;
use crate::gateways::polls::Noted;
use crate::http::{Path, Problem, body};
use crate::ingest::{self, Accepted, Refused};
use crate::logging::Chain;

/// Where a gateway hands over messages.
pub const MESSAGES_PATH: &str = "/v1/gateway/messages";
/// Where it asks for a device.
pub const POLL_PATH: &str = "/v1/gateway/poll";
/// Where it gets firmware for a device.
pub const IMAGE_ROUTE: &str = "/v1/gateway/{device}/images/{sha256}";

/// Takes in what devices said, and says of each message what became of it. They are written together.
pub async fn messages(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Answer>, Problem> {
    let batch = body::read(body, BATCH_BYTES_MAX).await?;
    let messages = relay::decode(&batch)
        .map_err(|error| Problem::bad_request("batch_malformed", error.to_string()))?;
    let outcomes = messages.into_iter().map(|message| take_in(&app, &caller, message));
    Ok(Json(Answer { outcomes: join_all(outcomes).await }))
}

async fn take_in(app: &App, caller: &Caller, Carried { kind, envelope }: Carried<'_>) -> Told {
    let Ok(Envelope { header, .. }) = Envelope::parse(envelope.as_bytes()) else {
        return refused(None, "refused_malformed");
    };
    if granted(app, caller, &header.device_id).is_none() {
        return refused(Some(header), NOT_GRANTED);
    }
    // Presence is what a device's own connection says it is.
    if kind == Kind::State {
        return refused(Some(header), "refused_kind");
    }
    let taken = app.take_in(&header.device_id, kind, envelope.as_bytes()).await;
    let (outcome, code) = (outcome(&taken), ingest::word(&taken).to_owned());
    Told { device_id: Some(header.device_id), message_id: Some(header.message_id), outcome, code }
}

/// Answers the poll of a device as if it had come itself.
pub async fn poll(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let sealed = body::read(body, SEALED_POLL_BYTES_MAX).await?;
    let envelope = Envelope::parse_poll(&sealed).map_err(poll::malformed)?;
    let device = &envelope.header.device_id;
    let device = granted(&app, &caller, device).ok_or_else(not_granted)?;
    let now_ms = app.director.now_ms()?;
    if let Err(refused) = app.ingest.poll(&device.id, &envelope, now_ms) {
        let (gateway, reason) = (&caller.device.id, Chain(&refused));
        tracing::warn!(device.id = %device.id, %gateway, %reason, "poll refused");
        app.alerts.refusals.note(&device.id, &refused);
        return Err(not_the_devices(&refused));
    }
    match app.gateways.polls.take(&app.store, &envelope.header, now_ms).await? {
        Noted::New => poll::answer(&app, &device, envelope.payload.as_bytes()).await,
        Noted::Replayed => {
            Err(forbidden("poll_replayed", "The poll came before. The device has to ask anew."))
        }
        Noted::TooOld => Err(not_the_devices(&Refused::Stale)),
    }
}

/// Answers an image that a device may read, or the range of it that was asked for.
pub async fn image(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((device, sha256)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let device = DeviceId::parse(&device).ok();
    let device = device.and_then(|device| granted(&app, &caller, &device));
    let device = device.ok_or_else(not_granted)?;
    let sha256 = sha256.parse().map_err(|_| images::unknown())?;
    images::serve(&app, &device.id, &sha256, &headers).await
}

/// Returns the record of a device that the caller may carry for, unless it is revoked.
fn granted(app: &App, caller: &Caller, device: &DeviceId) -> Option<Device> {
    let is_granted = app.gateways.may_carry(&caller.device.id, device);
    let device = app.fleet.device(device).filter(|_| is_granted)?;
    (device.status != Status::Revoked).then_some(device)
}

/// Says what the gateway is to do about a message.
const fn outcome(taken: &Result<Accepted, Refused>) -> Outcome {
    match taken {
        Ok(_) => Outcome::Stored,
        Err(Refused::Stale) => Outcome::Stale,
        Err(refused) if refused.may_be_sent_again() => Outcome::Later,
        Err(_) => Outcome::Refused,
    }
}

fn refused(header: Option<Header>, code: &str) -> Told {
    let (device_id, message_id) = header.map(|it| (it.device_id, it.message_id)).unzip();
    Told { device_id, message_id, outcome: Outcome::Refused, code: code.to_owned() }
}

/// The code of what a gateway has no grant for.
const NOT_GRANTED: &str = "gateway_not_granted";

/// The same for a device that is not there: who is, is nobody's business.
fn not_granted() -> Problem {
    forbidden(
        NOT_GRANTED,
        "You may carry nothing for this device. An operator grants it: `waxwing device gateway`.",
    )
}

fn not_the_devices(refused: &Refused) -> Problem {
    if matches!(refused, Refused::Stale) {
        return forbidden(
            "poll_stale",
            "The poll was sealed too long ago, or in the future. The device has to ask anew, and the \
             gateway to look at its clock.",
        );
    }
    forbidden("poll_forged", "The signature is not the device's.")
}

fn forbidden(code: &'static str, detail: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, detail)
}
