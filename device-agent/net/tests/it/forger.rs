//! A TLS 1.3 server that says whatever the test wants, in any order: what a man in the middle or a
//! server that was taken over could do, and a proper library does not. It only makes records;
//! `wire.rs` and a fuzz target send them.

use aes_gcm::{AeadInPlace as _, Aes128Gcm, KeyInit, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use p256::ecdh::diffie_hellman;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::{PublicKey, SecretKey};
use sha2::{Digest as _, Sha256};

pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;
/// `EncryptedExtensions` without any.
pub(crate) const EXTENSIONS: [u8; 6] = [8, 0, 0, 2, 0, 0];

/// One side of a conversation after the greetings.
pub(crate) struct Forger {
    /// Everything that was said, which both sides sign.
    said: Sha256,
    secret: [u8; 32],
    traffic: [u8; 32],
    count: u64,
}

impl Forger {
    /// Answers the greeting of a client, and agrees on keys with it.
    pub(crate) fn greet(client_hello: &[u8]) -> (Self, Vec<u8>) {
        let mut said = Sha256::new().chain_update(client_hello);
        // Its share: the group, the length, the point.
        let share = [0, 0x17, 0, 65, 4];
        let at = client_hello.windows(5).position(|bytes| bytes == share).unwrap() + 4;
        let theirs = PublicKey::from_sec1_bytes(&client_hello[at..at + 65]).unwrap();
        let ours = SecretKey::from_slice(&[9; 32]).unwrap();
        let point = ours.public_key().to_encoded_point(false);
        let extensions = [0, 0x2b, 0, 2, 3, 4, 0, 0x33, 0, 69, 0, 0x17, 0, 65];
        let extensions = [&extensions[..], point.as_bytes()].concat();
        let [.., high, low] = extensions.len().to_be_bytes();
        let body = [&[3, 3], &[7; 32][..], &[0, 0x13, 1, 0, high, low], &extensions].concat();
        let hello = message(2, &body);
        said.update(&hello);
        let early = extract(&[0; 32], &[0; 32]);
        let derived: [u8; 32] = expand(&early, "derived", &Sha256::digest([]));
        let shared = diffie_hellman(ours.to_nonzero_scalar(), theirs.as_affine());
        let secret = extract(&derived, shared.raw_secret_bytes());
        let traffic = expand(&secret, "s hs traffic", &said.clone().finalize());
        (Self { said, secret, traffic, count: 0 }, record(HANDSHAKE, &hello))
    }

    /// Says messages of the handshake, all in one record.
    pub(crate) fn say(&mut self, messages: &[&[u8]]) -> Vec<u8> {
        let said = messages.concat();
        self.said.update(&said);
        self.seal(&[&said[..], &[HANDSHAKE]].concat())
    }

    /// Proves with this key that the certificate shown is ours.
    pub(crate) fn proof(&self, key: &SigningKey) -> Vec<u8> {
        let said = self.said.clone().finalize();
        let begins = b"TLS 1.3, server CertificateVerify\0";
        let signed = [&[b' '; 64], &begins[..], &said].concat();
        let signature: DerSignature = key.sign(&signed);
        let [.., high, low] = signature.as_bytes().len().to_be_bytes();
        message(15, &[&[4, 3, high, low], signature.as_bytes()].concat())
    }

    /// Says that it is finished, and takes the keys for what comes after.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let key: [u8; 32] = expand(&self.traffic, "finished", &[]);
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key).unwrap();
        mac.update(&self.said.clone().finalize());
        let finished = message(20, &mac.finalize().into_bytes());
        let record = self.say(&[&finished]);
        let derived: [u8; 32] = expand(&self.secret, "derived", &Sha256::digest([]));
        let main = extract(&derived, &[0; 32]);
        self.traffic = expand(&main, "s ap traffic", &self.said.clone().finalize());
        self.count = 0;
        record
    }

    /// Makes a record with this inside, its kind behind it.
    pub(crate) fn seal(&mut self, inside: &[u8]) -> Vec<u8> {
        let key = expand::<16>(&self.traffic, "key", &[]);
        let mut nonce = expand::<12>(&self.traffic, "iv", &[]);
        for (to, count) in nonce[4..].iter_mut().zip(self.count.to_be_bytes()) {
            *to ^= count;
        }
        self.count += 1;
        let header = &record(APPLICATION_DATA, &vec![0; inside.len() + 16])[..5];
        let (cipher, mut sealed) = (Aes128Gcm::new(&key.into()), inside.to_vec());
        let tag = cipher.encrypt_in_place_detached(&Nonce::from(nonce), header, &mut sealed);
        sealed.extend_from_slice(&tag.unwrap());
        record(APPLICATION_DATA, &sealed)
    }
}

/// `Certificate` with this chain.
pub(crate) fn certificates(chain: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<u8> =
        chain.iter().flat_map(|der| [&length(der)[..], der, &[0, 0]].concat()).collect();
    message(11, &[&[0], &length(&entries)[..], &entries].concat())
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &length(body)[..], body].concat()
}

fn length(bytes: &[u8]) -> [u8; 3] {
    let [.., a, b, c] = bytes.len().to_be_bytes();
    [a, b, c]
}

pub(crate) fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let [.., high, low] = body.len().to_be_bytes();
    [&[kind, 3, 3, high, low], body].concat()
}

fn extract(salt: &[u8], secret: &[u8]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), secret).0.into()
}

fn expand<const BYTES: usize>(secret: &[u8; 32], label: &str, context: &[u8]) -> [u8; BYTES] {
    let label = format!("tls13 {label}");
    let [.., high, low] = BYTES.to_be_bytes();
    let lengths = [label.len().to_be_bytes()[7], context.len().to_be_bytes()[7]];
    let info = [&[high, low, lengths[0]], label.as_bytes(), &[lengths[1]], context].concat();
    let mut out = [0; BYTES];
    Hkdf::<Sha256>::from_prk(secret).unwrap().expand(&info, &mut out).unwrap();
    out
}
