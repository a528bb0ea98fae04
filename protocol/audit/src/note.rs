//! A signed checkpoint, in the form of C2SP `signed-note`: text, a blank line, signature lines.
//!
//! ```text
//! <text>
//!
//! — <key name> <base64 of 4 bytes of key id and the signature>
//! ```
//!
//! The key is named after the log, as `tlog-checkpoint` asks. Not here: which key to believe; the
//! Director's root says that, and whoever verifies brings it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use waxwing_tuf::key::PublicKey;

use crate::chain::Origin;
use crate::checkpoint::Checkpoint;

/// Longest note in bytes: ours have some 300; the rest is for signatures of witnesses.
pub const NOTE_BYTES_MAX: usize = 4096;

/// What a signature line begins with: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// C2SP `signed-note`: signature type of Ed25519, which goes into the key id.
const TYPE_ED25519: u8 = 1;

/// Length of a key id in bytes.
const KEY_ID_BYTES: usize = 4;

type KeyId = [u8; KEY_ID_BYTES];

/// A checkpoint with signatures that nobody has checked yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    checkpoint: Checkpoint,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Signature {
    name: String,
    key_id: KeyId,
    bytes: Vec<u8>,
}

impl Note {
    /// Puts a checkpoint and the signature over its text together.
    pub fn new(checkpoint: Checkpoint, key: &PublicKey, signature: Vec<u8>) -> Self {
        let name = checkpoint.origin.as_str().to_owned();
        let key_id = key_id(&checkpoint.origin, key);
        Self { checkpoint, signatures: vec![Signature { name, key_id, bytes: signature }] }
    }

    /// Reads a note.
    ///
    /// # Errors
    ///
    /// [`MalformedNote`] when it is too long, no note, or no checkpoint.
    pub fn parse(note: &str) -> Result<Self, MalformedNote> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(MalformedNote);
        }
        let (text, signatures) = note.split_once("\n\n").ok_or(MalformedNote)?;
        let checkpoint = Checkpoint::parse(&format!("{text}\n")).ok_or(MalformedNote)?;
        let signatures = signatures.strip_suffix('\n').ok_or(MalformedNote)?;
        let signatures: Option<_> = signatures.split('\n').map(Signature::parse).collect();
        Ok(Self { checkpoint, signatures: signatures.ok_or(MalformedNote)? })
    }

    /// Returns the checkpoint if one of these keys signed it. Signatures of other keys are ignored, as
    /// C2SP `signed-note` demands: they are for others.
    ///
    /// # Errors
    ///
    /// [`UnknownSigner`] when none of the keys did.
    pub fn verify<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k PublicKey>,
    ) -> Result<&Checkpoint, UnknownSigner> {
        let text = self.checkpoint.to_text();
        let signed = keys.into_iter().any(|key| {
            let id = key_id(&self.checkpoint.origin, key);
            let of_key = |signature: &&Signature| {
                signature.key_id == id && signature.name == self.checkpoint.origin.as_str()
            };
            let signature = self.signatures.iter().find(of_key);
            signature.is_some_and(|it| key.verify(&[text.as_bytes()], &it.bytes).is_ok())
        });
        if signed { Ok(&self.checkpoint) } else { Err(UnknownSigner) }
    }

    /// Returns what the note says, believed or not.
    pub const fn unverified(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Writes the note.
    pub fn to_text(&self) -> String {
        let signatures = self.signatures.iter().map(|Signature { name, key_id, bytes }| {
            let value = STANDARD.encode([key_id.as_slice(), bytes].concat());
            format!("{SIGNATURE_MARK}{name} {value}\n")
        });
        format!("{}\n{}", self.checkpoint.to_text(), signatures.collect::<String>())
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, value) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
        let value = STANDARD.decode(value).ok()?;
        let (key_id, bytes) = value.split_first_chunk()?;
        let named = !name.is_empty() && !name.contains('+');
        named.then(|| Self { name: name.to_owned(), key_id: *key_id, bytes: bytes.to_vec() })
    }
}

/// Returns the key id of C2SP `signed-note`, which tells keys apart and proves nothing.
fn key_id(origin: &Origin, key: &PublicKey) -> KeyId {
    let hash = Sha256::new();
    let hash = if let PublicKey::Ed25519(key) = key {
        let name = hash.chain_update(origin.as_str()).chain_update(b"\n");
        name.chain_update([TYPE_ED25519]).chain_update(key.to_bytes())
    } else {
        // Ids of ECDSA keys do not depend on the name.
        hash.chain_update(key.spki_der())
    };
    let hash: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

/// The text is no signed checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a signed checkpoint of an audit log")]
pub struct MalformedNote;

/// No key that may sign the checkpoint did.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no key that may sign the checkpoint did")]
pub struct UnknownSigner;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use waxwing_tuf::Time;
    use waxwing_tuf::author::{Ed25519Signer, P256Signer, Signer};
    use waxwing_wire::Digest;

    use super::*;
    use crate::chain::Head;

    fn checkpoint() -> Checkpoint {
        let head = Head { size: 100, hash: Digest([7; 32]) };
        Checkpoint { origin: Origin::new([1; 16]), head, at: Time::from_seconds(1_795_167_000) }
    }

    fn sign(signer: &dyn Signer) -> Note {
        let signature = signer.sign(checkpoint().to_text().as_bytes()).unwrap();
        Note::new(checkpoint(), signer.public(), signature)
    }

    fn key(seed: u8) -> Ed25519Signer {
        Ed25519Signer::from_seed(&[seed; 32]).unwrap()
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_believed_by_its_key_only() {
        let other = key(9);
        let signers: [&dyn Signer; 2] = [&key(1), &P256Signer::from_seed(&[2; 32]).unwrap()];
        for signer in signers {
            let note = Note::parse(&sign(signer).to_text()).unwrap();
            assert_eq!(note, sign(signer));
            assert_eq!(note.verify([other.public(), signer.public()]), Ok(&checkpoint()));
            assert_eq!(note.verify([other.public()]), Err(UnknownSigner));
            assert_eq!(note.verify([]), Err(UnknownSigner));
        }
    }

    #[test]
    fn a_note_has_the_bytes_that_are_documented() {
        let text = sign(&key(1)).to_text();
        let lines: Vec<_> = text.lines().collect();
        let origin = "waxwing-audit-v1/01010101010101010101010101010101";
        let hash = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        assert_eq!(lines[..5], [origin, "100", hash, "2026-11-20T09:30:00Z", ""]);
        assert!(lines[5].starts_with(&format!("\u{2014} {origin} ")), "{text}");
        assert_eq!((lines.len(), text.ends_with('\n')), (6, true));
    }

    #[test]
    fn any_other_byte_in_a_note_is_noticed() {
        let good = sign(&key(1)).to_text();
        for index in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[index] ^= 1;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let believed = Note::parse(&text).is_ok_and(|n| n.verify([key(1).public()]).is_ok());
            assert!(!believed, "byte {index}: {text}");
        }
    }

    #[test]
    fn a_signature_of_somebody_else_beside_ours_does_no_harm() {
        let note = sign(&key(1)).to_text();
        let witness = "\u{2014} witness.example AAAAAAAAAAAA\n";
        let note = Note::parse(&format!("{note}{witness}")).unwrap();
        assert!(note.verify([key(1).public()]).is_ok());
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let good = sign(&key(1)).to_text();
        let long = format!("{good}{}", "\u{2014} a AAAAAAAA\n".repeat(NOTE_BYTES_MAX / 10));
        let hostile = [
            String::new(),
            "\n\n".to_owned(),
            good.replace("\n\n", "\n"),
            good.trim_end().to_owned(),
            format!("{good}\n"),
            good.replace("\n100\n", "\n0100\n"),
            good.replace("\n100\n", "\n+100\n"),
            good.replace("\n100\n", "\n-100\n"),
            good.replace("\n100\n", "\n100\nmore\n"),
            good.replace('\u{2014}', "-"),
            good.replace("waxwing-audit-v1/01", "waxwing-audit-v2/01"),
            long,
        ];
        for text in hostile {
            assert_eq!(Note::parse(&text), Err(MalformedNote), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_fail(text in "\\PC{0,400}", cut in 0..400_usize) {
            let _ = Note::parse(&text);
            let good = sign(&key(1)).to_text();
            let head: String = good.chars().take(cut).collect();
            let _ = Note::parse(&format!("{head}{text}"));
            let _ = Note::parse(&format!("{text}{head}"));
        }
    }
}
