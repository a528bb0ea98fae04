//! Public keys as people handle them: a file to hand over and six words to read aloud.

use serde::{Deserialize, Serialize};

use super::Error;
use super::metadata::Key;
use super::signer::Signer;
use crate::hex;
use crate::key::PublicKey;

/// Words in a fingerprint: 66 bits, so a second key with the same words takes about 2^66 tries,
/// each of them a new key. Few enough words that people do compare them.
const WORDS: usize = 6;

/// Bits per word: the BIP-39 English list has 2048 words, no two with the same first four letters.
const BITS_PER_WORD: usize = 11;

/// Returns six English words for the key, taken from its key id (a SHA-256).
pub fn fingerprint(key: &PublicKey) -> String {
    // A key id always is 32 bytes in hexadecimal digits.
    words(&hex::decode(&key.key_id()).unwrap_or_default())
}

/// Returns six English words for a SHA-256, to be read aloud or written on paper.
pub fn words(hash: &[u8; 32]) -> String {
    let mut bits = hash.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
    let words = bip39::Language::English.word_list();
    let word = |_| {
        let index =
            bits.by_ref().take(BITS_PER_WORD).fold(0, |index, bit| index * 2 + usize::from(bit));
        words.get(index).copied().unwrap_or_default()
    };
    (0..WORDS).map(word).collect::<Vec<_>>().join(" ")
}

/// A `*.pub.json` file: what a key holder hands to whoever writes the metadata.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeyFile {
    fingerprint: String,
    key: Key,
    name: String,
}

impl PublicKeyFile {
    /// Describes the key of a signer.
    pub fn of(signer: &dyn Signer, name: &str) -> Self {
        Self::new(signer.public(), name)
    }

    /// Describes a key.
    pub fn new(key: &PublicKey, name: &str) -> Self {
        Self { fingerprint: fingerprint(key), key: Key::from(key), name: name.to_owned() }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] or [`Error::Key`] when it holds no key, [`Error::Fingerprint`] when the
    /// words belong to another key.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let file: Self = serde_json::from_slice(bytes).map_err(Error::Json)?;
        if file.fingerprint != fingerprint(&file.public()?) {
            return Err(Error::Fingerprint);
        }
        Ok(file)
    }

    /// Returns the file as text, indented for people.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] when the encoder refuses, which it has no reason to.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(Error::Json)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Returns the key.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] when it is of no kind we use.
    pub fn public(&self) -> Result<PublicKey, Error> {
        PublicKey::try_from(&self.key)
    }

    /// Returns the name the holder gave the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the six words.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}
