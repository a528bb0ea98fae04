//! The list of revoked device certificates (CRL, RFC 5280 section 5).
//!
//! It is for everybody who has to judge a device certificate and is not this server. The server
//! itself never asks it: it looks at the device's record on every request, so a revocation counts
//! before any list says so. Not here: where it is served, and which certificates are on it.

use std::time::Duration;

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};

use super::authority::{Error, instant, span};

/// Media type of a list (RFC 2585 section 4.2).
pub const MEDIA_TYPE: &str = "application/pkix-crl";

/// How long a list is good for: time to find out why no new one comes, and to mend it.
pub const LIFE: Duration = Duration::from_hours(7 * 24);

/// A certificate that must not be believed any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revoked {
    /// Its serial number, as in its bytes.
    pub serial: Vec<u8>,
    /// Since when, in Unix milliseconds.
    pub at_ms: u64,
}

/// Signs a list. Its number is the time at which it was made, in milliseconds: of two lists, the
/// later one has the higher number (RFC 5280 5.2.3).
pub(super) fn sign(
    issuer: &Issuer<'_, KeyPair>,
    revoked: &[Revoked],
    now_ms: u64,
) -> Result<Vec<u8>, Error> {
    let this_update = instant(now_ms)?;
    let params = CertificateRevocationListParams {
        this_update,
        next_update: this_update.checked_add(span(LIFE)?).ok_or(Error::Time)?,
        crl_number: SerialNumber::from(now_ms),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect::<Result<_, _>>()?,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(params.signed_by(issuer)?.der().to_vec())
}

fn entry(revoked: &Revoked) -> Result<RevokedCertParams, Error> {
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from_slice(&revoked.serial),
        revocation_time: instant(revoked.at_ms)?,
        // Why a device was shut out is in the audit log; the list is for everybody.
        reason_code: None,
        invalidity_date: None,
    })
}
