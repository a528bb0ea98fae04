//! The order of things below the root: what a client asks for, keeps and refuses (TUF 5.4 to 5.6).

use serde_json::json;
use waxwing_tuf::{Cause, FetchError, Limits, MemoryStore, Repository, Store, Time};

use crate::support::{self, Author, LONG_AGO, NOW, refused, refused_after};

#[test]
fn a_first_refresh_asks_for_each_file_once_and_in_order() {
    let mut author = Author::new();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    let expected = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    assert_eq!(author.served.take_requests(), expected);
}

#[test]
fn a_refresh_without_news_asks_for_root_and_timestamp_only() {
    let mut author = Author::new();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.served.take_requests();
    let mut client = author.reopen(client);
    client.refresh(&mut author.served, NOW).unwrap();
    assert_eq!(author.served.take_requests(), ["2.root.json", "timestamp.json"]);
}

#[test]
fn files_are_kept_byte_for_byte_under_names_without_versions() {
    let mut author = Author::new();
    // Space that canonical form would not have.
    let served = author.served.files.get_mut("1.targets.json").unwrap();
    served.insert(0, b' ');
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    let kept = [
        ("root", "1.root"),
        ("timestamp", "timestamp"),
        ("snapshot", "1.snapshot"),
        ("targets", "1.targets"),
    ];
    for (kept, served) in kept {
        let kept = client.store().load(&format!("{kept}.json")).unwrap().unwrap();
        assert_eq!(kept, author.served.files[&format!("{served}.json")]);
    }
    assert_eq!(client.store().files().count(), 4);
    let versions: Vec<_> = client.versions().collect();
    assert_eq!(versions, [("root", 1), ("timestamp", 1), ("snapshot", 1), ("targets", 1)]);
}

#[test]
fn without_consistent_snapshots_names_have_no_version() {
    let mut author = Author::new();
    author.root["consistent_snapshot"] = false.into();
    author.publish();
    for role in ["snapshot", "targets"] {
        let bytes = author.served.files.remove(&format!("1.{role}.json")).unwrap();
        author.served.files.insert(format!("{role}.json"), bytes);
    }
    author.client().refresh(&mut author.served, NOW).unwrap();
    let expected = ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"];
    assert_eq!(author.served.take_requests(), expected);
}

// Timestamp, 5.4.

#[test]
fn an_older_timestamp_is_refused() {
    let mut author = Author::new();
    author.release();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.timestamp["version"] = 1.into();
    author.publish_timestamp();
    refused(client.refresh(&mut author.served, NOW), "timestamp.json", Cause::Rollback);
}

#[test]
fn a_timestamp_that_names_an_older_snapshot_is_refused() {
    let mut author = Author::new();
    author.release();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.timestamp.bump();
    author.timestamp["meta"]["snapshot.json"]["version"] = 1.into();
    author.publish_timestamp();
    refused(client.refresh(&mut author.served, NOW), "timestamp.json", Cause::Rollback);
}

#[test]
fn a_timestamp_of_the_same_version_is_discarded() {
    let mut author = Author::new();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    let kept = client.store().clone();
    author.timestamp["more"] = 1.into();
    author.publish_timestamp();
    client.refresh(&mut author.served, NOW).unwrap();
    assert_eq!(*client.store(), kept);
}

#[test]
fn a_missing_timestamp_is_refused() {
    refused_after(
        |author| drop(author.served.files.remove("timestamp.json")),
        "timestamp.json",
        Cause::Missing,
    );
}

#[test]
fn what_has_expired_is_refused() {
    let later = Time::parse("2027-01-01T00:00:00Z").unwrap();
    let mut author = Author::new();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    refused(client.refresh(&mut author.served, later), "root.json", Cause::Expired);
    let expire_timestamp = |author: &mut Author| {
        author.timestamp["expires"] = LONG_AGO.into();
        author.publish_timestamp();
    };
    refused_after(expire_timestamp, "timestamp.json", Cause::Expired);
    let expire_snapshot = |author: &mut Author| {
        author.snapshot["expires"] = LONG_AGO.into();
        author.publish_snapshot();
    };
    refused_after(expire_snapshot, "snapshot.json", Cause::Expired);
    let expire_targets = |author: &mut Author| {
        author.targets["expires"] = LONG_AGO.into();
        author.publish_targets();
    };
    refused_after(expire_targets, "targets.json", Cause::Expired);
}

#[test]
fn metadata_expires_at_the_second_it_says() {
    let mut author = Author::new();
    let expires = Time::parse(support::EXPIRES).unwrap();
    let just_before = Time::from_millis(expires.as_millis() - 1);
    author.client().refresh(&mut author.served, just_before).unwrap();
    refused(author.client().refresh(&mut author.served, expires), "root.json", Cause::Expired);
}

#[test]
fn a_kept_timestamp_snapshot_or_targets_that_expired_meanwhile_is_refused() {
    for role in ["timestamp", "snapshot", "targets"] {
        let mut author = Author::new();
        let draft = match role {
            "timestamp" => &mut author.timestamp,
            "snapshot" => &mut author.snapshot,
            _ => &mut author.targets,
        };
        draft["expires"] = "2026-11-21T00:00:00Z".into();
        author.publish();
        let mut client = author.client();
        client.refresh(&mut author.served, NOW).unwrap();
        let later = Time::parse("2026-11-22T00:00:00Z").unwrap();
        refused(client.refresh(&mut author.served, later), &format!("{role}.json"), Cause::Expired);
    }
}

// Snapshot, 5.5.

#[test]
fn a_snapshot_of_another_version_than_announced_is_refused() {
    refused_after(
        |author| {
            author.snapshot["version"] = 3.into();
            author.served.files.insert("2.snapshot.json".into(), author.snapshot.bytes());
        },
        "snapshot.json",
        Cause::WrongVersion,
    );
}

#[test]
fn a_role_that_is_gone_from_the_snapshot_is_refused() {
    let mut author = Author::new();
    author.delegate("targets", "team", &["team/*"], 8);
    author.publish();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.roles.clear();
    author.release();
    refused(client.refresh(&mut author.served, NOW), "team", Cause::RemovedFromSnapshot);
    assert_eq!(client.snapshot().unwrap().header.version, 1);
}

#[test]
fn a_role_that_goes_back_in_the_snapshot_is_refused() {
    let mut author = Author::new();
    author.release();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.release();
    author.targets["version"] = 1.into();
    author.publish();
    refused(client.refresh(&mut author.served, NOW), "targets", Cause::Rollback);
}

#[test]
fn an_older_snapshot_is_refused_even_when_the_timestamp_was_lost() {
    let mut author = Author::new();
    let old = author.served.files.clone();
    author.snapshot.bump();
    author.timestamp.bump();
    author.publish_snapshot();
    author.publish_timestamp();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    let mut store = client.into_store();
    store.remove("timestamp.json").unwrap();
    let mut client = Repository::open(store, &old["1.root.json"], None, Limits::HOST).unwrap();
    author.served.files = old;
    refused(client.refresh(&mut author.served, NOW), "snapshot.json", Cause::Rollback);
}

#[test]
fn a_snapshot_that_is_not_the_announced_one_is_refused() {
    refused_after(
        |author| {
            author.timestamp["meta"]["snapshot.json"]["hashes"] = json!({"sha256": "0".repeat(64)});
            author.publish_timestamp();
        },
        "2.snapshot.json",
        Cause::WrongHash,
    );
    refused_after(
        |author| {
            author.timestamp["meta"]["snapshot.json"]["length"] = 10_000.into();
            author.publish_timestamp();
        },
        "2.snapshot.json",
        Cause::WrongLength,
    );
    refused_after(
        |author| {
            author.timestamp["meta"]["snapshot.json"]["length"] = 10.into();
            author.publish_timestamp();
        },
        "2.snapshot.json",
        Cause::Fetch(FetchError::TooLong),
    );
    refused_after(
        |author| {
            author.timestamp["meta"]["snapshot.json"]["length"] = u64::MAX.into();
            author.publish_timestamp();
        },
        "2.snapshot.json",
        Cause::TooLong,
    );
}

#[test]
fn another_snapshot_under_the_same_version_is_refused() {
    let mut author = Author::new();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.timestamp.bump();
    author.timestamp["meta"]["snapshot.json"]["hashes"] = json!({"sha256": "0".repeat(64)});
    author.publish_timestamp();
    refused(
        client.refresh(&mut author.served, NOW),
        "snapshot.json",
        Cause::SameVersionOtherContent,
    );
}

// Targets, 5.6.

#[test]
fn targets_of_another_version_than_announced_are_refused() {
    refused_after(
        |author| {
            author.targets["version"] = 3.into();
            author.served.files.insert("2.targets.json".into(), author.targets.bytes());
        },
        "targets.json",
        Cause::WrongVersion,
    );
}

#[test]
fn other_targets_under_the_same_version_are_refused() {
    use sha2::Digest;
    let mut author = Author::new();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.targets["targets"] = json!({"new": Author::target(b"new", &json!({}))});
    author.publish_targets();
    let hash = support::hex(&sha2::Sha256::digest(&author.served.files["1.targets.json"]));
    author.snapshot["meta"]["targets.json"]["hashes"] = json!({"sha256": hash});
    author.snapshot.bump();
    author.timestamp.bump();
    author.publish_snapshot();
    author.publish_timestamp();
    refused(
        client.refresh(&mut author.served, NOW),
        "targets.json",
        Cause::SameVersionOtherContent,
    );
}

#[test]
fn a_stored_copy_that_does_not_verify_is_fetched_again() {
    let mut author = Author::new();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    let mut store = client.into_store();
    for name in ["timestamp.json", "snapshot.json", "targets.json"] {
        let mut bytes = store.load(name).unwrap().unwrap();
        let at = bytes.windows(5).position(|window| window == b"\"sig\"").unwrap() + 10;
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        store.save(name, &bytes).unwrap();
    }
    author.served.take_requests();
    let mut client =
        Repository::open(store, &author.served.files["1.root.json"].clone(), None, Limits::HOST)
            .unwrap();
    client.refresh(&mut author.served, NOW).unwrap();
    let expected = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    assert_eq!(author.served.take_requests(), expected);
}

#[test]
fn a_stored_root_that_does_not_verify_gives_way_to_the_factory_root() {
    let author = Author::new();
    let root = &author.served.files["1.root.json"];
    for bad in [&b"{}"[..], b"", &root[..root.len() - 1]] {
        let store: MemoryStore = [("root.json", bad)].into_iter().collect();
        let client = Repository::open(store, root, None, Limits::HOST).unwrap();
        assert_eq!(client.store().load("root.json").unwrap().unwrap(), *root);
    }
}
