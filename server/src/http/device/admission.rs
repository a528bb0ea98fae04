//! The door of the device listener: every request passes it, also the hundredth on a connection and
//! the first on a resumed one.
//!
//! TLS has shown that the peer holds the key of a certificate of the device CA. Whether that
//! certificate is still welcome is asked here, of the device's record: its status, and the
//! certificate's serial number and key, never the name alone. Not here: what a device may read.

use std::sync::Arc;

use axum::http::StatusCode;

use crate::app::App;
use crate::domain::Device;
use crate::domain::device::{CertificateStatus, Status};
use crate::fleet::Fleet;
use crate::http::est::{self, issue};
use crate::http::{Problem, to_the_end};
use crate::pki::Peer;

/// A device that was let in. Handlers take it from the request's extensions.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its certificate.
    pub peer: Arc<Peer>,
    /// Its record, as it was when the request came in.
    pub device: Arc<Device>,
}

/// Admits a request, or says why not.
///
/// The first use of a renewed certificate makes it the current one (D13). An expired certificate
/// gets as far as its renewal (D14).
pub async fn admit(app: &Arc<App>, peer: &Arc<Peer>, path: &str) -> Result<Caller, Problem> {
    let (device, status) = recognise(&app.fleet, peer)?;
    if peer.is_expired(app.clock.now_ms()) && path != est::REENROLL_PATH {
        return Err(expired());
    }
    if status == CertificateStatus::Next {
        to_the_end(issue::promote(Arc::clone(app), Arc::clone(peer))).await?;
    }
    Ok(Caller { peer: Arc::clone(peer), device: Arc::new(device) })
}

/// Finds the record of a device that is not revoked and uses this certificate. Whether the
/// certificate has expired is another question.
pub fn recognise(fleet: &Fleet, peer: &Peer) -> Result<(Device, CertificateStatus), Problem> {
    let device = fleet.device(&peer.device).ok_or_else(unknown)?;
    if device.status == Status::Revoked {
        return Err(revoked());
    }
    let certificate = device.certificate(&peer.serial).filter(|known| known.spki == peer.spki);
    let status = certificate.ok_or_else(unknown)?.status;
    Ok((device, status))
}

fn unknown() -> Problem {
    refused(
        "certificate_unknown",
        "The certificate is not one that a device registered here uses: it was replaced by a newer \
         one, or comes from elsewhere.",
    )
}

fn revoked() -> Problem {
    refused("device_revoked", "The device is revoked. Register it under a new id.")
}

fn expired() -> Problem {
    refused("certificate_expired", "The certificate has expired. Renew it by EST simplereenroll.")
}

fn refused(code: &'static str, detail: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, detail)
}
