//! Checkpoints of the audit log, signed with the online key.
//!
//! Not here: when one is due, and the chain it speaks of.

use waxwing_audit::{Checkpoint, Note};
use waxwing_tuf::Time;
use waxwing_tuf::author::SignError;

use super::Director;
use crate::store::audit::Log;

impl Director {
    /// Signs how far the log goes at `now_ms`.
    pub fn checkpoint(&self, log: &Log, now_ms: u64) -> Result<Note, SignError> {
        let at = Time::from_seconds(now_ms / 1000);
        let checkpoint = Checkpoint { origin: log.origin.clone(), head: log.head, at };
        let signature = self.signer.sign(checkpoint.to_text().as_bytes())?;
        Ok(Note::new(checkpoint, self.public(), signature))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use waxwing_audit::{Head, Origin, UnknownSigner};
    use waxwing_tuf::author::{Ed25519Signer, Signer as _};
    use waxwing_tuf::role::{Signers, Timestamp};
    use waxwing_tuf::verify::{verify, verify_command};
    use waxwing_wire::{DeviceId, Digest, Nonce};

    use super::*;
    use crate::clock::FakeClock;
    use crate::director::clock_guard::ClockGuard;
    use crate::testing::NOW_MS;

    fn director() -> Director {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FakeClock::new(NOW_MS));
        let file = folder.path().join("clock.json");
        let guard = ClockGuard::open(file, clock, Duration::from_mins(1), None).unwrap();
        Director::new(Box::new(Ed25519Signer::from_seed(&[5; 32]).unwrap()), guard)
    }

    fn note(director: &Director) -> Note {
        let head = Head { size: 3, hash: Digest([7; 32]) };
        director.checkpoint(&Log { origin: Origin::new([1; 16]), head }, NOW_MS).unwrap()
    }

    /// The signature in the note, and the one in a file of the Director.
    fn signature_of_note(director: &Director) -> String {
        let text = note(director).unverified().to_text();
        let key = Ed25519Signer::from_seed(&[5; 32]).unwrap();
        let bytes = key.sign(text.as_bytes()).unwrap();
        bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    #[test]
    fn a_signature_over_the_audit_log_is_none_over_metadata_or_a_command() {
        let director = director();
        let device = DeviceId::parse("d-1").unwrap();
        let file = director.timestamp(&device, Nonce([1; 16]), NOW_MS, 1).unwrap();
        let file = String::from_utf8(file).unwrap();
        let key_id = director.public().key_id();
        let signers = Signers::new(1, vec![(key_id, director.public().clone())]);
        assert!(verify::<Timestamp>(file.as_bytes(), &signers, Some("director")).is_ok());

        let start = file.find(r#""sig":""#).unwrap() + 7;
        let (head, rest) = file.split_at(start);
        let forged = [head, &signature_of_note(&director), &rest[128..]].concat();
        assert!(verify::<Timestamp>(forged.as_bytes(), &signers, Some("director")).is_err());
        // The text of the note in the place of what is signed.
        let signed = file.find(r#""signed":"#).unwrap() + 9;
        let text = note(&director).unverified().to_text();
        let forged = [&forged[..signed], &text, "}"].concat();
        assert!(verify::<Timestamp>(forged.as_bytes(), &signers, Some("director")).is_err());
        let now = Time::from_millis(NOW_MS);
        assert!(verify_command(forged.as_bytes(), &signers, "d-1", now, 0).is_err());
    }

    #[test]
    fn a_signature_over_metadata_is_none_over_the_audit_log() {
        let director = director();
        let device = DeviceId::parse("d-1").unwrap();
        let file = director.timestamp(&device, Nonce([1; 16]), NOW_MS, 1).unwrap();
        let file = String::from_utf8(file).unwrap();
        let start = file.find(r#""sig":""#).unwrap() + 7;
        let hex = &file[start..start + 128];
        let byte = |index| u8::from_str_radix(&hex[index..index + 2], 16).unwrap();
        let signature = (0..128).step_by(2).map(byte).collect();
        let good = note(&director);
        let forged = Note::new(good.unverified().clone(), director.public(), signature);
        assert!(good.verify([director.public()]).is_ok());
        assert_eq!(forged.verify([director.public()]), Err(UnknownSigner));
    }
}
