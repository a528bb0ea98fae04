//! Enrolment and renewal (EST, RFC 7030): how a device comes by its certificates.
//!
//! A key is in storage before anybody is asked to certify it: after a power cut the same key asks
//! again, and gets the same certificate (D13). What the server says about whom to trust is not
//! asked for: that is pinned (D12).

mod answer;
mod request;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use base64ct::{Base64, Encoding as _};
use waxwing_agent::network::NoAnswer;
use waxwing_wire::DeviceId;
use zeroize::Zeroizing;

pub use answer::certificate;

use crate::http::{Https, Request};
use crate::identity::{DeviceKey, Identity};
use crate::network::Network;

const ENROL_PATH: &str = "/.well-known/est/simpleenroll";
const RENEW_PATH: &str = "/.well-known/est/simplereenroll";
/// Longest answer read: a certificate of a few kilobytes in base64, or a problem document.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// Where a device keeps its key and certificate, and the key that is to be certified next.
pub trait KeyStore {
    /// Why storage failed.
    type Error: Error + 'static;

    /// Returns the key to be certified next, if an attempt before left one.
    ///
    /// # Errors
    ///
    /// When storage fails, or what it holds is no key.
    fn pending(&mut self) -> Result<Option<DeviceKey>, Self::Error>;

    /// Keeps a key to be certified next.
    ///
    /// # Errors
    ///
    /// When storage fails.
    fn keep_pending(&mut self, key: &DeviceKey) -> Result<(), Self::Error>;

    /// Returns the device's key and certificate, if it has any.
    ///
    /// # Errors
    ///
    /// When storage fails, or what it holds cannot be used.
    fn identity(&mut self) -> Result<Option<Identity>, Self::Error>;

    /// Keeps a new key with its certificate in place of the old one, and then forgets the key to be
    /// certified. A power cut leaves the old or the new, whole.
    ///
    /// # Errors
    ///
    /// When storage fails.
    fn keep(&mut self, identity: &Identity) -> Result<(), Self::Error>;
}

/// No certificate was issued.
#[derive(Debug)]
pub enum EstError<E> {
    /// The answer holds no certificate for our key.
    Answer,
    /// Storage failed.
    Keys(E),
    /// No answer.
    NoAnswer(NoAnswer),
    /// The server does not want to.
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
}

impl<E> EstError<E> {
    /// Tells whether the same request may be answered better later.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::NoAnswer(_) => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Answer | Self::Keys(_) => false,
        }
    }
}

impl<E> fmt::Display for EstError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer => {
                f.write_str("answer of the server holds no certificate for this device")
            }
            Self::Keys(_) => f.write_str("credentials cannot be kept"),
            Self::NoAnswer(_) => f.write_str("no answer"),
            Self::Refused { status, detail } => write!(f, "server refused with {status}: {detail}"),
        }
    }
}

impl<E: Error + 'static> Error for EstError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Keys(error) => Some(error),
            Self::NoAnswer(error) => Some(error),
            Self::Answer | Self::Refused { .. } => None,
        }
    }
}

/// Asks for the first certificate with a one-time token, and keeps it.
///
/// # Errors
///
/// [`EstError`]; the key is kept for the next attempt.
pub async fn enrol<N: Network + 'static, K: KeyStore>(
    server: &mut Https<N>,
    keys: &mut K,
    device: &DeviceId,
    token: &str,
) -> Result<Identity, EstError<K::Error>> {
    let secret = Zeroizing::new(format!("{device}:{token}"));
    let secret = Zeroizing::new(Base64::encode_string(secret.as_bytes()));
    let basic = Zeroizing::new(format!("Basic {}", *secret));
    request(server, keys, device, ENROL_PATH, Some(&basic)).await
}

/// Asks for the next certificate, over a connection that shows the present one, and keeps it.
///
/// # Errors
///
/// [`EstError`]; the new key is kept for the next attempt.
pub async fn renew<N: Network + 'static, K: KeyStore>(
    server: &mut Https<N>,
    keys: &mut K,
    device: &DeviceId,
) -> Result<Identity, EstError<K::Error>> {
    request(server, keys, device, RENEW_PATH, None).await
}

/// Returns the key to be certified next, made and kept now unless an attempt before left one.
///
/// # Errors
///
/// When storage fails.
pub fn key_to_certify<N: Network, K: KeyStore>(
    network: &N,
    keys: &mut K,
) -> Result<DeviceKey, K::Error> {
    if let Some(key) = keys.pending()? {
        // A power cut may have left the key that the present certificate is for. No other
        // certificate would ever be issued for it.
        if keys.identity()?.is_none_or(|present| *present.key() != key) {
            return Ok(key);
        }
    }
    let key = DeviceKey::generate(&mut network.entropy());
    keys.keep_pending(&key)?;
    Ok(key)
}

async fn request<N: Network + 'static, K: KeyStore>(
    server: &mut Https<N>,
    keys: &mut K,
    device: &DeviceId,
    path: &str,
    authorization: Option<&str>,
) -> Result<Identity, EstError<K::Error>> {
    let key = key_to_certify(server.network(), keys).map_err(EstError::Keys)?;
    let body = request::certificate_request(device, &key).ok_or(EstError::Answer)?;
    let body = Base64::encode_string(&body);
    let mut headers = Vec::from([("content-type", "application/pkcs10")]);
    headers.extend(authorization.map(|value| ("authorization", value)));
    let asked = Request { method: "POST", path, headers: &headers, body: body.as_bytes() };
    let answer = server.exchange(&asked, ANSWER_BYTES_MAX).await;
    let (status, answer) = answer.map_err(EstError::NoAnswer)?;
    if !(200..300).contains(&status) {
        let detail = String::from_utf8_lossy(&answer).into_owned();
        return Err(EstError::Refused { status, detail });
    }
    let certificate = certificate(&answer).ok_or(EstError::Answer)?;
    let identity = Identity::new(key, certificate).map_err(|_| EstError::Answer)?;
    keys.keep(&identity).map_err(EstError::Keys)?;
    Ok(identity)
}
