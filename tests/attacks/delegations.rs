//! Rows 14, 15 and 23 to 26: files that do not belong together, and roles that say more than they
//! may.

use serde_json::json;
use waxwing_tuf::uptane::Device;
use waxwing_tuf::{Cause, Limits, MemoryStore, Repository};

use crate::support::author::{Author, hex, target};
use crate::support::world::{
    IMAGE, NOW, PATH, STABLE, World, attributes, device, installs, refused, refused_later,
};

#[test]
fn row_14_files_of_different_moments_are_no_repository() {
    use sha2::{Digest as _, Sha256};
    for repo in ["director", "image"] {
        // The timestamp is new, the snapshot under its name is the one before.
        let change = |world: &mut World| {
            let files = &mut world.repository(repo).served;
            let old = files["2.snapshot.json"].clone();
            files.insert("3.snapshot.json".into(), old);
        };
        refused_later(change, &format!("{repo}/snapshot.json"), Cause::WrongVersion);
        let change = |world: &mut World| {
            let files = &mut world.repository(repo).served;
            let old = files["2.targets.json"].clone();
            files.insert("3.targets.json".into(), old);
        };
        refused_later(change, &format!("{repo}/targets.json"), Cause::WrongVersion);
        // Where hashes are signed, not even a file of the right version will do.
        let change = |world: &mut World| {
            let author = world.repository(repo);
            let hash = hex(&Sha256::digest(b"another moment"));
            author.timestamp["meta"]["snapshot.json"]["hashes"] = json!({"sha256": hash});
            author.publish_timestamp();
        };
        refused_later(change, &format!("{repo}/3.snapshot.json"), Cause::WrongHash);
    }
    let change = |world: &mut World| {
        let old = world.image.served[&format!("2.{STABLE}.json")].clone();
        world.image.served.insert(format!("3.{STABLE}.json"), old);
    };
    refused_later(change, &format!("image/{STABLE}.json"), Cause::WrongVersion);
}

#[test]
fn row_15_one_version_has_one_content() {
    use sha2::{Digest as _, Sha256};
    let change = |world: &mut World| {
        world.image.targets["version"] = 2.into();
        world.image.targets["more"] = "than before".into();
        let hash = hex(&Sha256::digest(world.image.targets.bytes()));
        world.image.publish();
        world.image.snapshot["meta"]["targets.json"]["hashes"] = json!({"sha256": hash});
        world.image.publish_snapshot();
        world.image.publish_timestamp();
    };
    refused_later(change, "image/targets.json", Cause::SameVersionOtherContent);
    let change = |world: &mut World| {
        world.image.snapshot["version"] = 2.into();
        world.image.snapshot["more"] = "than before".into();
        let hash = hex(&Sha256::digest(world.image.snapshot.bytes()));
        world.image.publish_snapshot();
        world.image.timestamp["meta"]["snapshot.json"]["hashes"] = json!({"sha256": hash});
        world.image.publish_timestamp();
    };
    refused_later(change, "image/snapshot.json", Cause::SameVersionOtherContent);
}

#[test]
fn row_23_a_role_lists_nothing_outside_its_paths() {
    let path = "acme-th1/beta/1.4.2/esp32c3.bin";
    let mut world = World::new();
    let entry = target(IMAGE, &json!({"match": attributes()}));
    world.image.role(STABLE)["targets"][path] = entry.clone();
    world.image.delegate("targets", "acme-th1-beta", &["acme-th1/beta/*/*"], 9);
    world.image.publish();
    world.direct(path, &attributes());
    let takes_beta = || Device { channels: vec!["beta".into()], ..device() };
    world.answer();
    let mut client = world.client_of(takes_beta());
    assert_eq!(world.deliver(&mut client), Err(Cause::NotListed.of(format!("image/{path}"))));
    world.image.role("acme-th1-beta")["targets"][path] = entry;
    world.image.publish();
    installs(world.deliver(&mut world.client_of(takes_beta())));
}

#[test]
fn row_23_patterns_do_not_reach_over_a_slash() {
    for pattern in ["acme-th1/*", "acme-th1/stable/*", "*", "acme-th1/stable/1.4.2/esp32c3.bin/*"] {
        let change = |world: &mut World| {
            world.image.targets["delegations"]["roles"][0]["paths"] = json!([pattern]);
            world.image.publish();
        };
        refused(change, &format!("image/{PATH}"), Cause::NotListed);
    }
}

#[test]
fn row_24_a_kept_role_is_verified_again_for_every_delegator() {
    let mut author = Author::new("image/acme-th1");
    author.delegate("targets", "a", &["a/*"], 8);
    author.delegate("targets", "b", &["b/*"], 9);
    author.delegate("a", "shared", &["a/*"], 10);
    author.delegate("b", "shared", &["b/*"], 11);
    for path in ["a/x", "b/x"] {
        author.role("shared")["targets"][path] = target(b"x", &json!({}));
    }
    author.publish();
    let mut client = open(&author, Limits::DEVICE_IMAGE);
    client.refresh(&mut author.served, NOW).unwrap();
    assert_eq!(client.target("a/x", &mut author.served, NOW).unwrap().role, "shared");
    // The second delegator trusts another key, and the file in the store is not signed by it.
    let refusal = client.target("b/x", &mut author.served, NOW).unwrap_err();
    assert_eq!(refusal, Cause::TooFewSignatures.of("shared.json"));
}

fn open(author: &Author, limits: Limits) -> Repository<MemoryStore> {
    let root = &author.served["1.root.json"];
    Repository::open(MemoryStore::new(), root, Some("image/acme-th1"), limits).unwrap()
}

#[test]
fn row_25_circles_and_endless_chains_end_at_the_limit() {
    let mut world = World::new();
    world.image.role(STABLE)["targets"] = json!({});
    world.image.delegate(STABLE, "a", &["acme-th1/*/*/*"], 9);
    world.image.delegate("a", STABLE, &["acme-th1/*/*/*"], 8);
    world.image.delegate("a", "a", &["acme-th1/*/*/*"], 9);
    world.image.publish();
    world.answer();
    let mut client = world.client();
    assert_eq!(world.deliver(&mut client), Err(Cause::NotListed.of(format!("image/{PATH}"))));

    // As long a chain as a snapshot for devices can name.
    let mut world = World::new();
    world.image.role(STABLE)["targets"] = json!({});
    chain(&mut world.image, STABLE, "acme-th1/*/*/*", 300);
    world.answer();
    let mut client = world.client();
    assert_eq!(world.deliver(&mut client), Err(Cause::TooManyRoles.of(format!("image/{PATH}"))));
}

/// Each role delegates to the next; the last one lists the release.
fn chain(author: &mut Author, from: &str, paths: &str, roles: usize) {
    let name = |role: usize| if role == 0 { from.to_owned() } else { role.to_string() };
    for role in 0..roles {
        author.delegate(&name(role), &name(role + 1), &[paths], 8);
    }
    let last = author.role(&name(roles));
    last["targets"][PATH] = target(IMAGE, &json!({"match": attributes()}));
    author.publish();
}

#[test]
fn row_25_a_thousand_roles_in_a_chain_cost_eight() {
    let mut author = Author::new("image/acme-th1");
    author.delegate("targets", STABLE, &["acme-th1/*/*/*"], 8);
    chain(&mut author, STABLE, "acme-th1/*/*/*", 1_000);
    let mut client = open(&author, Limits { roles_max: 8, ..Limits::HOST });
    client.refresh(&mut author.served, NOW).unwrap();
    let mut asked = Asked { served: &author.served, names: Vec::new() };
    let refusal = client.target(PATH, &mut asked, NOW).unwrap_err();
    assert_eq!(refusal, Cause::TooManyRoles.of(PATH));
    assert_eq!(asked.names.len(), 8, "{:?}", asked.names);
}

/// Serves files and remembers which.
struct Asked<'a> {
    served: &'a crate::support::author::Served,
    names: Vec<String>,
}

impl waxwing_tuf::Fetch for Asked<'_> {
    fn metadata(
        &mut self,
        file_name: &str,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, waxwing_tuf::FetchError> {
        self.names.push(file_name.to_owned());
        self.served.clone().metadata(file_name, bytes_max)
    }
}

#[test]
fn row_26_a_delegated_role_that_the_snapshot_does_not_know_is_refused() {
    let change = |world: &mut World| {
        world.image.snapshot["meta"].as_object_mut().unwrap().remove(&format!("{STABLE}.json"));
        world.image.publish_snapshot();
        world.image.publish_timestamp();
    };
    refused(change, &format!("image/{STABLE}.json"), Cause::NotInSnapshot);
}
