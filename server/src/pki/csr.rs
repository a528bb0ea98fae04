//! Certificate requests (PKCS#10, RFC 2986): one public key and the proof that its private half
//! signed the request.
//!
//! Deliberately nothing else is taken from a request. Names, extensions and usages are what the
//! *server* knows about the device. A request that asks for more than a device gets is refused: its
//! sender expects a certificate that it would not have.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use waxwing_wire::DeviceId;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA256;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::peer;

/// What an uncompressed point begins with (SEC 1, 2.3.3); x and y follow.
const UNCOMPRESSED: u8 = 4;

/// Length of x and y of a P-256 point.
const COORDINATES_BYTES: usize = 64;

/// What stands before the point of a P-256 key in a `SubjectPublicKeyInfo` (RFC 5480, DER).
const BEFORE_POINT: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A SEQUENCE in DER (X.690, 8.9.1): constructed. The parser would take a primitive one, too.
const SEQUENCE: u8 = 0x30;

/// Longest request in DER. A P-256 request has 250 to 600 bytes; the rest is room for attributes.
pub const CSR_BYTES_MAX: usize = 4096;

/// The P-256 public key of a device that has proved to hold the private half.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceKey {
    spki: Vec<u8>,
    /// The names that the request asks for.
    names: Vec<String>,
}

impl DeviceKey {
    /// Reads the body of an EST request: base64 DER (RFC 7030 4.2.1), with or without line breaks;
    /// PEM is understood too.
    pub fn from_est(body: &[u8]) -> Result<Self, CsrError> {
        let text = std::str::from_utf8(body).map_err(|_| CsrError::Base64)?;
        let digits: String = text
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .flat_map(str::split_ascii_whitespace)
            .collect();
        let der = STANDARD.decode(digits).map_err(|_| CsrError::Base64)?;
        Self::from_der(&der)
    }

    /// Reads a PKCS#10 request in DER and checks its proof of possession.
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > CSR_BYTES_MAX {
            return Err(CsrError::TooLong);
        }
        if der.first() != Some(&SEQUENCE) {
            return Err(CsrError::Malformed);
        }
        let (rest, csr) =
            X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        let spki = &csr.certification_request_info.subject_pki;
        // Curve and length are checked here because libraries name the key after the signature
        // algorithm: a P-384 key that signs with SHA-256 would pass for P-256.
        if !is_p256(spki) || csr.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256 {
            return Err(CsrError::Algorithm);
        }
        // This also refuses a point that is not on the curve.
        csr.verify_signature().map_err(|_| CsrError::Proof)?;
        let names = names(&csr)?;
        Ok(Self { spki: spki.raw.to_vec(), names })
    }

    /// Checks that the request asks for no other name than the one the device has. RFC 7030 4.2.2
    /// has devices repeat theirs when they renew.
    pub fn check_names(&self, device: &DeviceId) -> Result<(), CsrError> {
        self.check_uri(&peer::device_uri(device))
    }

    /// Checks the same of the request of an operator.
    pub fn check_operator(&self, operator: &str) -> Result<(), CsrError> {
        self.check_uri(&peer::operator_uri(operator))
    }

    fn check_uri(&self, own: &str) -> Result<(), CsrError> {
        if self.names.iter().all(|name| name == own) { Ok(()) } else { Err(CsrError::Name) }
    }

    /// Returns the key as DER `SubjectPublicKeyInfo`.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }
}

/// Checks the extensions that a request asks for, and returns the names among them. One that means
/// nothing here is not looked at.
fn names(csr: &X509CertificationRequest<'_>) -> Result<Vec<String>, CsrError> {
    let mut names = Vec::new();
    for attribute in csr.certification_request_info.iter_attributes() {
        if let ParsedCriAttribute::ExtensionRequest(requested) = attribute.parsed_attribute() {
            for extension in &requested.extensions {
                let extension = extension.parsed_extension();
                refuse_privilege(extension)?;
                names.extend(names_in(extension)?);
            }
        }
    }
    Ok(names)
}

fn refuse_privilege(extension: &ParsedExtension<'_>) -> Result<(), CsrError> {
    if let ParsedExtension::BasicConstraints(basic) = extension
        && basic.ca
    {
        return Err(CsrError::Authority);
    }
    if let ParsedExtension::KeyUsage(usage) = extension
        && (usage.key_cert_sign() || usage.crl_sign())
    {
        return Err(CsrError::Authority);
    }
    if let ParsedExtension::ExtendedKeyUsage(usage) = extension
        && !is_of_a_client(usage)
    {
        return Err(CsrError::Usage);
    }
    if let ParsedExtension::ParseError { .. } = extension {
        return Err(CsrError::Malformed);
    }
    Ok(())
}

/// Devices have URIs. Whatever other kind of name is asked for is not theirs.
fn names_in(extension: &ParsedExtension<'_>) -> Result<Vec<String>, CsrError> {
    let ParsedExtension::SubjectAlternativeName(asked) = extension else { return Ok(Vec::new()) };
    let uri = |name: &GeneralName<'_>| {
        if let GeneralName::URI(uri) = name { Ok((*uri).to_owned()) } else { Err(CsrError::Name) }
    };
    asked.general_names.iter().map(uri).collect()
}

/// Tells whether nothing but `clientAuth` is asked for.
fn is_of_a_client(usage: &ExtendedKeyUsage<'_>) -> bool {
    let only = ExtendedKeyUsage {
        any: false,
        server_auth: false,
        client_auth: true,
        code_signing: false,
        email_protection: false,
        time_stamping: false,
        ocsp_signing: false,
        other: Vec::new(),
    };
    *usage == only
}

/// One spelling only: what is certified and compared is these bytes, and the parser takes others for
/// the same key.
fn is_p256(spki: &SubjectPublicKeyInfo<'_>) -> bool {
    point_of(spki.raw).is_some()
}

/// Returns both coordinates of a P-256 key: what differs between two of them.
pub(crate) fn point_of(spki: &[u8]) -> Option<&[u8]> {
    let point = spki.strip_prefix(&BEFORE_POINT)?.strip_prefix(&[UNCOMPRESSED])?;
    (point.len() == COORDINATES_BYTES).then_some(point)
}

/// Returns the key with these coordinates.
pub(crate) fn spki_of(point: &[u8]) -> Vec<u8> {
    [&BEFORE_POINT[..], &[UNCOMPRESSED], point].concat()
}

/// Why a certificate request was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CsrError {
    /// Another key type, curve, point form or signature algorithm.
    #[error("the request is not for an uncompressed P-256 key signed with ECDSA and SHA-256")]
    Algorithm,
    /// The request asks for a certificate that signs others.
    #[error("the request asks for a certificate of an authority, which devices are not")]
    Authority,
    /// The body is not base64.
    #[error("the body is not a certificate request in base64 (RFC 7030 4.2.1)")]
    Base64,
    /// Not a PKCS#10 request, or bytes after it.
    #[error("the request is not PKCS#10")]
    Malformed,
    /// The request asks for a name that is not the device's.
    #[error("the request asks for another name than the device's own; leave names out")]
    Name,
    /// The signature does not fit the key: the sender may not hold the private half.
    #[error("the request is not signed by the key it is for")]
    Proof,
    /// Longer than [`CSR_BYTES_MAX`].
    #[error("the request is longer than {CSR_BYTES_MAX} bytes")]
    TooLong,
    /// The request asks for another purpose than that of a TLS client.
    #[error("the request asks for another extended key usage than clientAuth; leave usages out")]
    Usage,
}
