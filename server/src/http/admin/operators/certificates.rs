//! `/api/v1/operators/{operator}/certificates`: with what operators listen to devices over MQTT.
//!
//! The key never leaves the operator: the server signs a request. Not here: what such a certificate is
//! good for (`mqtt`).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{subject, unknown};
use crate::app::App;
use crate::domain::audit::Action;
use crate::http::admin::change;
use crate::http::admin::input::{Author, Body};
use crate::http::admin::output::time;
use crate::http::{Path, Problem};
use crate::pki::{CsrError, DeviceKey, OperatorPeer, Validity};
use crate::random;
use crate::store::operator_certificates::{self, OperatorCertificate};
use crate::store::operators;

/// Longest life of a certificate in days: people come and go.
const DAYS_MAX: u32 = 365;

/// Its life, if nobody asks for another.
const DAYS: u32 = 90;

/// Most certificates of one operator: one for each of their machines.
const CERTIFICATES_MAX: usize = 32;

/// A certificate to sign.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::admin) struct NewCertificate {
    /// The request (PKCS#10) of a P-256 key, as PEM. Names in it are left out.
    csr: String,
    /// For how many days, 1 to 365.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 365, default = 90)]
    days: Option<u32>,
}

/// A certificate that was signed.
#[derive(Serialize, ToSchema)]
#[schema(as = NewOperatorCertificate)]
pub(in crate::http::admin) struct Signed {
    /// Whose it is.
    operator: String,
    /// Serial number, lower-case hexadecimal.
    serial: String,
    /// Until when it is good, as RFC 3339.
    expires_at: String,
    /// The certificate, PEM.
    certificate: String,
    /// The CA by which to know the server, PEM.
    server_ca: String,
}

/// A certificate of an operator.
#[derive(Serialize, ToSchema)]
#[schema(as = OperatorCertificate)]
pub(in crate::http::admin) struct View {
    /// Serial number, lower-case hexadecimal.
    serial: String,
    /// When it was signed, as RFC 3339.
    issued_at: String,
    /// Until when it is good, as RFC 3339.
    expires_at: String,
}

impl From<OperatorCertificate> for View {
    fn from(certificate: OperatorCertificate) -> Self {
        let OperatorCertificate { serial, issued_at, expires_at, .. } = certificate;
        Self { serial, issued_at: time(issued_at), expires_at: time(expires_at) }
    }
}

/// Returns the certificates of an operator that are good.
#[utoipa::path(get, path = "/api/v1/operators/{operator}/certificates",
    operation_id = "list_operator_certificates", tag = "operators", params(("operator" = String, Path)),
    responses((status = 200, body = Vec<View>), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn list(
    State(app): State<Arc<App>>,
    Path(operator): Path<String>,
) -> Result<Json<Vec<View>>, Problem> {
    check_known(&app, &operator).await?;
    let now_ms = app.clock.now_ms();
    let all = operator_certificates::of_operator(&app.store, &operator, now_ms).await?;
    Ok(Json(all.into_iter().map(View::from).collect()))
}

/// Signs a certificate with which an operator may listen to devices over MQTT, and nothing else.
#[utoipa::path(post, path = "/api/v1/operators/{operator}/certificates",
    operation_id = "sign_operator_certificate", tag = "operators", params(("operator" = String, Path)),
    request_body = NewCertificate,
    responses((status = 201, body = Signed), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn sign(
    State(app): State<Arc<App>>,
    Path(operator): Path<String>,
    author: Author,
    Body(NewCertificate { csr, days }): Body<NewCertificate>,
) -> Result<(StatusCode, Json<Signed>), Problem> {
    let key = DeviceKey::from_est(csr.as_bytes()).map_err(unfit)?;
    key.check_operator(&operator).map_err(unfit)?;
    let lasts = life(days.unwrap_or(DAYS))?;
    let (mut change, at) = change::begin(&app).await?;
    check_known(&app, &operator).await?;
    check_room(&app, &operator).await?;
    let (certificate, record) = issue(&app, &operator, &key, lasts)?;
    operator_certificates::add(change.connection(), &record).await?;
    let detail = json!({ "serial": record.serial, "expires_at": time(record.expires_at) });
    let line = (Action::OperatorCertificateIssued, subject(&operator), detail);
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    let signed = Signed {
        operator,
        serial: record.serial,
        expires_at: time(record.expires_at),
        certificate: pem(&certificate),
        server_ca: pem(app.pki.server().certificate()),
    };
    Ok((StatusCode::CREATED, Json(signed)))
}

/// Revokes a certificate of an operator: it is good no more, and the operator's connections end. With
/// another certificate they can come again.
#[utoipa::path(delete, path = "/api/v1/operators/{operator}/certificates/{serial}",
    operation_id = "revoke_operator_certificate", tag = "operators",
    params(("operator" = String, Path), ("serial" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn revoke(
    State(app): State<Arc<App>>,
    Path((operator, serial)): Path<(String, String)>,
    author: Author,
) -> Result<StatusCode, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    if !operator_certificates::remove(change.connection(), &operator, &serial).await? {
        let detail = "The operator has no such certificate. It may have ended or been revoked.";
        return Err(Problem::not_found("unknown_certificate", detail));
    }
    let detail = json!({ "serial": serial });
    let line = (Action::OperatorCertificateRevoked, subject(&operator), detail);
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    app.hub.disconnect_operator(&operator);
    Ok(StatusCode::NO_CONTENT)
}

async fn check_known(app: &App, operator: &str) -> Result<(), Problem> {
    let all = operators::all(&app.store).await?;
    if all.iter().any(|known| known.name == operator) { Ok(()) } else { Err(unknown()) }
}

async fn check_room(app: &App, operator: &str) -> Result<(), Problem> {
    let now_ms = app.clock.now_ms();
    let all = operator_certificates::of_operator(&app.store, operator, now_ms).await?;
    if all.len() < CERTIFICATES_MAX {
        return Ok(());
    }
    let detail = format!("The operator has {CERTIFICATES_MAX} certificates. Revoke one first.");
    Err(Problem::conflict("too_many_certificates", detail))
}

fn life(days: u32) -> Result<Duration, Problem> {
    if (1..=DAYS_MAX).contains(&days) {
        return Ok(Duration::from_hours(u64::from(days) * 24));
    }
    let detail = format!("A certificate is good for 1 to {DAYS_MAX} days.");
    Err(Problem::refused("invalid_days", detail).field("days"))
}

fn issue(
    app: &App,
    operator: &str,
    key: &DeviceKey,
    life: Duration,
) -> Result<(CertificateDer<'static>, OperatorCertificate), Problem> {
    let validity = Validity { now_ms: app.clock.now_ms(), life };
    let serial = random::bytes(app.random.as_ref());
    let certificate = app.pki.operator.issue_operator(operator, key, serial, validity);
    let certificate = certificate.map_err(|error| Problem::internal(&error))?;
    let peer = OperatorPeer::from_certificate(&certificate).ok_or_else(unknown)?;
    let record = OperatorCertificate {
        serial: peer.serial,
        operator: peer.operator,
        issued_at: validity.now_ms,
        expires_at: peer.not_after_ms,
    };
    Ok((certificate, record))
}

fn unfit(error: CsrError) -> Problem {
    let detail = format!("The request is refused: {error}.");
    Problem::refused("unfit_csr", detail).field("csr")
}

/// RFC 7468: 64 characters a line.
fn pem(certificate: &CertificateDer<'_>) -> String {
    const LINE: usize = 64;
    let base64 = STANDARD.encode(certificate);
    let lines: Vec<_> = base64.as_bytes().chunks(LINE).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
