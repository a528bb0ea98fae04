//! Enrolment and renewal (EST, RFC 7030): how a device comes by its certificates.
//!
//! What the server says about whom to trust is not asked for: that is pinned (D12).

mod pkcs7;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use hyper::header;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use waxwing_agent::network::NoAnswer;
use waxwing_wire::DeviceId;

use crate::credentials::{Credentials, CredentialsError, KeyFolder};
use crate::https::{Https, read_all};

const ENROL_PATH: &str = "/.well-known/est/simpleenroll";
const RENEW_PATH: &str = "/.well-known/est/simplereenroll";
/// Longest answer read: a certificate of a few kilobytes in base64, or a problem document.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// No certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum EstError {
    /// The answer holds no certificate for our key.
    #[error("answer of the server holds no certificate for this device")]
    Answer,
    /// The key or the files it is kept in.
    #[error("credentials cannot be kept")]
    Credentials(#[from] CredentialsError),
    /// No answer.
    #[error("no answer")]
    NoAnswer(#[source] NoAnswer),
    /// The server does not want to.
    #[error("server refused with {status}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
}

/// Asks for the first certificate with a one-time token.
///
/// # Errors
///
/// [`EstError`]; the key is kept for the next attempt.
pub async fn enrol(
    server: &mut Https,
    keys: &KeyFolder,
    device: &DeviceId,
    token: &str,
) -> Result<Credentials, EstError> {
    let basic = format!("Basic {}", STANDARD.encode(format!("{device}:{token}")));
    request(server, keys, device, ENROL_PATH, Some(&basic)).await
}

/// Asks for the next certificate, over a connection that shows the present one.
///
/// # Errors
///
/// [`EstError`]; the new key is kept for the next attempt.
pub async fn renew(
    server: &mut Https,
    keys: &KeyFolder,
    device: &DeviceId,
) -> Result<Credentials, EstError> {
    request(server, keys, device, RENEW_PATH, None).await
}

impl EstError {
    /// Tells whether the same request may be answered better later.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::NoAnswer(_) => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Answer | Self::Credentials(_) => false,
        }
    }
}

async fn request(
    server: &mut Https,
    keys: &KeyFolder,
    device: &DeviceId,
    path: &str,
    authorization: Option<&str>,
) -> Result<Credentials, EstError> {
    let key = keys.pending_key()?;
    let body = STANDARD.encode(certificate_request(device, &key)?);
    let mut headers = vec![(header::CONTENT_TYPE, "application/pkcs10")];
    headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
    let answer = server.send(Method::POST, path, &headers, body.into()).await;
    let answer = answer.map_err(EstError::NoAnswer)?;
    let status = answer.status();
    let body = read_all(answer.into_body(), ANSWER_BYTES_MAX).await.map_err(EstError::NoAnswer)?;
    if !status.is_success() {
        let detail = String::from_utf8_lossy(&body).into_owned();
        return Err(EstError::Refused { status: status.as_u16(), detail });
    }
    let credentials = Credentials::new(key, certificate(&body)?)?;
    keys.keep(&credentials)?;
    Ok(credentials)
}

fn certificate_request(device: &DeviceId, key: &KeyPair) -> Result<Vec<u8>, CredentialsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, device.as_str());
    Ok(params.serialize_request(key)?.der().to_vec())
}

fn certificate(answer: &Bytes) -> Result<rustls_pki_types::CertificateDer<'static>, EstError> {
    let text: Vec<u8> = answer.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(text).map_err(|_| EstError::Answer)?;
    pkcs7::first_certificate(&der).ok_or(EstError::Answer)
}
