//! Ed25519, strictly.

use core::fmt;

use ed25519_dalek::{Signature, VerifyingKey};

use super::{BadKey, BadSignature, Message};

/// Everything of the DER before the 32 key bytes (RFC 8410): no other encoding of such a key exists.
pub(super) const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An Ed25519 public key: canonically encoded and of full order. Kept as its encoding, a sixth of the
/// point: a device holds a dozen keys and checks a signature now and then.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Ed25519Key([u8; 32]);

impl Ed25519Key {
    pub(super) fn parse(bytes: &[u8; 32]) -> Result<Self, BadKey> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| BadKey)?;
        let canonical = key.to_edwards().compress().as_bytes() == bytes;
        if canonical && !key.is_weak() { Ok(Self(*bytes)) } else { Err(BadKey) }
    }

    /// The 32 bytes of RFC 8032.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Does what `VerifyingKey::verify_strict` does, on a message that need not lie in memory: `s`
    /// must be reduced (`verify_stream` checks it) and R must not have small order (read as a point,
    /// which is all a `VerifyingKey` is). The key's own order was checked in [`Self::parse`].
    pub(super) fn verify(
        &self,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
        let r = VerifyingKey::from_bytes(signature.r_bytes()).map_err(|_| BadSignature)?;
        if r.is_weak() {
            return Err(BadSignature);
        }
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        let mut verifier = key.verify_stream(&signature).map_err(|_| BadSignature)?;
        // A `Message` only borrows its sink mutably, hence the closure.
        message(&mut |piece| verifier.update(piece));
        verifier.finalize_and_verify().map_err(|_| BadSignature)
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Key({})", crate::hex::encode(&self.to_bytes()))
    }
}
