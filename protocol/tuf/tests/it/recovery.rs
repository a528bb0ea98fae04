//! A repository whose versions an attacker drove up starts again with new keys.

use waxwing_tuf::{Cause, Limits, MemoryStore, Repository};

use crate::support::{Author, NOW, key_id, key_json, refused, role_json};

/// A client that has seen the repository as `change` left it.
fn attacked(author: &mut Author, change: impl FnOnce(&mut Author)) -> Repository<MemoryStore> {
    change(author);
    author.publish();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    client
}

/// Gives a role another key, in a new root.
fn rotate(author: &mut Author, role: &str, key: u8) {
    author.root.bump();
    author.root["keys"][key_id(key)] = key_json(key);
    author.root["roles"][role] = role_json(1, &[key]);
    match role {
        "timestamp" => author.timestamp.keys = vec![key],
        _ => author.snapshot.keys = vec![key],
    }
    author.publish_root();
}

#[test]
fn a_timestamp_starts_again_after_its_key_was_rotated() {
    let mut author = Author::new();
    let mut client = attacked(&mut author, |author| author.timestamp["version"] = 100.into());
    author.timestamp["version"] = 1.into();
    author.publish();
    refused(client.refresh(&mut author.served, NOW), "timestamp.json", Cause::Rollback);
    rotate(&mut author, "timestamp", 14);
    author.publish();
    client.refresh(&mut author.served, NOW).unwrap();
    assert_eq!(client.timestamp().unwrap().header.version, 1);
}

#[test]
fn a_snapshot_starts_again_after_its_key_and_that_of_the_timestamp_were_rotated() {
    let mut author = Author::new();
    let mut client = attacked(&mut author, |author| author.snapshot["version"] = 100.into());
    author.snapshot["version"] = 1.into();
    author.timestamp.bump();
    author.publish();
    refused(client.refresh(&mut author.served, NOW), "timestamp.json", Cause::Rollback);
    rotate(&mut author, "snapshot", 15);
    rotate(&mut author, "timestamp", 14);
    author.publish();
    client.refresh(&mut author.served, NOW).unwrap();
    assert_eq!(client.snapshot().unwrap().header.version, 1);
}

#[test]
fn targets_start_again_and_roles_may_go_after_the_key_of_the_snapshot_was_rotated() {
    let mut author = Author::new();
    let mut client = attacked(&mut author, |author| {
        author.targets["version"] = 100.into();
        author.delegate("targets", "delegated", &["delegated/*"], 8);
    });
    author.targets["version"] = 1.into();
    author.targets.as_object_mut().unwrap().remove("delegations");
    author.roles.clear();
    author.snapshot.bump();
    author.timestamp.bump();
    author.publish();
    refused(client.refresh(&mut author.served, NOW), "delegated", Cause::RemovedFromSnapshot);
    rotate(&mut author, "snapshot", 15);
    author.publish();
    client.refresh(&mut author.served, NOW).unwrap();
    assert!(client.versions().any(|version| version == ("targets", 1)));
}

#[test]
fn a_newer_root_that_comes_with_the_firmware_starts_again_as_one_from_the_network_does() {
    for (role, key) in [("timestamp", 14), ("snapshot", 15)] {
        let mut author = Author::new();
        let client = attacked(&mut author, |author| {
            author.snapshot["version"] = 100.into();
            author.timestamp["version"] = 100.into();
        });
        rotate(&mut author, role, key);
        author.snapshot["version"] = 2.into();
        author.timestamp["version"] = 2.into();
        author.publish();
        let (store, root) = (client.into_store(), author.root.bytes());
        let mut client = Repository::open(store, &root, None, Limits::HOST).unwrap();
        client.refresh(&mut author.served, NOW).unwrap();
        assert_eq!(client.snapshot().unwrap().header.version, 2, "{role}");
    }
}
