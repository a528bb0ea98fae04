//! A device's key, made on the device, and the certificate for it.

mod validity;

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt::{self, Write as _};

use p256::SecretKey;
use p256::ecdsa::signature::DigestSigner as _;
use p256::ecdsa::{DerSignature, Signature, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use sha2::{Digest as _, Sha256};
use waxwing_agent::network::{CannotSign, Entropy, Signer};
use zeroize::Zeroizing;

use crate::random::Random;

/// Bytes of a private key.
pub const KEY_BYTES: usize = 32;
/// Longest certificate of our own, in bytes: it goes out in one record of TLS.
pub const CERTIFICATE_BYTES_MAX: usize = 1500;
/// Share of its life after which a certificate is renewed, in thirds.
const RENEW_AFTER_THIRDS: u64 = 2;

/// A private key, P-256.
#[derive(Clone)]
pub struct DeviceKey(SigningKey);

impl DeviceKey {
    /// Makes a key.
    pub fn generate(entropy: &mut impl Entropy) -> Self {
        Self(SigningKey::random(&mut Random(Drawn(entropy))))
    }

    /// Takes the key out of storage.
    ///
    /// # Errors
    ///
    /// [`Unusable`] when the bytes are no key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unusable> {
        SigningKey::from_slice(bytes).map(Self).map_err(|_| Unusable)
    }

    /// Returns the key for storage.
    pub fn to_bytes(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// Takes the key out of PKCS#8 DER.
    ///
    /// # Errors
    ///
    /// [`Unusable`] when it holds no key for P-256.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, Unusable> {
        let key = SecretKey::from_pkcs8_der(der).map_err(|_| Unusable)?;
        Ok(Self(key.into()))
    }

    /// Returns the key as PKCS#8 DER, for tools on a host.
    ///
    /// # Errors
    ///
    /// [`Unusable`] when there is no memory for it.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, Unusable> {
        let key = SecretKey::from(self.0.as_nonzero_scalar());
        let document = key.to_pkcs8_der().map_err(|_| Unusable)?;
        Ok(Zeroizing::new(document.as_bytes().to_vec()))
    }

    /// Returns the public key as an uncompressed point.
    pub(crate) fn public_point(&self) -> [u8; 65] {
        let point = self.0.verifying_key().to_encoded_point(false);
        point.as_bytes().try_into().expect("an uncompressed point of P-256 has 65 bytes")
    }

    /// Signs the parts, one after another: ECDSA with SHA-256.
    ///
    /// # Errors
    ///
    /// [`CannotSign`] never, with a key in memory.
    pub fn sign(&self, parts: &[&[u8]]) -> Result<DerSignature, CannotSign> {
        let hash = parts.iter().fold(Sha256::new(), Sha256::chain_update);
        let signature: Signature = self.0.try_sign_digest(hash).map_err(|_| CannotSign)?;
        Ok(signature.to_der())
    }

    pub(crate) const fn signing(&self) -> &SigningKey {
        &self.0
    }
}

impl PartialEq for DeviceKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.verifying_key() == other.0.verifying_key()
    }
}

impl Eq for DeviceKey {}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey")
    }
}

/// A source of randomness that is borrowed.
struct Drawn<'e, E>(&'e mut E);

impl<E: Entropy> Entropy for Drawn<'_, E> {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// A key with its certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    key: DeviceKey,
    certificate: Vec<u8>,
    renew_at_s: u64,
}

impl Identity {
    /// Puts a key and its certificate, in DER, together.
    ///
    /// # Errors
    ///
    /// [`Unusable`] when the certificate cannot be read, is too long, or is for another key.
    pub fn new(key: DeviceKey, certificate: Vec<u8>) -> Result<Self, Unusable> {
        if certificate.len() > CERTIFICATE_BYTES_MAX {
            return Err(Unusable);
        }
        let read = validity::read(&certificate).ok_or(Unusable)?;
        if read.public_point != key.public_point() {
            return Err(Unusable);
        }
        let life_s = read.until_s.checked_sub(read.from_s).ok_or(Unusable)?;
        let renew_at_s = read.from_s.saturating_add(life_s / 3 * RENEW_AFTER_THIRDS);
        Ok(Self { key, certificate, renew_at_s })
    }

    /// Takes key and certificate out of storage.
    ///
    /// # Errors
    ///
    /// [`Unusable`] when they are not what [`Identity::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unusable> {
        let (key, certificate) = bytes.split_at_checked(KEY_BYTES).ok_or(Unusable)?;
        Self::new(DeviceKey::from_bytes(key)?, certificate.to_vec())
    }

    /// Returns key and certificate for storage.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Vec::with_capacity(KEY_BYTES + self.certificate.len());
        bytes.extend_from_slice(&*self.key.to_bytes());
        bytes.extend_from_slice(&self.certificate);
        Zeroizing::new(bytes)
    }

    /// Returns the key.
    pub const fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// Returns the certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Tells whether it is time for the next certificate.
    pub const fn is_due(&self, unix_s: u64) -> bool {
        unix_s >= self.renew_at_s
    }
}

/// Key or certificate cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unusable;

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key or certificate cannot be used")
    }
}

impl core::error::Error for Unusable {}

/// The identity of a device: another one after a renewal.
pub type SharedIdentity = Rc<RefCell<Rc<Identity>>>;

/// Signs messages with the key of the certificate.
#[derive(Clone, Debug)]
pub struct MessageSigner(pub SharedIdentity);

impl Signer for MessageSigner {
    fn sign(&mut self, parts: &[&[u8]]) -> Result<String, CannotSign> {
        let signature = self.0.borrow().key.sign(parts)?;
        let signature = signature.as_bytes();
        let mut hex = String::with_capacity(2 * signature.len());
        for byte in signature {
            write!(hex, "{byte:02x}").map_err(|_| CannotSign)?;
        }
        Ok(hex)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(key: &DeviceKey, until: i32) -> Vec<u8> {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) =
            (date_time_ymd(2026, 1, 1), date_time_ymd(until, 1, 1));
        let pair = KeyPair::try_from(key.to_pkcs8_der().unwrap().as_slice()).unwrap();
        params.self_signed(&pair).unwrap().der().to_vec()
    }

    fn key(byte: u8) -> DeviceKey {
        DeviceKey::from_bytes(&[byte; KEY_BYTES]).unwrap()
    }

    #[test]
    fn an_identity_survives_storage_and_keeps_its_key_to_itself() {
        let identity = Identity::new(key(7), certificate(&key(7), 2027)).unwrap();
        let again = Identity::from_bytes(&identity.to_bytes()).unwrap();
        assert_eq!((again.key(), again.certificate()), (identity.key(), identity.certificate()));
        assert!(!std::format!("{:?}", key(7)).contains('7'));
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        assert_eq!(Identity::new(key(7), certificate(&key(8), 2027)).unwrap_err(), Unusable);
        assert!(Identity::from_bytes(&[7; 31]).is_err());
        assert!(DeviceKey::from_bytes(&[0; 32]).is_err());
        assert!(DeviceKey::from_bytes(&[0xff; 32]).is_err());
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life_in_any_century() {
        for (until, due_s) in
            [(2027, 1_767_225_600 + 365 * 24 * 3600 / 3 * 2), (2056, 2_398_348_800)]
        {
            let identity = Identity::new(key(7), certificate(&key(7), until)).unwrap();
            assert!(!identity.is_due(due_s - 1), "{until}");
            assert!(identity.is_due(due_s), "{until}");
        }
    }

    proptest! {
        #[test]
        fn foreign_certificates_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Identity::new(key(7), bytes);
        }
    }
}
