//! How trust moves from root to root (TUF 5.3).

use waxwing_tuf::{Cause, Limits, MemoryStore, Repository, Store};

use crate::support::{
    self, Author, LONG_AGO, NOW, key_id, key_json, keys_json, refused, refused_after, role_json,
};

#[test]
fn a_chain_of_roots_is_followed_with_the_keys_of_each() {
    let mut author = Author::new();
    let client = author.client();
    // Root 2 hands over to keys 11, 12, 13; root 3 to 21, 22, 23.
    for (signers, next) in [([1, 2, 11, 12], [11, 12, 13]), ([11, 13, 21, 22], [21, 22, 23])] {
        author.root.bump();
        author.root["keys"] = keys_json(&[&next[..], &[4, 5, 6, 7]].concat());
        author.root["roles"]["root"] = role_json(2, &next);
        author.root.keys = signers.to_vec();
        author.publish_root();
    }
    let mut client = author.reopen(client);
    client.refresh(&mut author.served, NOW).unwrap();
    assert_eq!(client.root().header.version, 3);
    assert_eq!(author.served.requests[..3], ["2.root.json", "3.root.json", "4.root.json"]);
}

#[test]
fn a_new_root_needs_a_threshold_of_the_old_keys() {
    refused_after(
        |author| {
            author.root.bump();
            author.root["keys"] = keys_json(&[4, 5, 6, 7, 11, 12]);
            author.root["roles"]["root"] = role_json(2, &[11, 12]);
            author.root.keys = vec![1, 11, 12];
            author.publish_root();
        },
        "2.root.json",
        Cause::TooFewSignatures,
    );
}

#[test]
fn a_new_root_needs_a_threshold_of_its_own_keys() {
    refused_after(
        |author| {
            author.root.bump();
            author.root["keys"] = keys_json(&[4, 5, 6, 7, 11, 12]);
            author.root["roles"]["root"] = role_json(2, &[11, 12]);
            author.root.keys = vec![1, 2, 3, 11];
            author.publish_root();
        },
        "2.root.json",
        Cause::TooFewSignatures,
    );
}

#[test]
fn a_root_of_another_version_than_its_name_is_refused() {
    for version in [1, 3] {
        refused_after(
            |author| {
                author.root["version"] = version.into();
                author.served.files.insert("2.root.json".into(), author.root.bytes());
            },
            "2.root.json",
            Cause::WrongVersion,
        );
    }
}

#[test]
fn an_expired_root_is_followed_but_not_the_last_one() {
    let mut author = Author::new();
    let client = author.client();
    author.root.bump();
    author.root["expires"] = LONG_AGO.into();
    author.publish_root();
    let mut client = author.reopen(client);
    refused(client.refresh(&mut author.served, NOW), "root.json", Cause::Expired);
    author.root.bump();
    author.root["expires"] = support::EXPIRES.into();
    author.publish_root();
    client.refresh(&mut author.served, NOW).unwrap();
}

#[test]
fn a_long_chain_of_roots_takes_several_refreshes() {
    let mut author = Author::new();
    for _ in 0..10 {
        author.root.bump();
        author.publish_root();
    }
    let limits = Limits { roots_max: 4, ..Limits::HOST };
    let first = &author.served.files["1.root.json"];
    let mut client = Repository::open(MemoryStore::new(), first, None, limits).unwrap();
    refused(client.refresh(&mut author.served, NOW), "6.root.json", Cause::MoreRoots);
    refused(client.refresh(&mut author.served, NOW), "10.root.json", Cause::MoreRoots);
    client.refresh(&mut author.served, NOW).unwrap();
    assert_eq!(client.root().header.version, 11);
}

#[test]
fn rotated_timestamp_or_snapshot_keys_let_versions_start_again() {
    for (role, key) in [("timestamp", 14), ("snapshot", 15)] {
        let mut author = Author::new();
        for draft in [&mut author.timestamp, &mut author.snapshot, &mut author.targets] {
            draft["version"] = (1_u64 << 53).into();
        }
        author.publish();
        let mut client = author.client();
        client.refresh(&mut author.served, NOW).unwrap();
        author.root.bump();
        author.root["keys"][key_id(key)] = key_json(key);
        author.root["roles"][role] = role_json(1, &[key]);
        match role {
            "timestamp" => author.timestamp.keys = vec![key],
            _ => author.snapshot.keys = vec![key],
        }
        for draft in [&mut author.timestamp, &mut author.snapshot, &mut author.targets] {
            draft["version"] = 2.into();
        }
        author.publish();
        client.refresh(&mut author.served, NOW).unwrap();
        assert_eq!(client.timestamp().unwrap().header.version, 2, "{role}");
    }
}

#[test]
fn one_more_timestamp_key_is_a_rotation_too_and_outlasts_a_restart() {
    let mut author = Author::new();
    author.timestamp["version"] = (1_u64 << 53).into();
    author.publish();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    // The old key stays valid, so the old timestamp would still verify.
    author.root.bump();
    author.root["keys"][key_id(14)] = key_json(14);
    author.root["roles"]["timestamp"] = role_json(1, &[4, 14]);
    author.publish_root();
    author.served.files.remove("timestamp.json");
    refused(client.refresh(&mut author.served, NOW), "timestamp.json", Cause::Missing);
    let mut client = author.reopen(client);
    author.timestamp["version"] = 2.into();
    author.publish_timestamp();
    client.refresh(&mut author.served, NOW).unwrap();
    assert_eq!(client.timestamp().unwrap().header.version, 2);
}

#[test]
fn a_root_rotation_that_leaves_those_keys_alone_forgets_nothing() {
    let mut author = Author::new();
    author.release();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.root.bump();
    author.root["keys"][key_id(16)] = key_json(16);
    author.root["roles"]["targets"] = role_json(1, &[16]);
    author.targets.keys = vec![16];
    author.timestamp["version"] = 1.into();
    author.publish();
    refused(client.refresh(&mut author.served, NOW), "timestamp.json", Cause::Rollback);
    assert_eq!(client.root().header.version, 2);
}

#[test]
fn a_factory_root_newer_than_the_stored_one_wins_and_an_older_one_does_not() {
    let mut author = Author::new();
    let first = author.served.files["1.root.json"].clone();
    author.root.bump();
    author.publish_root();
    let second = author.served.files["2.root.json"].clone();
    let open = |store, root: &[u8]| Repository::open(store, root, None, Limits::HOST).unwrap();
    let client = open(open(MemoryStore::new(), &first).into_store(), &second);
    assert_eq!(client.root().header.version, 2);
    let client = open(client.into_store(), &first);
    assert_eq!(client.root().header.version, 2);
    assert_eq!(client.store().load("root.json").unwrap().unwrap(), second);
}
