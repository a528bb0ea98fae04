//! Cases of tuf-conformance that no other module is about; `conformance/CASES.md` lists all.

use ed25519_dalek::Signer as _;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use waxwing_tuf::{Cause, MemoryStore, Repository, Store as _, Time};

use crate::support::{
    Author, NOW, hex, key, key_id, key_json, keys_json, refused, refused_after, role_json, sign,
};

/// Names and versions of trusted files.
type Trusted<'a> = &'a [(&'a str, u64)];

/// The trusted versions, sorted by name.
fn trusted(client: &Repository<MemoryStore>) -> Vec<(String, u64)> {
    let mut versions: Vec<_> =
        client.versions().map(|(role, version)| (role.to_owned(), version)).collect();
    versions.sort();
    versions
}

#[track_caller]
fn check_trusted(client: &Repository<MemoryStore>, expected: Trusted<'_>) {
    let expected: Vec<_> =
        expected.iter().map(|(role, version)| ((*role).to_owned(), *version)).collect();
    assert_eq!(trusted(client), expected);
}

#[test]
fn a_role_nobody_signed_stops_the_refresh_there_and_what_came_before_is_kept() {
    let cases: [(&str, &str, Trusted<'_>); 4] = [
        ("root", "2.root.json", &[("root", 1)]),
        ("timestamp", "timestamp.json", &[("root", 2)]),
        ("snapshot", "snapshot.json", &[("root", 2), ("timestamp", 2)]),
        ("targets", "targets.json", &[("root", 2), ("snapshot", 2), ("timestamp", 2)]),
    ];
    for (role, subject, expected) in cases {
        let mut author = Author::new();
        let mut client = author.client();
        author.root.bump();
        match role {
            "root" => author.root.keys.clear(),
            "timestamp" => author.timestamp.keys.clear(),
            "snapshot" => author.snapshot.keys.clear(),
            _ => author.targets.keys.clear(),
        }
        author.release();
        let refreshed = client.refresh(&mut author.served, NOW);
        refused(refreshed, subject, Cause::TooFewSignatures);
        check_trusted(&client, expected);
    }
}

#[test]
fn a_first_root_that_is_none_or_is_not_signed_opens_nothing() {
    let mut author = Author::new();
    author.root.as_object_mut().unwrap().remove("version");
    let open = |root: &[u8]| {
        Repository::open(MemoryStore::new(), root, None, waxwing_tuf::Limits::HOST).map(drop)
    };
    refused(open(&author.root.bytes()), "root.json", Cause::BadField("version"));
    let mut author = Author::new();
    author.root.keys = vec![1, 4];
    refused(open(&author.root.bytes()), "root.json", Cause::TooFewSignatures);
}

#[test]
fn a_missing_snapshot_or_targets_is_refused_and_what_came_before_is_kept() {
    let expected = [("root", 1), ("snapshot", 1), ("targets", 1), ("timestamp", 2)];
    let remove = |author: &mut Author| drop(author.served.files.remove("2.snapshot.json"));
    refused_after(remove, "2.snapshot.json", Cause::Missing);
    let mut author = Author::new();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.release();
    let targets = author.served.files.remove("2.targets.json").unwrap();
    let snapshot = author.served.files.remove("2.snapshot.json").unwrap();
    refused(client.refresh(&mut author.served, NOW), "2.snapshot.json", Cause::Missing);
    check_trusted(&client, &expected);
    author.served.files.insert("2.snapshot.json".into(), snapshot);
    refused(client.refresh(&mut author.served, NOW), "2.targets.json", Cause::Missing);
    check_trusted(&client, &[("root", 1), ("snapshot", 2), ("targets", 1), ("timestamp", 2)]);
    author.served.files.insert("2.targets.json".into(), targets);
    client.refresh(&mut author.served, NOW).unwrap();
}

/// Writes length and SHA-256 of each file into the one that announces it.
fn publish_with_hashes(author: &mut Author) {
    let meta = |bytes: &[u8], version: u64| {
        let sha256 = hex(&Sha256::digest(bytes));
        json!({"version": version, "length": bytes.len(), "hashes": {"sha256": sha256}})
    };
    author.publish();
    author.snapshot["meta"]["targets.json"] =
        meta(&author.targets.bytes(), author.targets.version());
    author.publish_snapshot();
    author.timestamp["meta"]["snapshot.json"] =
        meta(&author.snapshot.bytes(), author.snapshot.version());
    author.publish_timestamp();
}

#[test]
fn announced_lengths_and_hashes_are_right_or_the_file_is_refused() {
    let mut author = Author::new();
    let mut client = author.client();
    publish_with_hashes(&mut author);
    client.refresh(&mut author.served, NOW).unwrap();
    author.release();
    publish_with_hashes(&mut author);
    author.snapshot["meta"]["targets.json"]["hashes"]["sha256"] = "0".repeat(64).into();
    author.publish_snapshot();
    author.publish_timestamp();
    refused(client.refresh(&mut author.served, NOW), "2.targets.json", Cause::WrongHash);
    assert_eq!(client.snapshot().unwrap().header.version, 2);
}

#[test]
fn versions_do_not_go_back_where_hashes_are_announced_either() {
    for role in ["snapshot", "targets"] {
        let mut author = Author::new();
        author.release();
        publish_with_hashes(&mut author);
        let mut client = author.client();
        client.refresh(&mut author.served, NOW).unwrap();
        let kept = client.store().clone();
        author.timestamp.bump();
        if role == "snapshot" {
            author.snapshot["version"] = 1.into();
        } else {
            author.targets["version"] = 1.into();
            author.snapshot.bump();
        }
        publish_with_hashes(&mut author);
        let subject = if role == "snapshot" { "timestamp.json" } else { "targets" };
        refused(client.refresh(&mut author.served, NOW), subject, Cause::Rollback);
        let file = format!("{role}.json");
        assert_eq!(client.store().load(&file), kept.load(&file));
    }
}

#[test]
fn fields_that_nobody_knows_are_signed_and_otherwise_left_alone() {
    let mut author = Author::new();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    let mut strange = key_json(15);
    strange["extra-field"] = json!({"a": 1, "b": 2});
    // No hash of a key depends on what a file claims about it.
    strange["keyid_hash_algorithms"] = "md5".into();
    author.root["keys"]["strange"] = strange;
    author.root["custom-field"] = "value".into();
    author.root["roles"]["snapshot"] =
        json!({"keyids": ["strange"], "threshold": 1, "another-field": "value"});
    author.root.bump();
    author.release();
    // The snapshot is signed under the id that its key has in this root.
    let renamed = String::from_utf8(sign(&author.snapshot, &[15])).unwrap();
    let renamed = renamed.replace(&key_id(15), "strange");
    author.served.files.insert("2.snapshot.json".into(), renamed.into_bytes());
    client.refresh(&mut author.served, NOW).unwrap();
    check_trusted(&client, &[("root", 2), ("snapshot", 2), ("targets", 2), ("timestamp", 2)]);
}

#[test]
fn a_threshold_beyond_the_number_of_keys_is_never_met() {
    let mut author = Author::new();
    let mut client = author.client();
    author.root["keys"] = keys_json(&[1, 2, 3, 4, 5, 6, 7, 20, 21, 22, 23]);
    author.root["roles"]["snapshot"] = role_json(6, &[5, 20, 21, 22, 23]);
    author.root.bump();
    author.snapshot.keys = vec![5, 20, 21, 22, 23];
    author.release();
    refused(client.refresh(&mut author.served, NOW), "snapshot.json", Cause::TooFewSignatures);
    assert_eq!(client.root().header.version, 2);
}

#[test]
fn wrong_and_empty_signatures_beside_enough_right_ones_do_no_harm() {
    let stranger = hex(&key(9).sign(b"something else").to_bytes());
    for wrong in [stranger, String::new(), "no hex".into()] {
        let mut author = Author::new();
        author.root["keys"][key_id(14)] = key_json(14);
        author.root["roles"]["timestamp"] = role_json(1, &[14, 4]);
        author.publish();
        let mut file: Json = serde_json::from_slice(&author.timestamp.bytes()).unwrap();
        let signature = json!({"keyid": key_id(14), "sig": wrong});
        file["signatures"].as_array_mut().unwrap().insert(0, signature);
        author.served.files.insert("timestamp.json".into(), file.to_string().into_bytes());
        author.client().refresh(&mut author.served, NOW).unwrap();
    }
}

#[test]
fn what_expired_in_the_store_gives_way_to_what_is_new() {
    let mut author = Author::new();
    let soon = "2026-11-27T00:00:00Z";
    author.root["expires"] = soon.into();
    author.timestamp["expires"] = soon.into();
    author.publish();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.root["expires"] = crate::support::EXPIRES.into();
    author.root.bump();
    author.timestamp["expires"] = crate::support::EXPIRES.into();
    author.release();
    let later = Time::parse("2026-12-08T00:00:00Z").unwrap();
    client.refresh(&mut author.served, later).unwrap();
    check_trusted(&client, &[("root", 2), ("snapshot", 2), ("targets", 2), ("timestamp", 2)]);
}

#[test]
fn a_timestamp_is_no_snapshot_even_if_the_right_key_signed_it_for_both() {
    let mut author = Author::new();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.root["roles"]["snapshot"] = role_json(1, &[4]);
    author.root.bump();
    author.publish_root();
    let mut posing = author.snapshot.signed.clone();
    posing["meta"] = json!({"snapshot.json": {"version": 1}});
    posing["version"] = 2.into();
    author.served.files.insert("timestamp.json".into(), sign(&posing, &[4]));
    refused(client.refresh(&mut author.served, NOW), "timestamp.json", Cause::WrongType);
}
