//! The secrets that existing devices share with the server (D23), sealed for the database.
//!
//! What opens them is in the folder of secrets: a copy of the database signs nothing. A sealed secret
//! opens only for the device it was sealed for. Not here: the text that is signed
//! ([`waxwing_wire::existing`]).

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use waxwing_wire::DeviceId;
use zeroize::Zeroizing;

/// Bytes of the key: AES-256.
pub const KEY_BYTES: usize = 32;

/// Shortest secret in bytes: what the gateways of such devices have asked for. Shorter ones can be
/// guessed from one message.
pub const SECRET_BYTES_MIN: usize = 16;
/// Longest secret in bytes: more than a block of SHA-256 adds nothing (RFC 2104, section 3).
pub const SECRET_BYTES_MAX: usize = 128;

/// What is sealed, and nothing else.
const PURPOSE: &str = "waxwing message secret v1";

/// Seals secrets, and opens them.
pub struct Vault(RandomizedNonceKey);

/// What a device and the server know.
pub struct Secret(Zeroizing<String>);

impl Vault {
    /// Takes the key.
    pub(crate) fn new(key: &Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice());
        Self(key.expect("the key has the length of the algorithm"))
    }

    /// Seals a secret for the database. Each time it looks different.
    pub(crate) fn seal(&self, device: &DeviceId, secret: &Secret) -> Vec<u8> {
        let mut sealed = secret.0.as_bytes().to_vec();
        let nonce = self.0.seal_in_place_append_tag(aad(device), &mut sealed);
        let nonce = nonce.expect("a secret is short, and there is randomness");
        sealed.splice(0..0, *nonce.as_ref());
        sealed
    }

    /// Opens what was sealed for a device.
    pub(crate) fn open(&self, device: &DeviceId, sealed: &[u8]) -> Option<Secret> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let secret = self.0.open_in_place(nonce, aad(device), &mut opened).ok()?;
        let secret = str::from_utf8(secret).ok()?;
        Some(Secret(Zeroizing::new(secret.to_owned())))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

fn aad(device: &DeviceId) -> Aad<String> {
    Aad::from(format!("{PURPOSE}\n{device}"))
}

impl Secret {
    /// Takes the text of a secret, unless it is too short, too long, or hard to type.
    pub(crate) fn parse(text: Zeroizing<String>) -> Option<Self> {
        let fits = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(Self(text))
    }

    /// Returns the text, for the device.
    pub(crate) fn to_text(&self) -> &str {
        &self.0
    }

    /// Tells whether a signature is that of a text: HMAC-SHA256 (RFC 2104), compared in constant time.
    pub(crate) fn made(&self, signature: &[u8], text: &str) -> bool {
        let mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes());
        let mac = mac.expect("HMAC takes keys of any length").chain_update(text);
        mac.verify_slice(signature).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::new(&Zeroizing::new([byte; KEY_BYTES]))
    }

    fn secret() -> Secret {
        Secret::parse(Zeroizing::new("supersecretkey123".to_owned())).unwrap()
    }

    fn device(id: &str) -> DeviceId {
        DeviceId::parse(id).unwrap()
    }

    #[test]
    fn a_secret_opens_for_its_device_and_with_its_key_only() {
        let sealed = vault(1).seal(&device("d-1"), &secret());
        assert_eq!(vault(1).open(&device("d-1"), &sealed).unwrap().to_text(), secret().to_text());
        assert!(vault(1).open(&device("d-2"), &sealed).is_none());
        assert!(vault(2).open(&device("d-1"), &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault(1).open(&device("d-1"), &changed).is_none(), "byte {at}");
            assert!(vault(1).open(&device("d-1"), &sealed[..at]).is_none(), "{at} bytes");
        }
    }

    #[test]
    fn the_same_secret_never_looks_the_same() {
        let seal = || vault(1).seal(&device("d-1"), &secret());
        assert_ne!(seal(), seal());
    }

    #[test]
    fn secrets_that_can_be_guessed_or_not_be_typed_are_refused() {
        let long = "x".repeat(SECRET_BYTES_MAX + 1);
        for bad in ["", "fifteen-letters", "with spaces in it, 30 of them", &long] {
            assert!(Secret::parse(Zeroizing::new(bad.to_owned())).is_none(), "{bad}");
        }
    }

    /// Computed with Python's `hmac`.
    #[test]
    fn golden_vector_of_a_signature() {
        let signature = [
            0x12, 0x73, 0x1c, 0xbd, 0x09, 0x7e, 0x4a, 0x8f, 0xa0, 0xad, 0x36, 0x46, 0xd5, 0x7f,
            0x5b, 0xf4, 0x3b, 0x9c, 0xfd, 0xe0, 0xe6, 0xae, 0x58, 0x2b, 0x88, 0x6e, 0xff, 0x5e,
            0x68, 0x4f, 0x81, 0x9b,
        ];
        assert!(secret().made(&signature, "what do ya want for nothing?"));
        assert!(!secret().made(&signature[..31], "what do ya want for nothing?"));
        assert!(!secret().made(&signature, "what do ya want for nothing!"));
    }
}
