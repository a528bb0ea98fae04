//! Rows 1 to 9: who may sign what, and that nothing goes back.

use serde_json::{Value as Json, json};
use waxwing_tuf::Cause;

use crate::support::author::{
    STRANGER, TARGETS_KEYS, TIMESTAMP_KEY, key_id, key_json, keys_json, role_json, signatures,
};
use crate::support::world::{STABLE, World, installs, refused, refused_by, refused_later};

/// Every signed file that a device reads when it installs, but the roots it was born with.
const FILES: [(&str, &str); 7] = [
    ("director", "timestamp"),
    ("director", "snapshot"),
    ("director", "targets"),
    ("image", "timestamp"),
    ("image", "snapshot"),
    ("image", "targets"),
    ("image", STABLE),
];

/// Publishes a repository, this one role signed by `keys`.
fn signed_by(repo: &str, role: &str, keys: &[u8]) -> impl FnOnce(&mut World) {
    let (repo, role, keys) = (repo.to_owned(), role.to_owned(), keys.to_vec());
    move |world| {
        let author = world.repository(&repo);
        author.role(&role).keys = keys;
        author.publish();
    }
}

#[test]
fn row_01_unsigned_and_under_signed_files_are_refused_in_either_repository() {
    for (repo, role) in FILES {
        let subject = format!("{repo}/{role}.json");
        for keys in [&[][..], &[STRANGER], &[STRANGER, STRANGER - 1, STRANGER - 2]] {
            refused(signed_by(repo, role, keys), &subject, Cause::TooFewSignatures);
        }
    }
    for repo in ["director", "image"] {
        let subject = format!("{repo}/targets.json");
        for one in TARGETS_KEYS {
            refused(signed_by(repo, "targets", &[one]), &subject, Cause::TooFewSignatures);
        }
    }
}

/// Replaces the list of signatures of a served file.
fn forge(world: &mut World, repo: &str, file: &str, forge: impl FnOnce(&Json) -> Json) {
    let served = &mut world.repository(repo).served;
    let mut envelope: Json = serde_json::from_slice(&served[file]).unwrap();
    envelope["signatures"] = forge(&envelope["signed"]);
    served.insert(file.to_owned(), envelope.to_string().into_bytes());
}

#[test]
fn row_02_one_signature_given_twice_is_one() {
    for repo in ["director", "image"] {
        let twice = |signed: &Json| {
            let one = signatures(signed, &TARGETS_KEYS[..1]).remove(0);
            json!([one, one])
        };
        let change = |world: &mut World| forge(world, repo, "1.targets.json", twice);
        refused(change, &format!("{repo}/targets.json"), Cause::BadEnvelope);
    }
}

#[test]
fn row_02_one_key_under_two_ids_is_one() {
    let alias = "0".repeat(64);
    for repo in ["director", "image"] {
        let mut world = World::new();
        let author = world.repository(repo);
        author.root["keys"][&alias] = key_json(TARGETS_KEYS[0]);
        author.root["roles"]["targets"]["keyids"] = json!([key_id(TARGETS_KEYS[0]), alias]);
        author.publish();
        world.answer();
        forge(&mut world, repo, "1.targets.json", |signed| {
            let one = signatures(signed, &TARGETS_KEYS[..1]).remove(0);
            json!([one, {"keyid": alias, "sig": one["sig"]}])
        });
        let mut client = world.client();
        let refusal = Cause::TooFewSignatures.of(format!("{repo}/targets.json"));
        assert_eq!(world.deliver(&mut client), Err(refusal));
    }
}

#[test]
fn row_03_a_threshold_of_zero_or_less_trusts_nobody() {
    for (repo, role) in FILES.into_iter().filter(|(_, role)| *role != STABLE) {
        for threshold in [json!(0), json!(-1), json!(null), json!("1")] {
            let change = |world: &mut World| {
                let author = world.repository(repo);
                author.root.bump();
                author.root["roles"][role]["threshold"] = threshold;
                author.role(role).keys.clear();
                author.publish();
            };
            assert!(refused_by(change).is_some());
        }
    }
    let change = |world: &mut World| {
        world.image.targets["delegations"]["roles"][0]["threshold"] = 0.into();
        world.image.role(STABLE).keys.clear();
        world.image.publish();
    };
    assert!(refused_by(change).is_some());
}

#[test]
fn row_04_a_good_signature_under_a_wrong_key_id_counts_for_nobody() {
    for (repo, role) in FILES {
        let author_keys = |world: &mut World| world.repository(repo).role(role).keys.clone();
        let change = |world: &mut World| {
            let keys = author_keys(world);
            let author = world.repository(repo);
            let version = author.role(role).version();
            let file = match role {
                "timestamp" => "timestamp.json".to_owned(),
                role => format!("{version}.{role}.json"),
            };
            forge(world, repo, &file, |signed| {
                let mut list = signatures(signed, &keys);
                for one in &mut list {
                    one["keyid"] = key_id(STRANGER).into();
                }
                list.truncate(1);
                json!(list)
            });
        };
        refused(change, &format!("{repo}/{role}.json"), Cause::TooFewSignatures);
    }
}

#[test]
fn row_05_one_role_is_never_taken_for_another() {
    // One key for everything is what makes the confusion possible at all.
    let one_key = || {
        let mut world = World::new();
        for repo in ["director", "image"] {
            let author = world.repository(repo);
            for role in ["timestamp", "snapshot", "targets"] {
                author.root["roles"][role] = role_json(1, &[TIMESTAMP_KEY]);
                author.role(role).keys = vec![TIMESTAMP_KEY];
            }
            author.publish();
        }
        world.answer();
        world
    };
    installs({
        let mut world = one_key();
        world.deliver(&mut world.client())
    });
    let files = ["timestamp", "1.snapshot", "1.targets"];
    for repo in ["director", "image"] {
        for asked in files {
            for served in files.into_iter().filter(|served| *served != asked) {
                let mut world = one_key();
                let mut client = world.client();
                let files = &mut world.repository(repo).served;
                let other = files[&format!("{served}.json")].clone();
                files.insert(format!("{asked}.json"), other);
                let role = asked.trim_start_matches("1.");
                let refusal = Cause::WrongType.of(format!("{repo}/{role}.json"));
                assert_eq!(world.deliver(&mut client), Err(refusal), "{served} as {asked}");
            }
        }
    }
}

#[test]
fn row_06_a_root_needs_the_quorum_of_the_old_and_of_the_new_keys() {
    let new_keys = [21, 22, 23];
    let rotate = |repo: &str, keys: &[u8]| {
        let (repo, keys) = (repo.to_owned(), keys.to_vec());
        move |world: &mut World| {
            let author = world.repository(&repo);
            author.root.bump();
            author.root["keys"] = keys_json(&[4, 5, 6, 7, 21, 22, 23]);
            author.root["roles"]["root"] = role_json(2, &new_keys);
            author.root.keys = keys;
            author.publish_root();
        }
    };
    for repo in ["director", "image"] {
        for too_few in [&[1, 2][..], &[21, 22], &[1, 21, 22], &[1, 2, 21], &[1, 21], &[]] {
            let subject = format!("{repo}/2.root.json");
            refused(rotate(repo, too_few), &subject, Cause::TooFewSignatures);
        }
        let mut world = World::new();
        world.answer();
        rotate(repo, &[1, 3, 21, 23])(&mut world);
        installs(world.deliver(&mut world.client()));
    }
}

#[test]
fn row_07_no_root_is_skipped_repeated_or_misnamed() {
    for repo in ["director", "image"] {
        for version in [1, 3, 4_294_967_296_u64] {
            let change = |world: &mut World| {
                let author = world.repository(repo);
                author.root["version"] = version.into();
                let bytes = author.root.bytes();
                author.served.insert("2.root.json".into(), bytes);
            };
            refused(change, &format!("{repo}/2.root.json"), Cause::WrongVersion);
        }
    }
}

#[test]
fn row_08_no_role_goes_back_in_either_repository() {
    for repo in ["director", "image"] {
        for role in ["timestamp", "snapshot", "targets"] {
            let change = |world: &mut World| {
                let author = world.repository(repo);
                author.role(role)["version"] = 1.into();
                // The files around it go on: only this one is old.
                if role == "targets" {
                    author.snapshot["version"] = 9.into();
                }
                author.publish();
            };
            let subject = match role {
                "targets" => format!("{repo}/targets"),
                _ => format!("{repo}/timestamp.json"),
            };
            refused_later(change, &subject, Cause::Rollback);
        }
    }
    let change = |world: &mut World| {
        world.image.role(STABLE)["version"] = 1.into();
        world.image.publish();
    };
    refused_later(change, &format!("image/{STABLE}"), Cause::Rollback);
}

#[test]
fn row_09_no_role_disappears_from_the_snapshot() {
    let change = |world: &mut World| {
        world.image.snapshot["meta"].as_object_mut().unwrap().remove(&format!("{STABLE}.json"));
        world.image.publish_snapshot();
        world.image.publish_timestamp();
    };
    refused_later(change, &format!("image/{STABLE}"), Cause::RemovedFromSnapshot);
}
