//! Each role of TUF, properly signed, from any signed part.

use serde_json::Value as Json;
use waxwing_tuf::role::{Header, Signers, Snapshot, Timestamp};
use waxwing_tuf::verify::{verify, verify_targets, verify_trusted_root};
use waxwing_tuf::{Cause, author::Signer as _};

use crate::signed::{SIGNER, sign};

/// What is accepted is of one role only, says what serde reads in it, and is accepted with its
/// signature only.
pub fn check(part: &[u8]) {
    let Some(file) = sign(part) else { return };
    let json: Json = serde_json::from_slice(part).expect("serde reads what we accept");
    let signers = Signers::new(1, vec![(SIGNER.key_id(), SIGNER.public().clone())]);
    let root = verify_trusted_root(&file, None).map(|root| root.header);
    let timestamp = verify::<Timestamp>(&file, &signers, None);
    let snapshot = verify::<Snapshot>(&file, &signers, None);
    let targets = verify_targets(file.clone(), &signers, None);
    let headers = [
        ("root", root),
        ("timestamp", timestamp.as_ref().map(|it| it.header).map_err(|cause| *cause)),
        ("snapshot", snapshot.as_ref().map(|it| it.header).map_err(|cause| *cause)),
        ("targets", targets.as_ref().map(|it| it.header).map_err(|cause| *cause)),
    ];
    for (kind, header) in headers {
        if let Ok(header) = header {
            check_header(kind, header, &json);
        }
    }
    if let Ok(targets) = &targets {
        check_targets(targets, &json);
    }
    if let Ok(snapshot) = &snapshot {
        let listed = json["meta"].as_object().expect("meta");
        for (role, meta) in snapshot.roles() {
            assert_eq!(listed[&format!("{role}.json")]["version"].as_u64(), Some(meta.version));
        }
    }
    let bound = verify::<Timestamp>(&file, &signers, Some("director"));
    assert!(bound.is_err() || json["repo"] == "director", "another repository's file");
    check_signature(file, &signers, timestamp.is_ok());
}

fn check_header(kind: &str, header: Header, json: &Json) {
    assert_eq!(json["_type"], kind, "one role accepted as another");
    assert_eq!(json["version"].as_u64(), Some(header.version));
    assert!(header.version > 0);
    assert_eq!(json["expires"].as_str(), Some(&*header.expires.to_string()));
    assert!(json["spec_version"].as_str().is_some_and(|it| it.split('.').next() == Some("1")));
}

fn check_targets(targets: &waxwing_tuf::role::Targets, json: &Json) {
    let listed = json["targets"].as_object().expect("targets");
    assert_eq!(targets.targets().count(), listed.len(), "a target is hidden");
    for (path, other) in listed {
        let target = targets.target(path).expect("a target that serde sees");
        assert_eq!(other["length"].as_u64(), Some(target.length));
        let hash = target.hashes.sha256.map(|it| hex(&it));
        assert_eq!(other["hashes"]["sha256"].as_str(), hash.as_deref());
        assert!(hash.is_some() || target.hashes.sha512.is_some(), "a target without a hash");
    }
    let roles = json["delegations"]["roles"].as_array().map_or(0, Vec::len);
    assert_eq!(targets.delegations().count(), roles, "a delegation is hidden");
    assert!(targets.delegations().all(|it| it.signers.threshold() > 0));
}

/// The last digit of the signature of a file that was accepted.
fn check_signature(mut file: Vec<u8>, signers: &Signers, accepted: bool) {
    let at = file.windows(11).position(|it| it == b"\"}],\"signed").expect("an envelope") - 1;
    file[at] = if file[at] == b'0' { b'1' } else { b'0' };
    let changed = verify::<Timestamp>(&file, signers, None).map(drop);
    assert!(!accepted || changed == Err(Cause::TooFewSignatures), "a signature is not looked at");
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])).collect()
}
