//! Every rotation of keys of tuf-conformance, under the name it has there.

use waxwing_tuf::{Cause, Store as _};

use crate::support::{Author, Draft, NOW, keys_json, refused, role_json};

/// One version of a role: who may sign, how many must, and who did.
type Version = (&'static [u8], u64, &'static [u8]);

/// The numbers of the suite's keys are ours, above all keys of [`Author`].
fn keys(numbers: &[u8]) -> Vec<u8> {
    numbers.iter().map(|number| number + 100).collect()
}

const FIVE: &[u8] = &[0, 1, 2, 3, 4];
const ONE_ROTATED: &[u8] = &[0, 1, 3, 4, 5];

/// Whether the last version is a root to be trusted.
const ROOTS: [(&str, &[Version], bool); 15] = [
    ("1-of-1-key-rotation", &[(&[1], 1, &[1]), (&[2], 1, &[2, 1]), (&[2], 1, &[2])], true),
    (
        "1-of-1-key-rotation-unused-signatures",
        &[(&[1], 1, &[3, 1, 4]), (&[2], 1, &[3, 2, 1, 4]), (&[2], 1, &[3, 2, 4])],
        true,
    ),
    (
        "3-of-5-sign-with-different-keycombos",
        &[
            (FIVE, 3, &[0, 2, 4]),
            (FIVE, 3, &[0, 4, 1]),
            (FIVE, 3, &[0, 1, 3]),
            (FIVE, 3, &[0, 1, 3]),
        ],
        true,
    ),
    ("3-of-5-one-key-rotated", &[(FIVE, 3, &[0, 2, 4]), (ONE_ROTATED, 3, &[0, 4, 1])], true),
    (
        "3-of-5-one-key-rotated-with-intermediate-step",
        &[(FIVE, 3, &[0, 2, 4]), (ONE_ROTATED, 3, &[0, 2, 4, 5]), (ONE_ROTATED, 3, &[0, 4, 5])],
        true,
    ),
    (
        "3-of-5-all-keys-rotated-with-intermediate-step",
        &[
            (FIVE, 3, &[0, 2, 4]),
            (&[5, 6, 7, 8, 9], 3, &[0, 2, 4, 5, 6, 7]),
            (&[5, 6, 7, 8, 9], 3, &[5, 6, 7]),
        ],
        true,
    ),
    (
        "1-of-3-threshold-increase-to-2-of-3",
        &[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[1, 2])],
        true,
    ),
    (
        "2-of-3-threshold-decrease-to-1-of-3",
        &[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1, 2]), (&[1, 2, 3], 1, &[1])],
        true,
    ),
    ("1-of-2-threshold-increase-to-2-of-2", &[(&[1], 1, &[1]), (&[1, 2], 2, &[1, 2])], true),
    (
        "1-of-1-key-rotation-fail-not-signed-with-old-key",
        &[(&[1], 1, &[1]), (&[2], 1, &[2, 3, 4])],
        false,
    ),
    (
        "1-of-1-key-rotation-fail-not-signed-with-new-key",
        &[(&[1], 1, &[1]), (&[2], 1, &[1, 3, 4])],
        false,
    ),
    (
        "3-of-5-one-key-rotate-fails-not-signed-with-3-new-keys",
        &[(FIVE, 3, &[0, 2, 4]), (ONE_ROTATED, 3, &[0, 2, 4])],
        false,
    ),
    (
        "3-of-5-one-key-rotate-fails-not-signed-with-3-old-keys",
        &[(FIVE, 3, &[0, 2, 4]), (ONE_ROTATED, 3, &[0, 4, 5])],
        false,
    ),
    (
        "1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached",
        &[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[2])],
        false,
    ),
    (
        "2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-eached",
        &[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1])],
        false,
    ),
];

/// Whether the version is one to be trusted.
const OTHERS: [(&str, Version, bool); 10] = [
    ("1-of-1-key-rotation", (&[2], 1, &[2]), true),
    ("1-of-1-key-rotation-unused-signatures", (&[1], 1, &[3, 1, 4]), true),
    ("1-of-1-key-rotation-fail-not-signed-with-new-key", (&[2], 1, &[1, 3, 4]), false),
    (
        "3-of-5-one-key-signature-wrong-not-signed-with-3-expected-keys",
        (ONE_ROTATED, 3, &[0, 2, 4]),
        false,
    ),
    ("2-of-5-one-key-signature-mising-threshold-not-reached", (ONE_ROTATED, 3, &[0, 4]), false),
    ("3-of-5-sign-first-combo", (FIVE, 3, &[0, 2, 4]), true),
    ("3-of-5-sign-second-combo", (FIVE, 3, &[0, 4, 1]), true),
    ("3-of-5-sign-third-combo", (FIVE, 3, &[0, 1, 3]), true),
    ("3-of-5-sign-fourth-combo", (FIVE, 3, &[1, 2, 3]), true),
    ("3-of-5-sign-fifth-combo", (FIVE, 3, &[2, 3, 4]), true),
];

fn rotate(author: &mut Author, role: &str, (may, threshold, _): Version) {
    let may = keys(may);
    let listed = author.root["keys"].as_object_mut().unwrap();
    listed.extend(keys_json(&may).as_object().unwrap().clone());
    author.root["roles"][role] = role_json(threshold, &may);
}

#[test]
fn a_root_is_followed_when_old_and_new_keys_signed_it_and_the_last_good_one_is_kept() {
    for (name, versions, is_trusted) in ROOTS {
        let mut author = Author::new();
        let mut published = Vec::new();
        for (number, version) in (1_u64..).zip(versions) {
            rotate(&mut author, "root", *version);
            author.root["version"] = number.into();
            author.root.keys = keys(version.2);
            author.publish_root();
            published.push(author.root.bytes());
        }
        let mut client = author.client();
        let refreshed = client.refresh(&mut author.served, NOW);
        if is_trusted {
            refreshed.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        } else {
            let file = format!("{}.root.json", published.len());
            refused(refreshed, &file, Cause::TooFewSignatures);
            published.pop();
        }
        assert_eq!(client.store().load("root.json").unwrap(), published.pop(), "{name}");
    }
}

#[test]
fn a_rotated_role_is_trusted_when_its_new_keys_signed_it() {
    for role in ["timestamp", "snapshot", "targets"] {
        for (name, version, is_trusted) in OTHERS {
            let mut author = Author::new();
            let mut client = author.client();
            client.refresh(&mut author.served, NOW).unwrap();
            rotate(&mut author, role, version);
            author.root.bump();
            let draft: &mut Draft = match role {
                "timestamp" => &mut author.timestamp,
                "snapshot" => &mut author.snapshot,
                _ => &mut author.targets,
            };
            draft.keys = keys(version.2);
            author.release();
            let refreshed = client.refresh(&mut author.served, NOW);
            let file = format!("{role}.json");
            if is_trusted {
                refreshed.unwrap_or_else(|refusal| panic!("{role}, {name}: {refusal}"));
                let served = match role {
                    "timestamp" => author.timestamp.bytes(),
                    "snapshot" => author.snapshot.bytes(),
                    _ => author.targets.bytes(),
                };
                assert_eq!(client.store().load(&file).unwrap(), Some(served), "{role}, {name}");
            } else {
                refused(refreshed, &file, Cause::TooFewSignatures);
            }
        }
    }
}
