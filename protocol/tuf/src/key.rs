//! Public keys: reading them, naming them, and checking one signature with one key.
//!
//! A [`PublicKey`] is only ever built from an encoding that has exactly one spelling, so two keys
//! are the same key if and only if they are equal; [`crate::verify`] counts thresholds by that. This
//! module knows nothing of roles or thresholds and holds no private keys.

#[cfg(feature = "p256")]
mod ecdsa;
mod ed25519;
mod pem;
#[cfg(waxwing_foreign = "rsa")]
mod rsa;

use alloc::string::String;
#[cfg(feature = "p256")]
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256};

use crate::dialect;
use crate::hex;
#[cfg(any(feature = "p256", waxwing_foreign = "rsa"))]
use crate::json::Text;
use crate::json::Value;

#[cfg(feature = "p256")]
pub use self::ecdsa::EcdsaP256Key;
pub use self::ed25519::Ed25519Key;
#[cfg(waxwing_foreign = "rsa")]
pub use self::rsa::RsaKey;

/// Longest signature of a supported scheme, in bytes: a P-256 signature in DER.
#[cfg(not(waxwing_foreign = "rsa"))]
pub const SIGNATURE_BYTES_MAX: usize = 72;
#[cfg(waxwing_foreign = "rsa")]
pub use self::rsa::SIGNATURE_BYTES_MAX;

/// Longest PEM text of a public key read: a P-256 key takes 178 bytes.
#[cfg(not(waxwing_foreign = "rsa"))]
pub const PEM_BYTES_MAX: usize = 256;
#[cfg(waxwing_foreign = "rsa")]
pub use self::rsa::PEM_BYTES_MAX;

/// A key that checks signatures.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PublicKey {
    /// ECDSA on P-256 with SHA-256; signatures are DER. TUF's `ecdsa-sha2-nistp256`.
    #[cfg(feature = "p256")]
    EcdsaP256(EcdsaP256Key),
    /// Ed25519 with the strict rules of `ed25519_dalek::VerifyingKey::verify_strict`.
    Ed25519(Ed25519Key),
    /// RSA, which no device reads: only what talks to strangers for the conformance suite does.
    #[cfg(waxwing_foreign = "rsa")]
    Rsa(RsaKey),
}

/// The signature was not made by this key over these bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadSignature;

/// The bytes are not a public key of a supported kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadKey;

/// Writes a message into the sink it is given, piece by piece. May be called more than once.
pub(crate) type Message<'m> = &'m dyn Fn(&mut dyn FnMut(&[u8]));

impl PublicKey {
    /// Reads the 32 bytes of an Ed25519 key (RFC 8032).
    pub fn ed25519(bytes: &[u8; 32]) -> Result<Self, BadKey> {
        Ed25519Key::parse(bytes).map(Self::Ed25519)
    }

    /// Reads an uncompressed P-256 point (SEC 1, 65 bytes starting with 4).
    #[cfg(feature = "p256")]
    pub fn p256(point: &[u8; 65]) -> Result<Self, BadKey> {
        EcdsaP256Key::parse(point).map(Self::EcdsaP256)
    }

    /// Reads an X.509 `SubjectPublicKeyInfo` in DER, as certificates carry it.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, BadKey> {
        if let Some(bytes) = der.strip_prefix(&ed25519::SPKI_PREFIX) {
            return Self::ed25519(bytes.try_into().map_err(|_| BadKey)?);
        }
        #[cfg(feature = "p256")]
        if let Some(point) = der.strip_prefix(&ecdsa::SPKI_PREFIX) {
            return Self::p256(point.try_into().map_err(|_| BadKey)?);
        }
        #[cfg(waxwing_foreign = "rsa")]
        return RsaKey::parse(der).map(Self::Rsa);
        #[cfg(not(waxwing_foreign = "rsa"))]
        Err(BadKey)
    }

    /// Reads a `PUBLIC KEY` PEM text (RFC 7468), the form in which TUF carries ECDSA keys.
    pub fn from_pem(pem: &str) -> Result<Self, BadKey> {
        if pem.len() > PEM_BYTES_MAX {
            return Err(BadKey);
        }
        let mut der = [0; PEM_BYTES_MAX];
        pem::decode(pem, &mut der).ok_or(BadKey).and_then(Self::from_spki_der)
    }

    /// Reads a TUF key object (spec 4.2): `{"keytype", "scheme", "keyval": {"public"}}`.
    pub fn from_tuf_json(key: Value<'_>) -> Result<Self, BadKey> {
        let field = |name| key.field(name)?.as_plain();
        let public =
            key.field("keyval").and_then(|value| value.field("public")?.as_text()).ok_or(BadKey)?;
        match (field("keytype"), field("scheme")) {
            (Some("ed25519"), scheme)
                if scheme == Some("ed25519") || scheme.is_none() && dialect::UPTANE_ATS =>
            {
                let bytes = public.as_plain().and_then(hex::decode);
                Self::ed25519(&bytes.ok_or(BadKey)?)
            }
            // `ecdsa-sha2-nistp256` as key type is what older repositories write.
            #[cfg(feature = "p256")]
            (Some("ecdsa" | "ecdsa-sha2-nistp256"), Some("ecdsa-sha2-nistp256")) => {
                Self::from_pem_text(public)
            }
            #[cfg(waxwing_foreign = "rsa")]
            (Some("rsa"), Some("rsassa-pss-sha256")) => Self::from_pem_text(public),
            _ => Err(BadKey),
        }
    }

    #[cfg(any(feature = "p256", waxwing_foreign = "rsa"))]
    fn from_pem_text(text: Text<'_>) -> Result<Self, BadKey> {
        let pem: String = text.chars().take(PEM_BYTES_MAX + 1).collect();
        Self::from_pem(&pem)
    }

    /// Checks a signature over the concatenation of `parts`.
    pub fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> Result<(), BadSignature> {
        self.verify_message(&|sink| parts.iter().for_each(|part| sink(part)), signature)
    }

    /// Checks a signature over a message that is produced piece by piece.
    pub(crate) fn verify_message(
        &self,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        match self {
            #[cfg(feature = "p256")]
            Self::EcdsaP256(key) => key.verify(message, signature),
            Self::Ed25519(key) => key.verify(message, signature),
            #[cfg(waxwing_foreign = "rsa")]
            Self::Rsa(key) => key.verify(message, signature),
        }
    }

    /// The key as an X.509 `SubjectPublicKeyInfo` in DER.
    pub fn spki_der(&self) -> Vec<u8> {
        match self {
            #[cfg(feature = "p256")]
            Self::EcdsaP256(key) => [ecdsa::SPKI_PREFIX.as_slice(), &key.to_bytes()].concat(),
            Self::Ed25519(key) => [ed25519::SPKI_PREFIX.as_slice(), &key.to_bytes()].concat(),
            #[cfg(waxwing_foreign = "rsa")]
            Self::Rsa(key) => key.spki_der(),
        }
    }

    /// The `keytype` of TUF (spec 4.2).
    pub const fn key_type(&self) -> &'static str {
        match self {
            #[cfg(feature = "p256")]
            Self::EcdsaP256(_) => "ecdsa",
            Self::Ed25519(_) => "ed25519",
            #[cfg(waxwing_foreign = "rsa")]
            Self::Rsa(_) => "rsa",
        }
    }

    /// The `scheme` of TUF (spec 4.2).
    pub const fn scheme(&self) -> &'static str {
        match self {
            #[cfg(feature = "p256")]
            Self::EcdsaP256(_) => "ecdsa-sha2-nistp256",
            Self::Ed25519(_) => "ed25519",
            #[cfg(waxwing_foreign = "rsa")]
            Self::Rsa(_) => "rsassa-pss-sha256",
        }
    }

    /// The `keyval.public` of TUF (spec 4.2): hex for Ed25519, PEM for P-256.
    pub fn public_text(&self) -> String {
        match self {
            #[cfg(feature = "p256")]
            Self::EcdsaP256(_) => self.pem(),
            Self::Ed25519(key) => hex::encode(&key.to_bytes()),
            #[cfg(waxwing_foreign = "rsa")]
            Self::Rsa(_) => self.pem(),
        }
    }

    /// The key's name in metadata: the SHA-256 of its TUF key object in canonical JSON, in hex.
    /// Readers do not rely on it: TAP 12 lets a repository name its keys as it likes.
    pub fn key_id(&self) -> String {
        let (kind, scheme, public) = (self.key_type(), self.scheme(), self.public_text());
        let object = alloc::format!(
            r#"{{"keytype":"{kind}","keyval":{{"public":"{public}"}},"scheme":"{scheme}"}}"#
        );
        hex::encode(&Sha256::digest(object))
    }

    #[cfg(feature = "p256")]
    fn pem(&self) -> String {
        let mut buffer = [0; PEM_BYTES_MAX];
        let line_ending = pem_rfc7468::LineEnding::LF;
        // The buffer has room for either kind of key, so the error case cannot occur.
        pem_rfc7468::encode("PUBLIC KEY", line_ending, &self.spki_der(), &mut buffer)
            .unwrap_or_default()
            .to_string()
    }
}

impl fmt::Display for BadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("signature does not belong to this key and message")
    }
}

impl core::error::Error for BadSignature {}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an Ed25519 or P-256 public key")
    }
}

impl core::error::Error for BadKey {}

#[cfg(test)]
mod tests;
