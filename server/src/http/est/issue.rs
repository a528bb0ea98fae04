//! Who gets a certificate, and which.
//!
//! A lost answer must never lose a device (D13): whoever asks again with the same key gets the same
//! certificate, and what a device uses stays valid until it has used what replaces it. Each request
//! is one change of the database, and changes take turns, so a token buys one certificate however
//! many ask at once.
//!
//! Not here: HTTP, and proof of possession, which a [`DeviceKey`] implies.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use rustls_pki_types::CertificateDer;
use serde_json::json;
use waxwing_wire::{DeviceId, Digest};

use super::Problem;
use super::credentials::Credentials;
use crate::app::App;
use crate::domain::Device;
use crate::domain::audit::{Action, Entry};
use crate::domain::device::{Certificate, CertificateStatus, Status};
use crate::http::device::admission;
use crate::pki::{DeviceKey, Peer, Validity};
use crate::random;
use crate::store::enrolment::{Issued, Token};
use crate::store::{Change, Connection, audit, devices, enrolment};

/// Refuses a wrong token before it takes a turn: whoever guesses holds up nobody who writes.
pub async fn check_token(app: &App, credentials: &Credentials) -> Result<(), Problem> {
    let mut reader = app.store.reader().await?;
    good_token(app, &mut reader, credentials).await.map(drop)
}

/// The least time between two renewals of a device. Each costs a signature, two synced rows and a
/// place in the database for good; an honest device renews every few weeks, and asks again with the
/// same key when an answer was lost.
const RENEWAL_PAUSE: Duration = Duration::from_mins(1);

/// The least time between two rows of the audit log that say that a spent token was tried with another
/// key. The log is for good, and whoever copied a token may try it as often as the network allows.
const MISUSE_PAUSE: Duration = Duration::from_hours(1);

/// Issues the first certificate of a device, or again the one its token already bought.
pub async fn first(
    app: Arc<App>,
    credentials: Credentials,
    key: DeviceKey,
) -> Result<CertificateDer<'static>, Problem> {
    let mut change = app.store.begin().await?;
    let token = good_token(&app, change.connection(), &credentials).await?;
    let device = app.fleet.device(&token.device).ok_or_else(wrong_token)?;
    if device.status == Status::Revoked {
        return Err(revoked());
    }
    match &token.spent_on {
        Some(bought) if bought.spki == key.spki_der() => Ok(bought.der.clone().into()),
        Some(_) => Err(misused(&app, change, &token, &credentials.token).await?),
        None => {
            let owner = enrolment::owner(change.connection(), key.spki_der()).await?;
            if owner.is_some_and(|owner| owner != device.id) {
                return Err(key_in_use(&device.id));
            }
            let issued = sign(&app, &device.id, &key)?;
            let device = add(&app, &mut change, &device, &issued).await?;
            let (db, token) = (change.connection(), &credentials.token);
            enrolment::spend(db, token, &issued.serial).await?;
            commit(&app, change, device, issued).await
        }
    }
}

/// Issues the next certificate of a device for a new key, or again the one issued for it.
pub async fn renewal(
    app: Arc<App>,
    peer: Arc<Peer>,
    key: DeviceKey,
) -> Result<CertificateDer<'static>, Problem> {
    let mut change = app.store.begin().await?;
    // Again: while this waited for its turn, the device may have been revoked.
    let (device, _) = admission::recognise(&app.fleet, &peer)?;
    let known = device.certificates.iter().find(|known| known.spki == key.spki_der());
    match known {
        Some(same) if same.serial == peer.serial => Err(Problem::bad_request(
            "key_not_new",
            "The request is for the key of the present certificate. Make a new key.",
        )),
        Some(same) => {
            let same = enrolment::certificate(change.connection(), &same.serial).await;
            Ok(same?.ok_or_else(revoked)?.der.into())
        }
        None => {
            // Also a key that the device had before: who stole that one gets nothing for it.
            if enrolment::owner(change.connection(), key.spki_der()).await?.is_some() {
                return Err(key_in_use(&device.id));
            }
            pause(&app, &mut change, &device.id).await?;
            let issued = sign(&app, &peer.device, &key)?;
            let device = add(&app, &mut change, &device, &issued).await?;
            commit(&app, change, device, issued).await
        }
    }
}

/// Makes the renewed certificate that a device just used its current one.
pub async fn promote(app: Arc<App>, peer: Arc<Peer>) -> Result<(), Problem> {
    let mut change = app.store.begin().await?;
    let (device, _) = admission::recognise(&app.fleet, &peer)?;
    let next = device.certificate(&peer.serial);
    let next = next.filter(|it| it.status == CertificateStatus::Next).cloned();
    // Another request of the same device was faster.
    let Some(next) = next else { return Ok(()) };
    enrolment::promote(change.connection(), &device.id, &next.serial).await?;
    let turn = change.commit().await?;
    let next = Certificate { status: CertificateStatus::Current, ..next };
    app.fleet.put_device(Device { certificates: vec![next], ..Device::clone(&device) });
    drop(turn);
    tracing::info!(device.id = %device.id, "renewed certificate in use");
    Ok(())
}

/// Refuses a renewal that comes too soon after the one before.
async fn pause(app: &App, change: &mut Change, device: &DeviceId) -> Result<(), Problem> {
    let renewed_at = enrolment::renewed_at(change.connection(), device).await?;
    // A renewal in the future was made before the clock was set back, and delays nobody.
    let passed_ms = renewed_at.and_then(|at| app.clock.now_ms().checked_sub(at));
    let Some(passed_ms) = passed_ms else { return Ok(()) };
    match RENEWAL_PAUSE.checked_sub(Duration::from_millis(passed_ms)) {
        None | Some(Duration::ZERO) => Ok(()),
        Some(wait) => Err(Problem::too_often(
            "renewed_just_now",
            "The device got a certificate just now. Ask with the key of that one, or wait.",
            wait,
        )),
    }
}

async fn good_token(
    app: &App,
    db: &mut Connection,
    credentials: &Credentials,
) -> Result<Token, Problem> {
    let token = enrolment::token(db, &credentials.token).await?;
    let token = token.filter(|token| token.device == credentials.device);
    token.filter(|token| token.expires_at >= app.clock.now_ms()).ok_or_else(wrong_token)
}

/// Records that a spent token came with another key: somebody copied it. Once in a while: each try
/// after the first costs a look, and no row.
async fn misused(
    app: &App,
    mut change: Change,
    token: &Token,
    sha256: &Digest,
) -> Result<Problem, Problem> {
    let now_ms = app.clock.now_ms();
    // One from the future was made before the clock was set back.
    let passed_ms = token.misused_at.and_then(|at| now_ms.checked_sub(at));
    if passed_ms.is_none_or(|passed_ms| Duration::from_millis(passed_ms) >= MISUSE_PAUSE) {
        let device = &token.device;
        tracing::warn!(device.id = %device, "spent enrolment token tried with another key");
        record(app, &mut change, device, Action::TokenMisused, json!({})).await?;
        enrolment::note_misuse(change.connection(), sha256, now_ms).await?;
        drop(change.commit().await?);
    }
    Ok(Problem::new(
        StatusCode::FORBIDDEN,
        "token_spent",
        "The token has bought a certificate for another key. Make a new token for this device.",
    ))
}

fn sign(app: &App, device: &DeviceId, key: &DeviceKey) -> Result<Issued, Problem> {
    let now_ms = app.clock.now_ms();
    let validity = Validity { now_ms, life: app.config.identity.certificate_life() };
    let serial = random::bytes(app.random.as_ref());
    let signed = app.pki.device.issue_device(device, key, serial, validity);
    let der = signed.map_err(|error| Problem::internal(&error))?;
    let named = Peer::from_certificate(&der).map_err(|error| Problem::internal(&error))?;
    Ok(Issued {
        serial: named.serial,
        spki: key.spki_der().to_vec(),
        der: der.to_vec(),
        issued_at: now_ms,
        expires_at: named.not_after_ms,
    })
}

/// Adds a certificate: the first one is at once in use, a later one waits for its first use and
/// takes the place of another that was never used.
async fn add(
    app: &App,
    change: &mut Change,
    device: &Device,
    issued: &Issued,
) -> Result<Device, Problem> {
    let mut device = device.clone();
    if device.status == Status::Registered {
        device.status = Status::Active;
    }
    device.certificates.retain(|known| known.status == CertificateStatus::Current);
    let is_first = device.certificates.is_empty();
    let status = if is_first { CertificateStatus::Current } else { CertificateStatus::Next };
    device.certificates.push(Certificate {
        serial: issued.serial.clone(),
        spki: issued.spki.clone(),
        status,
        expires_at: issued.expires_at,
    });
    let db = change.connection();
    enrolment::drop_next(db, &device.id).await?;
    enrolment::add_certificate(db, &device.id, issued, status).await?;
    devices::update(db, &device).await?;
    let detail = json!({ "serial": issued.serial });
    record(app, change, &device.id, Action::CertificateIssued, detail).await?;
    Ok(device)
}

async fn commit(
    app: &App,
    change: Change,
    device: Device,
    issued: Issued,
) -> Result<CertificateDer<'static>, Problem> {
    let turn = change.commit().await?;
    tracing::info!(device.id = %device.id, serial = issued.serial, "certificate issued");
    app.fleet.put_device(device);
    drop(turn);
    Ok(issued.der.into())
}

async fn record(
    app: &App,
    change: &mut Change,
    device: &DeviceId,
    action: Action,
    detail: serde_json::Value,
) -> Result<(), Problem> {
    let entry = Entry {
        at: app.clock.now_ms(),
        actor: format!("device:{device}"),
        action,
        subject: format!("device/{device}"),
        reason: String::new(),
        detail,
    };
    audit::add(change.connection(), &entry).await.map_err(Problem::from)
}

/// Answers a token that is unknown, expired or another device's: all alike, to teach nothing.
pub(super) fn wrong_token() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "token_wrong",
        "Send the device id and its enrolment token as HTTP Basic credentials; make a new token if \
         this one is used up or too old.",
    )
}

/// Two devices with one key could not be told apart by what they sign.
fn key_in_use(device: &DeviceId) -> Problem {
    tracing::warn!(device.id = %device, "certificate asked for with a key that was certified before");
    Problem::new(
        StatusCode::FORBIDDEN,
        "key_in_use",
        "The key was certified before, for this or another device. Make a new key.",
    )
}

fn revoked() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "device_revoked",
        "The device is revoked and gets no certificate. Register it under a new id.",
    )
}
