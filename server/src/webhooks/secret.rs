//! The secret of each webhook, and the signature of each message.
//!
//! A secret follows from a key in the folder of secrets and the name of the webhook, which is never
//! given again: a copy of the database forges nothing. Not here: where the key is kept (`setup`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of the key and of each secret: as many as SHA-256 has (RFC 2104, section 3; Standard Webhooks
/// asks for 24 to 64).
pub const KEY_BYTES: usize = 32;

/// What a secret is derived for, and nothing else.
const PURPOSE: &[u8] = b"waxwing webhook secret v1\n";

/// What the text of a secret begins with, so that scanners for leaked secrets know it (Standard
/// Webhooks, "Symmetric signature scheme").
const SECRET_PREFIX: &str = "whsec_";

/// The key from which the secrets of all webhooks follow.
pub struct Key(Box<Zeroizing<[u8; KEY_BYTES]>>);

/// What the server and one receiver know.
pub struct Secret(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// Takes the bytes.
    pub fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self(Box::new(bytes))
    }

    /// Returns the secret of a webhook.
    pub fn secret(&self, webhook: &str) -> Secret {
        Secret(Zeroizing::new(hmac(&self.0, &[PURPOSE, webhook.as_bytes()])))
    }
}

impl Secret {
    /// Returns the text that a receiver is given.
    pub fn to_text(&self) -> String {
        format!("{SECRET_PREFIX}{}", STANDARD.encode(*self.0))
    }

    /// Signs a message (Standard Webhooks, "Signature scheme": `msg_id.timestamp.payload`).
    pub fn sign(&self, message: &str, timestamp_s: u64, body: &str) -> String {
        let head = format!("{message}.{timestamp_s}.");
        let mac = hmac(&self.0, &[head.as_bytes(), body.as_bytes()]);
        format!("v1,{}", STANDARD.encode(mac))
    }
}

fn hmac(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> [u8; KEY_BYTES] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().fold(mac, Mac::chain_update).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_webhook_has_a_secret_of_its_own_that_stays() {
        let key = Key::new(Zeroizing::new([7; KEY_BYTES]));
        let text = key.secret("wh-1").to_text();
        assert_eq!(text, key.secret("wh-1").to_text());
        assert_ne!(text, key.secret("wh-2").to_text());
        let decoded = STANDARD.decode(text.strip_prefix("whsec_").unwrap()).unwrap();
        assert_eq!(decoded.len(), KEY_BYTES);
    }

    #[test]
    fn a_signature_is_of_the_identifier_the_time_and_every_byte() {
        let secret = Key::new(Zeroizing::new([7; KEY_BYTES])).secret("wh-1");
        let signature = secret.sign("msg_1", 10, "{}");
        assert!(signature.starts_with("v1,"));
        for other in [secret.sign("msg_2", 10, "{}"), secret.sign("msg_1", 11, "{}")] {
            assert_ne!(signature, other);
        }
        assert_ne!(signature, secret.sign("msg_1", 10, "{} "));
    }
}
