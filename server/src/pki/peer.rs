//! Reading a client's certificate that the TLS verifier has already accepted.
//!
//! A [`Peer`] is a claim under the device CA: which id, which key, which serial number, until when.
//! It is not an admission: the fleet compares it with the device's record on every request.

use rustls_pki_types::CertificateDer;
use waxwing_wire::DeviceId;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// What comes before the device id in the certificate's URI.
const URI_PREFIX: &str = "waxwing:device:";
/// What comes before the name of an operator.
const OPERATOR_PREFIX: &str = "waxwing:operator:";

/// The identity in a device certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// The device the certificate was issued to.
    pub device: DeviceId,
    /// The certificate's `SubjectPublicKeyInfo`, DER.
    pub spki: Vec<u8>,
    /// Serial number of the certificate in lower-case hexadecimal.
    pub serial: String,
    /// End of validity in Unix milliseconds.
    pub not_after_ms: u64,
}

impl Peer {
    /// Reads a certificate issued by `Authority::issue_device`.
    ///
    /// # Errors
    ///
    /// [`NotADevice`] when subject and SAN do not both name one and the same device.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, NotADevice> {
        let (_, x509) = X509Certificate::from_der(certificate).map_err(|_| NotADevice)?;
        let device = named(&x509, URI_PREFIX).and_then(|id| DeviceId::parse(&id).ok());
        let device = device.ok_or(NotADevice)?;
        Ok(Self {
            device,
            spki: x509.public_key().raw.to_vec(),
            serial: serial_text(x509.raw_serial()),
            not_after_ms: not_after_ms(certificate).ok_or(NotADevice)?,
        })
    }

    /// Tells whether the certificate has run out (RFC 5280 4.1.2.5: valid through `notAfter`).
    pub fn is_expired(&self, now_ms: u64) -> bool {
        now_ms > self.not_after_ms
    }
}

/// The identity in an operator's certificate. As with a device, it is no admission.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OperatorPeer {
    /// The operator the certificate was issued to.
    pub operator: String,
    /// Serial number of the certificate in lower-case hexadecimal.
    pub serial: String,
    /// End of validity in Unix milliseconds.
    pub not_after_ms: u64,
}

impl OperatorPeer {
    /// Reads a certificate issued by `Authority::issue_operator`.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, x509) = X509Certificate::from_der(certificate).ok()?;
        Some(Self {
            operator: named(&x509, OPERATOR_PREFIX)?,
            serial: serial_text(x509.raw_serial()),
            not_after_ms: not_after_ms(certificate)?,
        })
    }
}

/// Returns the end of any certificate of ours, in Unix milliseconds.
pub fn not_after_ms(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, x509) = X509Certificate::from_der(certificate).ok()?;
    Some(u64::try_from(x509.validity.not_after.timestamp()).ok()?.saturating_mul(1000))
}

/// Writes a serial number the way [`Peer::serial`] does.
pub fn serial_text(serial: &[u8]) -> String {
    let digits = serial.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Reads what [`serial_text`] wrote.
pub fn serial_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2));
    digits.map(|two| u8::from_str_radix(two?, 16).ok()).collect()
}

/// Writes the URI that names a device in its certificate.
pub(super) fn device_uri(device: &DeviceId) -> String {
    format!("{URI_PREFIX}{device}")
}

/// Writes the URI that names an operator in a certificate.
pub(super) fn operator_uri(operator: &str) -> String {
    format!("{OPERATOR_PREFIX}{operator}")
}

/// Returns the public key bits of a certificate.
pub(super) fn public_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, x509) = X509Certificate::from_der(certificate).ok()?;
    Some(x509.public_key().subject_public_key.data.to_vec())
}

fn named(x509: &X509Certificate<'_>, prefix: &str) -> Option<String> {
    let mut common_names = x509.subject().iter_common_name();
    let (Some(common_name), None) = (common_names.next(), common_names.next()) else { return None };
    let san = x509.subject_alternative_name().ok()??;
    let [GeneralName::URI(uri)] = san.value.general_names.as_slice() else { return None };
    let name = uri.strip_prefix(prefix)?;
    (common_name.as_str().ok()? == name).then(|| name.to_owned())
}

/// The certificate names no device, or two.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the certificate does not name one device")]
pub struct NotADevice;
