//! The search for a target through delegations (TUF 5.6.7).

use serde_json::json;
use waxwing_tuf::role::Listed;
use waxwing_tuf::{Cause, Limits, MemoryStore, Refusal, Repository, Verified};

use crate::support::{Author, NOW, key_id, key_json, refused};

/// Refreshes a new client and searches; gives back what it asked for besides the top-level roles.
fn search(author: &mut Author, path: &str) -> (Result<Verified<Listed>, Refusal>, Vec<String>) {
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.served.take_requests();
    let found = client.target(path, &mut author.served, NOW);
    (found, author.served.take_requests())
}

fn list(author: &mut Author, role: &str, path: &str) {
    let target = Author::target(role.as_bytes(), &json!({"by": role}));
    let draft =
        if role == "targets" { &mut author.targets } else { author.roles.get_mut(role).unwrap() };
    draft["targets"][path] = target;
}

#[test]
fn a_target_of_the_top_level_needs_no_other_role() {
    let mut author = Author::new();
    author.delegate("targets", "a", &["*"], 8);
    list(&mut author, "targets", "x");
    list(&mut author, "a", "x");
    author.publish();
    let (found, requests) = search(&mut author, "x");
    assert_eq!(found.unwrap().role, "targets");
    assert_eq!(requests, [""; 0]);
}

#[test]
fn roles_are_visited_depth_first_and_only_when_their_turn_comes() {
    let mut author = Author::new();
    author.delegate("targets", "a", &["*"], 8);
    author.delegate("targets", "b", &["*"], 9);
    author.delegate("targets", "c", &["*"], 10);
    author.delegate("a", "a1", &["*"], 11);
    author.delegate("a", "a2", &["other/*"], 12);
    list(&mut author, "b", "x");
    list(&mut author, "c", "x");
    author.publish();
    let (found, requests) = search(&mut author, "x");
    assert_eq!(found.unwrap().role, "b");
    assert_eq!(requests, ["1.a.json", "1.a1.json", "1.b.json"]);
}

#[test]
fn behind_a_terminating_delegation_nobody_is_asked() {
    let mut author = Author::new();
    author.delegate("targets", "a", &["*"], 8);
    author.delegate("targets", "b", &["*"], 9);
    author.delegate("a", "a1", &["*"], 11);
    author.targets["delegations"]["roles"][0]["terminating"] = true.into();
    list(&mut author, "b", "x");
    author.publish();
    let (found, requests) = search(&mut author, "x");
    refused(found, "x", Cause::NotListed);
    assert_eq!(requests, ["1.a.json", "1.a1.json"]);
}

#[test]
fn a_terminating_delegation_further_down_ends_the_search_at_the_top_too() {
    let mut author = Author::new();
    author.delegate("targets", "a", &["*"], 8);
    author.delegate("targets", "b", &["*"], 9);
    author.delegate("a", "a1", &["*"], 11);
    author.roles.get_mut("a").unwrap()["delegations"]["roles"][0]["terminating"] = true.into();
    list(&mut author, "b", "x");
    author.publish();
    let (found, requests) = search(&mut author, "x");
    refused(found, "x", Cause::NotListed);
    assert_eq!(requests, ["1.a.json", "1.a1.json"]);
}

#[test]
fn a_role_cannot_list_what_was_not_delegated_to_it() {
    let mut author = Author::new();
    author.delegate("targets", "stable", &["acme/stable/*/*"], 8);
    list(&mut author, "stable", "acme/dev/1.0.0/esp32c3.bin");
    author.publish();
    let (found, requests) = search(&mut author, "acme/dev/1.0.0/esp32c3.bin");
    refused(found, "acme/dev/1.0.0/esp32c3.bin", Cause::NotListed);
    assert_eq!(requests, [""; 0]);
}

#[test]
fn hash_prefixes_delegate_like_paths() {
    let mut author = Author::new();
    author.delegate("targets", "bin", &[], 8);
    let delegation = &mut author.targets["delegations"]["roles"][0];
    delegation.as_object_mut().unwrap().remove("paths");
    // The SHA-256 of "x" starts with 2d71, that of "y" with a1fc.
    delegation["path_hash_prefixes"] = json!(["00", "2d"]);
    list(&mut author, "bin", "x");
    list(&mut author, "bin", "y");
    author.publish();
    assert_eq!(search(&mut author, "x").0.unwrap().role, "bin");
    refused(search(&mut author, "y").0, "y", Cause::NotListed);
}

#[test]
fn circles_end() {
    let mut author = Author::new();
    author.delegate("targets", "a", &["*"], 8);
    author.delegate("a", "b", &["*"], 9);
    author.delegate("b", "a", &["*"], 8);
    author.publish();
    let (found, requests) = search(&mut author, "x");
    refused(found, "x", Cause::NotListed);
    assert_eq!(requests, ["1.a.json", "1.b.json"]);
}

#[test]
fn a_thousand_roles_in_a_chain_stop_at_the_limit() {
    let mut author = Author::new();
    author.delegate("targets", "0", &["*"], 8);
    for role in 1..1_000 {
        author.delegate(&(role - 1).to_string(), &role.to_string(), &["*"], 8);
    }
    author.publish();
    let limits = Limits { roles_max: 8, ..Limits::HOST };
    let root = &author.served.files["1.root.json"];
    let mut client = Repository::open(MemoryStore::new(), root, None, limits).unwrap();
    client.refresh(&mut author.served, NOW).unwrap();
    author.served.take_requests();
    refused(client.target("x", &mut author.served, NOW), "x", Cause::TooManyRoles);
    assert_eq!(author.served.take_requests().len(), 8);
    refused(client.all_targets(&mut author.served, NOW).map(drop), "8", Cause::TooManyRoles);
}

#[test]
fn a_role_outside_the_snapshot_is_refused_and_not_fetched() {
    let mut author = Author::new();
    author.delegate("targets", "a", &["*"], 8);
    author.publish();
    author.snapshot["meta"].as_object_mut().unwrap().remove("a.json");
    author.publish_snapshot();
    author.publish_timestamp();
    let (found, requests) = search(&mut author, "x");
    refused(found, "a.json", Cause::NotInSnapshot);
    assert_eq!(requests, [""; 0]);
}

#[test]
fn a_kept_role_is_verified_against_the_delegator_on_this_path() {
    let mut author = Author::new();
    author.delegate("targets", "parent-a", &["a/*"], 8);
    author.delegate("targets", "parent-b", &["b/*"], 9);
    author.delegate("parent-a", "release", &["a/*"], 10);
    author.delegate("parent-b", "release", &["b/*"], 11);
    list(&mut author, "release", "a/x");
    list(&mut author, "release", "b/x");
    author.publish();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    assert_eq!(client.target("a/x", &mut author.served, NOW).unwrap().role, "release");
    let found = client.target("b/x", &mut author.served, NOW);
    refused(found, "release.json", Cause::TooFewSignatures);
}

#[test]
fn a_delegated_role_cannot_take_the_place_of_a_top_level_role() {
    for name in ["root", "timestamp", "snapshot", "targets", ""] {
        let mut author = Author::new();
        author.delegate("targets", "a", &["*"], 8);
        author.targets["delegations"]["roles"][0]["name"] = name.into();
        author.publish();
        let refresh = author.client().refresh(&mut author.served, NOW);
        refused(refresh, "targets.json", Cause::BadField("delegations"));
    }
}

#[test]
fn malformed_delegations_are_refused() {
    let cases = [
        ("terminating", json!(null)),
        ("paths", json!(null)),
        ("paths", json!([1])),
        ("path_hash_prefixes", json!(["00"])),
        ("name", json!(1)),
    ];
    for (field, value) in cases {
        let mut author = Author::new();
        author.delegate("targets", "a", &["*"], 8);
        author.targets["delegations"]["roles"][0][field] = value;
        author.publish();
        let refresh = author.client().refresh(&mut author.served, NOW);
        refused(refresh, "targets.json", Cause::BadField("delegations"));
    }
    let mut author = Author::new();
    author.delegate("targets", "a", &["*"], 8);
    author.delegate("targets", "a", &["*"], 8);
    author.publish();
    let refresh = author.client().refresh(&mut author.served, NOW);
    refused(refresh, "targets.json", Cause::BadField("delegations"));
}

#[test]
fn malformed_targets_are_refused_wherever_they_stand() {
    for (field, value, cause) in [
        ("length", json!(-1), Cause::BadField("length")),
        ("length", json!(null), Cause::BadField("length")),
        ("hashes", json!({}), Cause::BadField("hashes")),
        ("hashes", json!({"sha256": "AA"}), Cause::BadField("hashes")),
    ] {
        let mut author = Author::new();
        list(&mut author, "targets", "x");
        author.targets["targets"]["x"][field] = value;
        author.publish();
        refused(author.client().refresh(&mut author.served, NOW), "targets.json", cause);
    }
}

#[test]
fn all_targets_are_listed_with_their_roles() {
    let mut author = Author::new();
    author.delegate("targets", "stable", &["acme/stable/*"], 8);
    author.delegate("targets", "beta", &["acme/beta/*"], 9);
    author.delegate("stable", "docs", &["acme/*/notes"], 10);
    list(&mut author, "stable", "acme/stable/a");
    list(&mut author, "stable", "acme/beta/b");
    list(&mut author, "docs", "acme/stable/notes");
    list(&mut author, "docs", "acme/beta/notes");
    author.publish();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    let listings = client.all_targets(&mut author.served, NOW).unwrap();
    let summary: Vec<_> = listings
        .iter()
        .map(|listing| {
            let targets: Vec<_> =
                listing.targets.iter().map(|target| target.path.as_str()).collect();
            (listing.role.as_str(), targets, listing.outside.clone())
        })
        .collect();
    let expected = [
        ("targets", vec![], vec![]),
        ("stable", vec!["acme/stable/a"], vec!["acme/beta/b".to_owned()]),
        ("docs", vec!["acme/stable/notes"], vec!["acme/beta/notes".to_owned()]),
        ("beta", vec![], vec![]),
    ];
    assert_eq!(summary, expected);
    let custom = listings[1].targets[0].custom().unwrap();
    assert_eq!(custom.field("by").unwrap().as_plain(), Some("stable"));
}

#[test]
fn a_role_whose_keys_were_replaced_is_refused_until_it_is_signed_again() {
    let mut author = Author::new();
    author.delegate("targets", "a", &["*"], 8);
    list(&mut author, "a", "x");
    author.publish();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    client.target("x", &mut author.served, NOW).unwrap();
    assert!(client.versions().any(|(role, _)| role == "a"));
    author.targets["delegations"]["keys"][key_id(9)] = key_json(9);
    author.targets["delegations"]["roles"][0]["keyids"] = json!([key_id(9)]);
    author.targets.bump();
    author.snapshot.bump();
    author.timestamp.bump();
    author.publish();
    client.refresh(&mut author.served, NOW).unwrap();
    refused(client.target("x", &mut author.served, NOW), "a.json", Cause::TooFewSignatures);
    // The copy is gone, so that the server sends the role again.
    assert!(!client.versions().any(|(role, _)| role == "a"));
    author.roles.get_mut("a").unwrap().keys = vec![9];
    author.publish_targets();
    client.target("x", &mut author.served, NOW).unwrap();
}
