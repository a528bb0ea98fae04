//! The rules for pins: the certificates by which devices know their server, in a publication.
//!
//! Keyholders say which ones; a device believes nobody else. What the server adds is what they cannot
//! see: pins that no device could use, or that leave out the server that hands them out, are refused
//! before any device has them.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use waxwing_tuf::client::RoleListing;
use waxwing_tuf::uptane::{SERVER_CA_BYTES_MAX, SERVER_CA_PATH};
use waxwing_wire::Digest;
use waxwing_wire::bundle::Frame;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::rules::{Rule, refused};
use super::{Files, Known, Refused};
use crate::domain::Pins;

/// The role whose targets are no releases: its keyholders speak for the whole product.
const ROLE: &str = "targets";

/// Returns the pins that a publication lists; `None` if no publication ever did.
pub(super) fn read(
    known: Known<'_>,
    roles: &[RoleListing],
    frames: &[Frame<'_>],
) -> Result<Option<Pins>, Refused> {
    let top = roles.iter().find(|role| role.role == ROLE);
    let mut listed = top.into_iter().flat_map(|top| &top.targets);
    let Some(listed) = listed.find(|target| target.path == SERVER_CA_PATH) else {
        let stored = known.files.contains_key(SERVER_CA_PATH);
        return if stored { Err(refused(SERVER_CA_PATH, Rule::PinsGone)) } else { Ok(None) };
    };
    let refuse = |rule| refused(SERVER_CA_PATH, rule);
    if listed.length > SERVER_CA_BYTES_MAX {
        return Err(refuse(Rule::PinsUnusable));
    }
    let sha256 = listed.hashes.sha256.ok_or_else(|| refuse(Rule::NoSha256))?;
    let pem = content(known.files, frames).ok_or_else(|| refuse(Rule::PinsMissing))?;
    let mut content = listed.content();
    let same = content.update(pem).and_then(|()| content.finish());
    same.map_err(|_| refuse(Rule::PinsMissing))?;
    check(pem, known.server_ca).map_err(refuse)?;
    Ok(Some(Pins { length: listed.length, sha256: Digest(sha256), changed_at: known.now_ms }))
}

/// The file that comes along, or the one that is here.
fn content<'a>(stored: &'a Files, frames: &'a [Frame<'a>]) -> Option<&'a [u8]> {
    let new = frames.iter().find(|frame| frame.name == SERVER_CA_PATH).map(|frame| frame.bytes);
    new.or_else(|| stored.get(SERVER_CA_PATH).map(Vec::as_slice))
}

/// Reads a file of pins. One that cannot be read holds none.
pub fn pinned(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    let pins = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    pins.unwrap_or_default()
}

fn check(pem: &[u8], server_ca: &CertificateDer<'_>) -> Result<(), Rule> {
    let pins = pinned(pem);
    if pins.is_empty() || !pins.iter().all(is_authority) {
        return Err(Rule::PinsUnusable);
    }
    if pins.contains(server_ca) { Ok(()) } else { Err(Rule::PinsLockOut) }
}

fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| parsed.is_ca())
}
