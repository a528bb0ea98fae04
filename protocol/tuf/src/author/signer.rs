//! Who signs: a port, so that a key in a file and a key in a token look alike, and the two kinds
//! of key we can hold in memory.
//!
//! Not here: where keys are stored and how they are encrypted there. Randomness is an argument.

use ed25519_dalek::Signer as _;
use pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use zeroize::Zeroizing;

use super::Error;
use crate::key::PublicKey;

/// Bytes of randomness that make a key of either algorithm.
pub const SEED_BYTES: usize = 32;

/// Somebody who can sign.
pub trait Signer: Send + Sync {
    /// Returns the public half.
    fn public(&self) -> &PublicKey;

    /// Returns the id under which signatures are listed: see [`PublicKey::key_id`].
    fn key_id(&self) -> &str;

    /// Signs the message: 64 bytes for Ed25519, a DER `Ecdsa-Sig-Value` over SHA-256 for P-256.
    ///
    /// # Errors
    ///
    /// [`SignError`] when the key cannot be reached; a key in memory always can.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// The key could not sign.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the key could not sign: {0}")]
pub struct SignError(pub String);

/// Which kind of key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// `ed25519` (RFC 8032).
    Ed25519,
    /// `ecdsa-sha2-nistp256`, for tokens without Ed25519.
    EcdsaP256,
}

/// An Ed25519 key in memory, wiped when dropped.
pub struct Ed25519Signer {
    secret: ed25519_dalek::SigningKey,
    public: PublicKey,
    key_id: String,
}

impl Ed25519Signer {
    /// Makes the key that belongs to a seed.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] when the public half is one that verifiers refuse, which no random seed gives.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Result<Self, Error> {
        Self::new(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    fn new(secret: ed25519_dalek::SigningKey) -> Result<Self, Error> {
        let public = PublicKey::ed25519(secret.verifying_key().as_bytes());
        let public = public.map_err(|_| Error::Key)?;
        Ok(Self { key_id: public.key_id(), public, secret })
    }
}

impl Signer for Ed25519Signer {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn key_id(&self) -> &str {
        &self.key_id
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.secret.sign(message).to_bytes().to_vec())
    }
}

/// A P-256 key in memory, wiped when dropped.
pub struct P256Signer {
    secret: p256::ecdsa::SigningKey,
    public: PublicKey,
    key_id: String,
}

impl P256Signer {
    /// Makes the key that belongs to a seed.
    ///
    /// # Errors
    ///
    /// [`Error::Seed`] when the seed is zero or not below the order of the curve, which happens
    /// to one random seed in 2^32: take another.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Result<Self, Error> {
        p256::ecdsa::SigningKey::from_slice(seed).map_err(|_| Error::Seed).and_then(Self::new)
    }

    fn new(secret: p256::ecdsa::SigningKey) -> Result<Self, Error> {
        let point = secret.verifying_key().to_encoded_point(false);
        let point = point.as_bytes().try_into().map_err(|_| Error::Key)?;
        let public = PublicKey::p256(point).map_err(|_| Error::Key)?;
        Ok(Self { key_id: public.key_id(), public, secret })
    }
}

impl Signer for P256Signer {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn key_id(&self) -> &str {
        &self.key_id
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature: p256::ecdsa::DerSignature = self.secret.sign(message);
        Ok(signature.as_bytes().to_vec())
    }
}

/// Turns a P-256 signature as tokens give it, r and s of 32 bytes each, into the DER form that
/// [`Signer::sign`] returns.
///
/// # Errors
///
/// [`Error::Sign`] when r or s is not between 1 and the order of the curve.
pub fn p256_signature_der(raw: &[u8]) -> Result<Vec<u8>, Error> {
    let signature = p256::ecdsa::Signature::from_slice(raw);
    let signature = signature.map_err(|_| SignError("not a P-256 signature".to_owned()))?;
    Ok(signature.to_der().as_bytes().to_vec())
}

/// A key in memory of either kind, as PKCS#8 (RFC 5958) holds it.
pub enum SecretKey {
    /// An Ed25519 key.
    Ed25519(Ed25519Signer),
    /// A P-256 key.
    EcdsaP256(P256Signer),
}

impl SecretKey {
    /// Makes the key that belongs to a seed.
    ///
    /// # Errors
    ///
    /// As [`P256Signer::from_seed`].
    pub fn from_seed(algorithm: Algorithm, seed: &[u8; SEED_BYTES]) -> Result<Self, Error> {
        match algorithm {
            Algorithm::EcdsaP256 => P256Signer::from_seed(seed).map(Self::EcdsaP256),
            Algorithm::Ed25519 => Ed25519Signer::from_seed(seed).map(Self::Ed25519),
        }
    }

    /// Reads an unencrypted PKCS#8 document in DER.
    ///
    /// # Errors
    ///
    /// [`Error::Pkcs8`] when it holds neither an Ed25519 nor a P-256 key.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, Error> {
        if let Ok(secret) = ed25519_dalek::SigningKey::from_pkcs8_der(der) {
            return Ed25519Signer::new(secret).map(Self::Ed25519);
        }
        let secret = p256::ecdsa::SigningKey::from_pkcs8_der(der).map_err(|_| Error::Pkcs8)?;
        P256Signer::new(secret).map(Self::EcdsaP256)
    }

    /// Writes an unencrypted PKCS#8 document in DER.
    ///
    /// # Errors
    ///
    /// [`Error::Pkcs8`] when the encoder refuses, which it has no reason to.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let document = match self {
            Self::Ed25519(signer) => signer.secret.to_pkcs8_der(),
            Self::EcdsaP256(signer) => signer.secret.to_pkcs8_der(),
        };
        document.map(|document| document.to_bytes()).map_err(|_| Error::Pkcs8)
    }

    fn signer(&self) -> &dyn Signer {
        match self {
            Self::Ed25519(signer) => signer,
            Self::EcdsaP256(signer) => signer,
        }
    }
}

impl Signer for SecretKey {
    fn public(&self) -> &PublicKey {
        self.signer().public()
    }

    fn key_id(&self) -> &str {
        self.signer().key_id()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.signer().sign(message)
    }
}
