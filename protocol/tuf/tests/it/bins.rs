//! Succinct hash bins (TAP 15).

use serde_json::{Value as Json, json};
use waxwing_tuf::Cause;

use crate::support::{Author, NOW, key_id, key_json, refused};

/// Delegates everything to 2^`bits` bins, which all have key 8, and lists each of `paths` in the bin
/// that `python3 -c 'import hashlib; print(hashlib.sha256(b"x").hexdigest())'` says.
fn author(bits: u64, listed: &[(&str, &[&str])]) -> Author {
    let mut author = Author::new();
    author.targets["delegations"] = json!({
        "keys": {key_id(8): key_json(8)},
        "succinct_roles":
            {"keyids": [key_id(8)], "threshold": 1, "bit_length": bits, "name_prefix": "bin"},
    });
    for (name, paths) in listed {
        let mut draft = author.targets.clone();
        draft.signed.as_object_mut().unwrap().remove("delegations");
        draft["targets"] = paths
            .iter()
            .map(|path| ((*path).to_owned(), Author::target(path.as_bytes(), &json!({}))))
            .collect::<serde_json::Map<_, _>>()
            .into();
        draft.keys = vec![8];
        author.roles.insert((*name).to_owned(), draft);
    }
    author.publish();
    author
}

#[track_caller]
fn check(author: &mut Author, path: &str, bin: &str, is_found: bool) {
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.served.take_requests();
    let found = client.target(path, &mut author.served, NOW);
    if is_found {
        assert_eq!(found.unwrap().role, bin);
    } else {
        refused(found, path, Cause::NotListed);
    }
    assert_eq!(author.served.take_requests(), [format!("1.{bin}.json")]);
}

// The SHA-256 of "x" starts with 2d711642, that of "y" with a1fce436.

#[test]
fn a_path_is_looked_for_in_its_bin_and_in_no_other() {
    let mut author = author(1, &[("bin-0", &["x"]), ("bin-1", &["y"])]);
    check(&mut author, "x", "bin-0", true);
    check(&mut author, "y", "bin-1", true);
    check(&mut author, "missing", "bin-1", false);
}

#[test]
fn the_index_has_as_many_digits_as_the_last_bin() {
    check(&mut author(4, &[("bin-2", &["x"])]), "x", "bin-2", true);
    check(&mut author(5, &[("bin-05", &["x"])]), "x", "bin-05", true);
    check(&mut author(8, &[("bin-a1", &["y"])]), "y", "bin-a1", true);
    check(&mut author(9, &[("bin-05a", &["x"])]), "x", "bin-05a", true);
    check(&mut author(32, &[("bin-2d711642", &["x"])]), "x", "bin-2d711642", true);
}

#[test]
fn a_bin_that_lists_a_path_of_another_is_not_asked_for_it() {
    let mut author = author(1, &[("bin-0", &["y"]), ("bin-1", &[])]);
    check(&mut author, "y", "bin-1", false);
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    let listings = client.all_targets(&mut author.served, NOW).unwrap();
    let roles: Vec<_> = listings.iter().map(|listing| listing.role.as_str()).collect();
    assert_eq!(roles, ["targets", "bin-0", "bin-1"]);
    assert_eq!(listings[1].outside, ["y"]);
}

#[test]
fn a_bin_needs_its_signatures() {
    let mut author = author(1, &[("bin-0", &["x"])]);
    author.roles.get_mut("bin-0").unwrap().keys = vec![9];
    author.publish();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    let found = client.target("x", &mut author.served, NOW);
    refused(found, "bin-0.json", Cause::TooFewSignatures);
}

#[test]
fn malformed_bins_are_refused() {
    let cases: [(&str, Json, Cause); 6] = [
        ("bit_length", json!(0), Cause::BadField("succinct_roles")),
        ("bit_length", json!(33), Cause::BadField("succinct_roles")),
        ("bit_length", json!("1"), Cause::BadField("succinct_roles")),
        ("name_prefix", json!(""), Cause::BadField("succinct_roles")),
        ("name_prefix", json!(1), Cause::BadField("succinct_roles")),
        ("threshold", json!(0), Cause::BadField("threshold")),
    ];
    for (field, value, cause) in cases {
        let mut author = author(1, &[]);
        author.targets["delegations"]["succinct_roles"][field] = value;
        author.publish();
        refused(author.client().refresh(&mut author.served, NOW), "targets.json", cause);
    }
    let mut author = author(1, &[]);
    author.targets["delegations"]["roles"] = json!([]);
    author.publish();
    let refreshed = author.client().refresh(&mut author.served, NOW);
    refused(refreshed, "targets.json", Cause::BadField("delegations"));
}
