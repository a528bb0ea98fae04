//! ECDSA on P-256 with SHA-256.

use alloc::boxed::Box;
use core::fmt;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::{BadKey, BadSignature, Message};

/// Everything of the DER before the uncompressed point (RFC 5480): `id-ecPublicKey`, `prime256v1`.
pub(super) const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A P-256 public key: a point on the curve. Apart, so that a device with Ed25519 keys makes no room
/// for the larger kind.
#[derive(Clone, Eq, PartialEq)]
pub struct EcdsaP256Key(Box<VerifyingKey>);

impl EcdsaP256Key {
    pub(super) fn parse(point: &[u8; 65]) -> Result<Self, BadKey> {
        let key = VerifyingKey::from_sec1_bytes(point).map_err(|_| BadKey)?;
        Ok(Self(Box::new(key)))
    }

    /// The uncompressed point of SEC 1.
    pub fn to_bytes(&self) -> [u8; 65] {
        let mut bytes = [0; 65];
        for (to, from) in bytes.iter_mut().zip(self.0.to_encoded_point(false).as_bytes()) {
            *to = *from;
        }
        bytes
    }

    /// Accepts strict DER only, r and s from 1 to n-1. A high s is fine: signatures are never
    /// counted or compared, keys are.
    pub(super) fn verify(
        &self,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let signature = Signature::from_der(signature).map_err(|_| BadSignature)?;
        let mut hash = Sha256::new();
        message(&mut |piece| hash.update(piece));
        self.check(&hash.finalize(), &signature)
    }

    /// Checks a signature, r and s of 32 bytes each, over whatever has this SHA-256: for formats that
    /// sign hashes. Who has the message takes [`PublicKey::verify`](super::PublicKey::verify).
    pub fn verify_hash(&self, sha256: &[u8; 32], signature: &[u8; 64]) -> Result<(), BadSignature> {
        let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
        self.check(sha256, &signature)
    }

    fn check(&self, sha256: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        self.0.verify_prehash(sha256, signature).map_err(|_| BadSignature)
    }
}

impl fmt::Debug for EcdsaP256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcdsaP256Key({})", crate::hex::encode(&self.to_bytes()))
    }
}
