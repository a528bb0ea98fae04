//! `/api/v1/devices/{device}/certificates/{serial}`: a certificate that a device had, also long ago: with it
//! anybody can check what the message log has of the device, without believing the server.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::output::time;
use super::find;
use crate::app::App;
use crate::http::{Path, Problem};
use crate::store::enrolment::{self, Issued};

/// A certificate as it was issued.
#[derive(Serialize, ToSchema)]
pub(in crate::http::admin) struct IssuedCertificate {
    /// Its serial number, as `signed_by` of messages has it.
    serial: String,
    /// When it was issued, as RFC 3339.
    issued_at: String,
    /// When it expires, as RFC 3339.
    expires_at: String,
    /// The certificate itself: DER in base64.
    der: String,
}

impl From<Issued> for IssuedCertificate {
    fn from(issued: Issued) -> Self {
        Self {
            serial: issued.serial,
            issued_at: time(issued.issued_at),
            expires_at: time(issued.expires_at),
            der: STANDARD.encode(issued.der),
        }
    }
}

/// Returns a certificate that a device has or had.
#[utoipa::path(get, path = "/api/v1/devices/{device}/certificates/{serial}",
    operation_id = "show_device_certificate", tag = "devices",
    params(("device" = String, Path), ("serial" = String, Path)),
    responses((status = 200, body = IssuedCertificate), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn certificate(
    State(app): State<Arc<App>>,
    Path((device, serial)): Path<(String, String)>,
) -> Result<Json<IssuedCertificate>, Problem> {
    let device = find(&app, &device)?;
    let mut reader = app.store.reader().await?;
    let issued = enrolment::issued(&mut reader, &device.id, &serial).await?;
    let unknown = || {
        let detail = "The device never had a certificate with this serial number.";
        Problem::not_found("unknown_certificate", detail)
    };
    issued.map(|issued| Json(issued.into())).ok_or_else(unknown)
}
