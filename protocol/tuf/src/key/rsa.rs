//! RSASSA-PSS with SHA-256, for the conformance suite and nobody else.
//!
//! Exists only under `--cfg waxwing_foreign="rsa"`, which is no feature on purpose: a build with all
//! features, such as every test of this workspace, has the keys that devices have and no others.

use alloc::vec::Vec;

use rsa::RsaPublicKey;
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use rsa::pss::{Signature, VerifyingKey};
use rsa::signature::hazmat::PrehashVerifier as _;
use rsa::traits::PublicKeyParts as _;
use sha2::{Digest, Sha256};

use super::{BadKey, BadSignature, Message};

/// Longest signature read, in bytes: that of a key of 4096 bits.
pub const SIGNATURE_BYTES_MAX: usize = 512;

/// Longest PEM text of a public key read: a key of 4096 bits takes 800 bytes.
pub const PEM_BYTES_MAX: usize = 1_024;

/// Shortest modulus read, in bytes (NIST SP 800-131A).
const MODULUS_BYTES_MIN: usize = 256;

/// An RSA public key of 2048 to 4096 bits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RsaKey(RsaPublicKey);

impl RsaKey {
    pub(super) fn parse(spki_der: &[u8]) -> Result<Self, BadKey> {
        let key = RsaPublicKey::from_public_key_der(spki_der).map_err(|_| BadKey)?;
        let allowed = MODULUS_BYTES_MIN..=SIGNATURE_BYTES_MAX;
        if allowed.contains(&key.size()) { Ok(Self(key)) } else { Err(BadKey) }
    }

    pub(super) fn verify(
        &self,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let signature = Signature::try_from(signature).map_err(|_| BadSignature)?;
        let mut hash = Sha256::new();
        message(&mut |piece| hash.update(piece));
        VerifyingKey::<Sha256>::new(self.0.clone())
            .verify_prehash(&hash.finalize(), &signature)
            .map_err(|_| BadSignature)
    }

    pub(super) fn spki_der(&self) -> Vec<u8> {
        // A key that was parsed can be written.
        self.0.to_public_key_der().map(|der| der.as_bytes().to_vec()).unwrap_or_default()
    }
}
