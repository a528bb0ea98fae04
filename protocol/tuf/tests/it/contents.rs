//! Content is what was signed, to the byte, however it comes.

use sha2::{Digest as _, Sha256, Sha512};
use waxwing_tuf::role::Hashes;
use waxwing_tuf::{Cause, ContentCheck};

const CONTENT: &[u8] = b"not really firmware";

fn length() -> u64 {
    u64::try_from(CONTENT.len()).unwrap()
}

fn check(mut check: ContentCheck, content: &[u8], piece_bytes: usize) -> Result<(), Cause> {
    content.chunks(piece_bytes).try_for_each(|piece| check.update(piece))?;
    check.finish()
}

#[test]
fn content_is_accepted_in_pieces_of_any_size_under_either_hash_or_both() {
    let sha256 = Some(Sha256::digest(CONTENT).into());
    let sha512 = Some(Box::new(Sha512::digest(CONTENT).into()));
    for (sha256, sha512) in [(sha256, None), (None, sha512.clone()), (sha256, sha512)] {
        let hashes = Hashes { sha256, sha512 };
        for piece_bytes in [1, 7, CONTENT.len()] {
            let content = ContentCheck::new(length(), &hashes);
            assert_eq!(check(content, CONTENT, piece_bytes), Ok(()));
        }
    }
}

#[test]
fn one_wrong_hash_of_two_is_enough_to_refuse() {
    let right = Hashes {
        sha256: Some(Sha256::digest(CONTENT).into()),
        sha512: Some(Box::new(Sha512::digest(CONTENT).into())),
    };
    for hashes in [
        Hashes { sha256: Some([0; 32]), ..right.clone() },
        Hashes { sha512: Some(Box::new([0; 64])), ..right },
        Hashes { sha256: Some([0; 32]), sha512: None },
    ] {
        let content = ContentCheck::new(length(), &hashes);
        assert_eq!(check(content, CONTENT, 5), Err(Cause::WrongHash));
    }
}

#[test]
fn content_without_end_is_refused_at_the_first_byte_too_many() {
    let mut content = ContentCheck::sha256(4, Sha256::digest(b"four").into());
    assert_eq!(content.update(b"four"), Ok(()));
    assert_eq!(content.update(b"s"), Err(Cause::WrongLength));
}

#[test]
fn content_that_ends_early_is_refused() {
    let content = ContentCheck::sha256(length() + 1, Sha256::digest(CONTENT).into());
    assert_eq!(check(content, CONTENT, 4), Err(Cause::WrongLength));
}
