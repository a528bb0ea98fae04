//! `POST /v1/poll`: what should I run?
//!
//! The answer is exactly the metadata the device lacks, in the order in which it needs it; for an
//! idle device one timestamp, signed here and now for its nonce. Everything comes from memory, and
//! no row is written. Not here: the decision (`domain`), its signature ([`crate::director`]).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use waxwing_tuf::author;
use waxwing_wire::bundle::{self, Kind, TooLarge, Writer};
use waxwing_wire::envelope::Envelope;
use waxwing_wire::poll::{POLL_BYTES_MAX, Request};
use waxwing_wire::{DeviceId, topic};

use super::admission::Caller;
use crate::app::App;
use crate::director::Director;
use crate::domain::{Decision, Device, Running};
use crate::fleet::Told;
use crate::http::{Problem, body, to_the_end};
use crate::metrics::Poll;
use crate::repositories::{Files, PinsFile};
use crate::store::devices;

/// The least time between two decisions made anew for a device. Each is a write, and a device may
/// claim to know whatever it likes; one that is honest needs it once, after a backup was
/// restored.
const ANEW_PAUSE: Duration = Duration::from_mins(1);

/// When a device should ask again that is about to be offered something: by then that is written.
const SOON_S: u32 = 5;

/// Answers a poll.
pub async fn poll(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let question = body::read(body, POLL_BYTES_MAX).await?;
    answer(&app, &caller.device, &question).await
}

/// Answers the poll of a device that was recognised.
pub(super) async fn answer(
    app: &Arc<App>,
    device: &Device,
    question: &[u8],
) -> Result<Response, Problem> {
    let answered = bundle(app, device, question).await;
    app.metrics.poll(answered.as_ref().map_or(Poll::Refused, |(outcome, _)| *outcome));
    answered.map(|(_, bundle)| {
        const BUNDLE: HeaderValue = HeaderValue::from_static(bundle::MEDIA_TYPE);
        ([(header::CONTENT_TYPE, BUNDLE)], bundle).into_response()
    })
}

async fn bundle(
    app: &Arc<App>,
    device: &Device,
    question: &[u8],
) -> Result<(Poll, Vec<u8>), Problem> {
    let request = Request::decode(question).map_err(malformed)?;
    if request.product != device.product {
        return Err(wrong_product(device, &request));
    }
    let mut bundle = Writer::for_device();
    // First: a report may change what the device should run.
    acknowledge(app, &device.id, &request, &mut bundle).await?;
    let roots = app.repositories.director().ok_or_else(not_rooted)?;
    let now_ms = app.director.now_ms()?;
    let decided = decide(app, &device.id, &request, now_ms).await?;
    roots_for(&request, &roots, &mut bundle)?;
    director_files(app, &device.id, &request, &decided, now_ms, &mut bundle)?;
    let needs_pins = decided.needs_pins(&request);
    if decided.decision.offer.is_some() || needs_pins {
        let offer = decided.decision.offer.as_ref();
        let path = offer.map(|offer| offer.release.path.as_str());
        image_files(app, device, &request, (path, needs_pins), &mut bundle);
    }
    let outcome = if decided.is_known_to(&request) { Poll::Idle } else { Poll::Decided };
    let usual_s = app.config.poll.retry_after_s;
    let retry_after_s = if decided.soon { usual_s.min(SOON_S) } else { usual_s };
    Ok((outcome, bundle.finish(retry_after_s)))
}

/// A decision under the version with which it is signed.
struct Decided {
    decision: Decision,
    version: u64,
    /// Whether an offer is about to be made.
    soon: bool,
}

impl Decided {
    fn is_known_to(&self, request: &Request) -> bool {
        ["d.snapshot", "d.targets"].into_iter().all(|role| have(request, role) == self.version)
    }

    /// Tells whether the device has to look at pins: they are named in a decision that is new to it,
    /// or it uses others.
    fn needs_pins(&self, request: &Request) -> bool {
        let pins = self.decision.pins;
        pins.is_some_and(|pins| !self.is_known_to(request) || request.pins != Some(pins.sha256))
    }
}

/// Decides; a device that has a later decision than ours, which a database restored from a backup
/// does not know, gets one made anew now (D3).
async fn decide(
    app: &Arc<App>,
    device: &DeviceId,
    request: &Request,
    now_ms: u64,
) -> Result<Decided, Problem> {
    let running = Running {
        version: request.fw.clone(),
        sha256: request.fw_sha256,
        security_version: request.security_version,
        pins: request.pins,
        out_s: request.out_s.unwrap_or(0),
    };
    let decided = || {
        let Told { decision, soon } = app.fleet.poll(device, &running, now_ms).ok_or_else(gone)?;
        Ok(Decided { version: Director::version(&decision, now_ms), decision, soon })
    };
    let first: Decided = decided()?;
    let known = have(request, "d.snapshot").max(have(request, "d.targets"));
    // A version from the future cannot be reached: the Director's root has to be rotated.
    let is_due = app.fleet.device(device).is_some_and(|device| is_anew_due(&device, now_ms));
    if known <= first.version || known > now_ms || !is_due {
        return Ok(first);
    }
    to_the_end(make_anew(Arc::clone(app), device.clone(), now_ms)).await?;
    decided()
}

/// Tells whether the device's decision may be made anew: [`ANEW_PAUSE`] after it last changed.
fn is_anew_due(device: &Device, now_ms: u64) -> bool {
    Duration::from_millis(now_ms.saturating_sub(device.changed_at)) >= ANEW_PAUSE
}

async fn make_anew(app: Arc<App>, device: DeviceId, now_ms: u64) -> Result<(), Problem> {
    let mut change = app.store.begin().await?;
    let device = app.fleet.device(&device).ok_or_else(gone)?;
    if !is_anew_due(&device, now_ms) {
        // Another poll of the device was faster.
        return Ok(());
    }
    let device = Device { changed_at: app.fleet.stamp(now_ms), ..Device::clone(&device) };
    devices::update(change.connection(), &device).await?;
    let turn = change.commit().await?;
    tracing::warn!(device.id = %device.id, "device knew a decision of which nothing is stored");
    app.fleet.put_device(device);
    drop(turn);
    Ok(())
}

/// Takes in the reports that came with the poll, and names those that need not come again.
async fn acknowledge(
    app: &App,
    device: &DeviceId,
    request: &Request,
    bundle: &mut Writer,
) -> Result<(), Problem> {
    for report in &request.reports {
        let taken = app.take_in(device, topic::Kind::Report, report.as_bytes());
        let is_settled = taken.await.map_or_else(|refused| !refused.may_be_sent_again(), |_| true);
        if let (true, Ok(envelope)) = (is_settled, Envelope::parse(report.as_bytes())) {
            let id = &envelope.header.message_id;
            bundle.push(Kind::Acknowledged, id.as_str(), b"").map_err(too_large)?;
        }
    }
    Ok(())
}

fn roots_for(request: &Request, roots: &Files, bundle: &mut Writer) -> Result<(), Problem> {
    for file in roots.roots_after(have(request, "d.root")) {
        bundle.push(Kind::Director, file.name, file.bytes).map_err(too_large)?;
    }
    Ok(())
}

fn director_files(
    app: &App,
    device: &DeviceId,
    request: &Request,
    decided: &Decided,
    now_ms: u64,
    bundle: &mut Writer,
) -> Result<(), Problem> {
    let version = decided.version;
    let timestamp = app.director.timestamp(device, request.nonce, now_ms, version)?;
    bundle.push(Kind::Director, "timestamp.json", &timestamp).map_err(too_large)?;
    if decided.is_known_to(request) {
        return Ok(());
    }
    let snapshot = app.director.snapshot(version)?;
    bundle
        .push(Kind::Director, &format!("{version}.snapshot.json"), &snapshot)
        .map_err(too_large)?;
    let targets = app.director.targets(device, &decided.decision, version)?;
    bundle.push(Kind::Director, &format!("{version}.targets.json"), &targets).map_err(too_large)
}

/// Adds what the device lacks of the Image repository to find the path that it will look for, if
/// any, and pins: only who has something to install, or pins to look at, looks there. What there is no
/// room for after many or long roots comes with the next poll: the device keeps what it has checked.
fn image_files(
    app: &App,
    device: &Device,
    request: &Request,
    (path, with_pins): (Option<&str>, bool),
    bundle: &mut Writer,
) {
    let Some(files) = app.repositories.image(&device.product) else { return };
    let roots = files.roots_after(have(request, "i.root"));
    let others = files.lacking(path, |role| have(request, &format!("i.{role}")));
    let pins = files.pins().filter(|pins| with_pins && request.pins != Some(pins.sha256));
    let pins = pins.map(PinsFile::file);
    let mut files = roots.chain(others).chain(pins);
    files.all(|file| bundle.push(Kind::Image, file.name, file.bytes).is_ok());
}

/// Returns the version of a file that the device has; 0 if it has none.
fn have(request: &Request, role: &str) -> u64 {
    request.have.get(role).copied().unwrap_or(0)
}

/// The poll is not what it should be.
pub(super) fn malformed(error: impl std::fmt::Display) -> Problem {
    Problem::bad_request("poll_malformed", error.to_string())
}

fn wrong_product(device: &Device, request: &Request) -> Problem {
    let detail = format!(
        "The device is registered as {}, not as {}. Register it under a new id.",
        device.product, request.product
    );
    Problem::new(StatusCode::FORBIDDEN, "wrong_product", detail).field("product")
}

fn gone() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "device_unknown", "The device is not registered any more.")
}

pub(super) fn not_rooted() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "director_not_rooted",
        "The Director's root is not imported yet. Make it in the ceremony, then import it.",
    )
}

fn too_large(error: TooLarge) -> Problem {
    Problem::internal(&error)
}

impl From<author::Error> for Problem {
    fn from(error: author::Error) -> Self {
        Self::internal(&error)
    }
}
