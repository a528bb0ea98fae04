//! What a production line scans: how one device enrols, as a URI that fits a QR code.
//!
//! ```text
//! waxwing:1?device=th1-0001&enrol=updates.example:8444&token=…&ca=<SHA-256 of the certificate>
//! ```
//!
//! There is one spelling: these fields in this order, nothing escaped, `ca` once for each
//! certificate that the enrolment listener may be known by. Another format has another number. The
//! token is a secret, and so is the whole text. Not here: pictures.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};
use core::net::Ipv6Addr;

use crate::id::{DeviceId, Digest};
use crate::provision::{ADDRESS_BYTES_MAX, Secret, TOKEN_BYTES_MAX};

/// Most certificates: the CA of today and that of tomorrow, and both once more.
pub const CAS_MAX: usize = 4;
/// Longest text in bytes, with every field at its longest; a QR code holds 2331 at the error
/// correction that we ask for.
pub const ENROL_URI_BYTES_MAX: usize = 882;

const FORMAT: &str = "waxwing:1?";
/// Longest host name (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// How one device enrols.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnrolUri {
    device: DeviceId,
    enrol: String,
    token: Secret,
    server_ca: Vec<Digest>,
}

/// A part of the URI that is missing or malformed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InvalidEnrolUri {
    /// The address of the enrolment listener: no host, or no port.
    Address,
    /// The fingerprints: none, too many, one twice, or no SHA-256.
    Ca,
    /// The name of the device.
    Device,
    /// Another scheme or format, or too long.
    Format,
    /// The token: empty, too long, or with characters that a URI would have to escape.
    Token,
}

impl fmt::Display for InvalidEnrolUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "the enrolment address is not host:port",
            Self::Ca => "the fingerprints of the server's CA are not 1 to 4 different SHA-256",
            Self::Device => "the device has no valid name",
            Self::Format => "this is no enrolment URI of format 1",
            Self::Token => "the token is empty, too long, or has characters that it may not have",
        })
    }
}

impl core::error::Error for InvalidEnrolUri {}

impl EnrolUri {
    /// Puts the parts together.
    ///
    /// # Errors
    ///
    /// [`InvalidEnrolUri`], the first part that no URI could say.
    pub fn new(
        device: DeviceId,
        enrol: String,
        token: Secret,
        server_ca: Vec<Digest>,
    ) -> Result<Self, InvalidEnrolUri> {
        if !is_address(&enrol) {
            return Err(InvalidEnrolUri::Address);
        }
        if !is_token(token.expose()) {
            return Err(InvalidEnrolUri::Token);
        }
        if !(1..=CAS_MAX).contains(&server_ca.len()) || has_twice(&server_ca) {
            return Err(InvalidEnrolUri::Ca);
        }
        Ok(Self { device, enrol, token, server_ca })
    }

    /// The device.
    pub const fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The listener for enrolment, as `host:port`.
    pub fn enrol(&self) -> &str {
        &self.enrol
    }

    /// What the device shows once, to get its certificate.
    pub const fn token(&self) -> &Secret {
        &self.token
    }

    /// SHA-256 of each certificate, DER, that the listener's chain may end in.
    pub fn server_ca(&self) -> &[Digest] {
        &self.server_ca
    }

    /// Writes it. The text holds the token.
    pub fn encode(&self) -> Secret {
        let mut text = String::with_capacity(ENROL_URI_BYTES_MAX);
        for part in [FORMAT, "device=", self.device.as_str(), "&enrol=", &self.enrol] {
            text.push_str(part);
        }
        text.push_str("&token=");
        text.push_str(self.token.expose());
        for digest in &self.server_ca {
            write!(text, "&ca={digest}").expect("a String takes any text");
        }
        Secret::new(text)
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`InvalidEnrolUri`] when [`Self::encode`] would never have written this.
    pub fn decode(text: &str) -> Result<Self, InvalidEnrolUri> {
        let fields = text.strip_prefix(FORMAT).filter(|_| text.len() <= ENROL_URI_BYTES_MAX);
        let mut fields = fields.ok_or(InvalidEnrolUri::Format)?.split('&');
        let mut field = |key| fields.next().and_then(|field| field.strip_prefix(key));
        let device = field("device=").and_then(|text| DeviceId::parse(text).ok());
        let device = device.ok_or(InvalidEnrolUri::Device)?;
        let enrol = field("enrol=").ok_or(InvalidEnrolUri::Address)?;
        let token = field("token=").ok_or(InvalidEnrolUri::Token)?;
        let digests = fields.map(|field| field.strip_prefix("ca=")?.parse().ok());
        let digests = digests.collect::<Option<Vec<_>>>().ok_or(InvalidEnrolUri::Ca)?;
        Self::new(device, enrol.into(), Secret::new(token.into()), digests)
    }
}

fn has_twice(digests: &[Digest]) -> bool {
    digests
        .iter()
        .enumerate()
        .any(|(index, digest)| digests.iter().skip(index + 1).any(|other| other == digest))
}

/// Of the characters that no URI escapes (RFC 3986, 2.3).
fn is_token(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

/// A host name or an address, and a port.
fn is_address(text: &str) -> bool {
    let fits = text.len() <= ADDRESS_BYTES_MAX;
    text.rsplit_once(':').is_some_and(|(host, port)| fits && is_host(host) && is_port(port))
}

fn is_host(text: &str) -> bool {
    if let Some(inner) = text.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    }
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    (1..=HOST_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

fn is_port(text: &str) -> bool {
    let is_plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    is_plain && text.parse::<u16>().is_ok()
}
