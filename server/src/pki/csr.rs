//! Certificate requests (PKCS#10, RFC 2986): one public key and the proof that its private half
//! signed the request.
//!
//! Deliberately nothing else is taken from a request. Names, extensions and usages are what the
//! *server* knows about the device; a request that asks for `CA:TRUE` or a stranger's name gets
//! neither.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// Length of an uncompressed P-256 point (SEC 1, 2.3.3): `04`, x, y.
const POINT_BYTES: usize = 65;

/// Longest request in DER. A P-256 request has 250 to 600 bytes; the rest is room for attributes.
pub const CSR_BYTES_MAX: usize = 4096;

/// The P-256 public key of a device that has proved to hold the private half.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceKey {
    spki: Vec<u8>,
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
        Ok(Self { spki: spki.raw.to_vec() })
    }

    /// Returns the key as DER `SubjectPublicKeyInfo`.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }
}

fn is_p256(spki: &SubjectPublicKeyInfo<'_>) -> bool {
    let point = &spki.subject_public_key;
    spki.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve_is_p256(&spki.algorithm)
        && point.unused_bits == 0
        && point.data.len() == POINT_BYTES
        && point.data.first() == Some(&4)
}

fn curve_is_p256(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    let curve = algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    curve.is_some_and(|curve| curve == OID_EC_P256)
}

/// Why a certificate request was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CsrError {
    /// Another key type, curve, point form or signature algorithm.
    #[error("the request is not for an uncompressed P-256 key signed with ECDSA and SHA-256")]
    Algorithm,
    /// The body is not base64.
    #[error("the body is not a certificate request in base64 (RFC 7030 4.2.1)")]
    Base64,
    /// Not a PKCS#10 request, or bytes after it.
    #[error("the request is not PKCS#10")]
    Malformed,
    /// The signature does not fit the key: the sender may not hold the private half.
    #[error("the request is not signed by the key it is for")]
    Proof,
    /// Longer than [`CSR_BYTES_MAX`].
    #[error("the request is longer than {CSR_BYTES_MAX} bytes")]
    TooLong,
}
