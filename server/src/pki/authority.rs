//! A certificate authority of ours: makes itself, server certificates and device certificates.
//!
//! It decides every field of what it signs; nothing is copied from a request but the public key.
//! Not here: keeping the key file ([`crate::setup`]).

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use waxwing_wire::{DeviceId, Digest};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::csr::DeviceKey;
use super::{crl, peer};

/// How long an authority lives: longer than any device it signs for is in use.
const AUTHORITY_LIFE: Duration = Duration::from_hours(30 * 365 * 24);

/// How far certificates are dated back, so that a peer whose clock runs late still takes them.
const BACKDATE: Duration = Duration::from_hours(1);

/// Length of a certificate's serial number: 127 random bits, never guessed, never used twice
/// (RFC 5280 4.1.2.2 allows 20 bytes).
pub const SERIAL_BYTES: usize = 16;

/// How much of the hash of an authority names its list: enough to tell a few apart.
const CRL_NAME_BYTES: usize = 8;

/// From when to when a certificate is good.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// Present time in Unix milliseconds; the certificate is dated back a little.
    pub now_ms: u64,
    /// How long from now.
    pub life: Duration,
}

/// A root CA with its key.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// Where its revocation list is published.
    crl_url: Option<String>,
}

/// A key and its certificate as PEM, ready to be written to files.
pub struct PemPair {
    /// PKCS#8 private key. Secret: this type has no `Debug`.
    pub key: String,
    /// The certificate.
    pub certificate: String,
}

impl Authority {
    /// Makes a new root CA that may sign leaves only (`pathlen:0`).
    pub fn create(name: &str, serial: [u8; SERIAL_BYTES], now_ms: u64) -> Result<PemPair, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = blank(name, serial, Validity { now_ms, life: AUTHORITY_LIFE })?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(PemPair { key: key.serialize_pem(), certificate })
    }

    /// Takes up an authority made by [`Authority::create`].
    ///
    /// # Errors
    ///
    /// When either is unreadable, the key is not P-256, or key and certificate do not belong
    /// together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pkcs8_pem_and_sign_algo(key, &PKCS_ECDSA_P256_SHA256)?;
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| Error::Certificate)?;
        if peer::public_point(&certificate).as_deref() != Some(key.public_key_raw()) {
            return Err(Error::KeyMismatch);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { issuer, certificate, crl_url: None })
    }

    /// Writes into device certificates where the list of revoked ones is (RFC 5280 4.2.1.13).
    #[must_use]
    pub fn with_crl_at(self, url: String) -> Self {
        Self { crl_url: Some(url), ..self }
    }

    /// Returns the file name of its revocation list: each authority has its own, so that certificates of
    /// one that was replaced still name a list that it signs.
    pub fn crl_name(&self) -> String {
        let Digest(hash) = Digest(Sha256::digest(&self.certificate).into());
        let id = hash.iter().take(CRL_NAME_BYTES).map(|byte| format!("{byte:02x}"));
        format!("{}.crl", id.collect::<String>())
    }

    /// Returns where certificates say that its revocation list is.
    pub fn crl_url(&self) -> Option<&str> {
        self.crl_url.as_deref()
    }

    /// Returns this authority's own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Tells whether this authority signed a certificate.
    pub fn has_signed(&self, certificate: &CertificateDer<'_>) -> bool {
        let own = X509Certificate::from_der(&self.certificate);
        let (Ok((_, own)), Ok((_, other))) = (own, X509Certificate::from_der(certificate)) else {
            return false;
        };
        // The name is the cheaper question; the key answers it.
        other.issuer().as_raw() == own.subject().as_raw()
            && other.verify_signature(Some(own.public_key())).is_ok()
    }

    /// Tells whether another authority signs with the same key.
    pub fn has_key_of(&self, other: &Self) -> bool {
        peer::public_point(&self.certificate) == peer::public_point(&other.certificate)
    }

    /// Signs the certificate of a device: its id, client authentication, nothing else.
    pub fn issue_device(
        &self,
        device: &DeviceId,
        key: &DeviceKey,
        serial: [u8; SERIAL_BYTES],
        validity: Validity,
    ) -> Result<CertificateDer<'static>, Error> {
        self.issue_client(device.as_str(), peer::device_uri(device), key, serial, validity)
    }

    /// Signs the certificate of an operator, with a name that stands in paths, too: client
    /// authentication, nothing else.
    pub fn issue_operator(
        &self,
        operator: &str,
        key: &DeviceKey,
        serial: [u8; SERIAL_BYTES],
        validity: Validity,
    ) -> Result<CertificateDer<'static>, Error> {
        self.issue_client(operator, peer::operator_uri(operator), key, serial, validity)
    }

    fn issue_client(
        &self,
        name: &str,
        uri: String,
        key: &DeviceKey,
        serial: [u8; SERIAL_BYTES],
        validity: Validity,
    ) -> Result<CertificateDer<'static>, Error> {
        let mut params = leaf(name, serial, validity)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        let uris = self.crl_url.iter().cloned().collect::<Vec<_>>();
        if !uris.is_empty() {
            params.crl_distribution_points = vec![CrlDistributionPoint { uris }];
        }
        let public = rcgen::SubjectPublicKeyInfo::from_der(key.spki_der())?;
        Ok(params.signed_by(&public, &self.issuer)?.into())
    }

    /// Signs a fresh key for a server that is a client of another one: client authentication, nothing else.
    pub fn issue_client_of_broker(
        &self,
        name: &str,
        serial: [u8; SERIAL_BYTES],
        validity: Validity,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = leaf(name, serial, validity)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?.into();
        Ok((certificate, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }

    /// Signs the list of the certificates of this authority that are revoked, as of now.
    pub fn sign_crl(&self, revoked: &[crl::Revoked], now_ms: u64) -> Result<Vec<u8>, Error> {
        crl::sign(&self.issuer, revoked, now_ms)
    }

    /// Signs a fresh key for a server that is reached under `names` (DNS names and IP addresses).
    pub fn issue_server(
        &self,
        names: &[String],
        serial: [u8; SERIAL_BYTES],
        validity: Validity,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = leaf("Waxwing server", serial, validity)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        let certificate = params.signed_by(&key, &self.issuer)?.into();
        Ok((certificate, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }
}

fn leaf(
    name: &str,
    serial: [u8; SERIAL_BYTES],
    validity: Validity,
) -> Result<CertificateParams, Error> {
    let mut params = blank(name, serial, validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn blank(
    name: &str,
    serial: [u8; SERIAL_BYTES],
    validity: Validity,
) -> Result<CertificateParams, Error> {
    let now = instant(validity.now_ms)?;
    let mut params = CertificateParams::default();
    params.not_before = now.checked_sub(span(BACKDATE)?).ok_or(Error::Time)?;
    params.not_after = now.checked_add(span(validity.life)?).ok_or(Error::Time)?;
    params.serial_number = Some(SerialNumber::from_slice(&positive(serial)));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

pub(super) fn instant(unix_ms: u64) -> Result<OffsetDateTime, Error> {
    i64::try_from(unix_ms / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or(Error::Time)
}

pub(super) fn span(duration: Duration) -> Result<time::Duration, Error> {
    duration.try_into().map_err(|_| Error::Time)
}

/// RFC 5280 4.1.2.2: serial numbers are positive; a leading one keeps every one the same length.
fn positive(mut serial: [u8; SERIAL_BYTES]) -> [u8; SERIAL_BYTES] {
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    serial
}

/// Why an authority cannot be taken up or cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file holds no certificate.
    #[error("not a PEM certificate")]
    Certificate,
    /// Key and certificate come from different pairs.
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    /// The key cannot be read or a certificate cannot be built.
    #[error("the key or a certificate field is unusable")]
    Rcgen(#[from] rcgen::Error),
    /// The clock stands, or the certificate would end, where no certificate can be dated.
    #[error("the begin or the end of its life cannot be written in a certificate")]
    Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_that_no_certificate_can_have_is_an_error() {
        for days in [0, 3_000_000, u64::from(u32::MAX)] {
            let validity = Validity { now_ms: 0, life: Duration::from_hours(days * 24) };
            let made = blank("d-1", [1; SERIAL_BYTES], validity);
            assert_eq!(made.is_ok(), days == 0, "{days} days");
        }
        let validity = Validity { now_ms: 0, life: Duration::MAX };
        assert!(matches!(blank("d-1", [1; SERIAL_BYTES], validity), Err(Error::Time)));
    }
}
