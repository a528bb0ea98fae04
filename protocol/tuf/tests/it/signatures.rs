//! Who may sign what: thresholds, types and repositories.

use serde_json::json;
use waxwing_tuf::role::{Signers, Timestamp};
use waxwing_tuf::verify::{verify, verify_trusted_root};
use waxwing_tuf::{Cause, Fault, Limits, MemoryStore, Repository};

use crate::support::{
    Author, Draft, NOW, key_id, key_json, keys_json, public, refused, refused_after, role_json,
    sign,
};

/// Signers whose ids are those of the keys.
fn signers(threshold: usize, keys: &[u8]) -> Signers {
    Signers::new(threshold, keys.iter().map(|key| (key_id(*key), public(*key))).collect())
}

#[track_caller]
fn check(bytes: &[u8], signers: &Signers, expected: Result<(), Cause>) {
    assert_eq!(verify::<Timestamp>(bytes, signers, None).map(drop), expected);
}

#[test]
fn a_threshold_of_different_keys_is_enough() {
    let signed = Author::new().timestamp.signed;
    check(&sign(&signed, &[1, 3]), &signers(2, &[1, 2, 3]), Ok(()));
    check(&sign(&signed, &[1]), &signers(2, &[1, 2, 3]), Err(Cause::TooFewSignatures));
    check(&sign(&signed, &[]), &signers(1, &[1]), Err(Cause::TooFewSignatures));
}

#[test]
fn strangers_do_not_count() {
    let signed = Author::new().timestamp.signed;
    check(&sign(&signed, &[1, 9]), &signers(2, &[1, 2, 3]), Err(Cause::TooFewSignatures));
}

#[test]
fn one_key_under_two_ids_counts_once() {
    let signed = Author::new().timestamp.signed;
    let mut file: serde_json::Value = serde_json::from_slice(&sign(&signed, &[1])).unwrap();
    let mut again = file["signatures"][0].clone();
    again["keyid"] = "another".into();
    file["signatures"].as_array_mut().unwrap().push(again);
    let two_ids = Signers::new(2, vec![(key_id(1), public(1)), ("another".into(), public(1))]);
    check(file.to_string().as_bytes(), &two_ids, Err(Cause::TooFewSignatures));
    let one_more = Signers::new(
        2,
        vec![(key_id(1), public(1)), ("another".into(), public(1)), (key_id(2), public(2))],
    );
    check(file.to_string().as_bytes(), &one_more, Err(Cause::TooFewSignatures));
}

#[test]
fn one_id_that_signs_twice_is_refused() {
    let signed = Author::new().timestamp.signed;
    check(&sign(&signed, &[1, 1]), &signers(1, &[1]), Err(Cause::BadEnvelope));
}

#[test]
fn what_nobody_signed_is_the_fault_of_whoever_delivered_it() {
    let signed = Author::new().timestamp.signed;
    let documents: [&[u8]; 6] = [
        b"\xff",
        b"[]",
        br#"{"signatures":[]}"#,
        br#"{"signatures":[{"keyid":1,"sig":""}],"signed":{}}"#,
        br#"{"signatures":[],"signed":{}}"#,
        &sign(&signed, &[1, 1]),
    ];
    for document in documents {
        let cause = verify::<Timestamp>(document, &signers(1, &[1]), None).unwrap_err();
        assert_eq!(cause.fault(), Fault::Delivery, "{cause}");
    }
}

#[test]
fn a_threshold_of_zero_trusts_nobody() {
    let signed = Author::new().timestamp.signed;
    check(&sign(&signed, &[1]), &signers(0, &[1]), Err(Cause::TooFewSignatures));
    refused_after(
        |author| {
            author.root.bump();
            author.root["roles"]["timestamp"] = role_json(0, &[4]);
            author.publish_root();
        },
        "2.root.json",
        Cause::BadField("threshold"),
    );
}

#[test]
fn a_key_listed_twice_in_a_role_is_refused() {
    refused_after(
        |author| {
            author.root.bump();
            author.root["roles"]["timestamp"] = role_json(1, &[4, 4]);
            author.publish_root();
        },
        "2.root.json",
        Cause::BadField("keyids"),
    );
}

#[test]
fn key_ids_may_be_anything_and_unknown_kinds_of_keys_never_count() {
    let mut author = Author::new();
    author.root["keys"] = keys_json(&[1, 2, 3, 4, 5, 6, 7]);
    author.root["keys"]["tape"] = key_json(14);
    author.root["keys"]["new"] =
        json!({"keytype": "dilithium", "scheme": "dilithium3", "keyval": {"public": "00"}});
    author.root["roles"]["timestamp"] =
        json!({"keyids": ["new", "tape", "missing"], "threshold": 1});
    author.publish_root();
    let mut client = author.client();
    let mut file: serde_json::Value =
        serde_json::from_slice(&sign(&author.timestamp.signed, &[14])).unwrap();
    file["signatures"][0]["keyid"] = "tape".into();
    author.served.files.insert("timestamp.json".into(), file.to_string().into_bytes());
    client.refresh(&mut author.served, NOW).unwrap();
}

#[test]
fn a_hostile_number_of_keys_or_signatures_is_refused_before_any_is_tried() {
    let signed = Author::new().timestamp.signed;
    let mut file: serde_json::Value = serde_json::from_slice(&sign(&signed, &[1])).unwrap();
    for number in 0..100 {
        let signature = json!({"keyid": number.to_string(), "sig": "00"});
        file["signatures"].as_array_mut().unwrap().push(signature);
    }
    check(file.to_string().as_bytes(), &signers(1, &[1]), Err(Cause::BadEnvelope));
    let mut author = Author::new();
    let ids: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    author.root["roles"]["timestamp"]["keyids"] = ids.into();
    assert_eq!(
        verify_trusted_root(&author.root.bytes(), None).err(),
        Some(Cause::BadField("keyids"))
    );
}

#[test]
fn metadata_of_another_role_is_refused() {
    let mut author = Author::new();
    author.snapshot.keys = vec![4];
    check(&author.snapshot.bytes(), &signers(1, &[4]), Err(Cause::WrongType));
    author.timestamp["_type"] = "Timestamp".into();
    check(&author.timestamp.bytes(), &signers(1, &[4]), Err(Cause::WrongType));
}

#[test]
fn another_major_version_of_the_specification_is_refused() {
    let with = |version: serde_json::Value| {
        let mut author = Author::new();
        author.timestamp["spec_version"] = version;
        author.timestamp.bytes()
    };
    check(&with("1.99.0".into()), &signers(1, &[4]), Ok(()));
    for version in [json!("2.0.0"), json!(""), json!("11"), json!(1), json!(null)] {
        check(&with(version), &signers(1, &[4]), Err(Cause::WrongSpecification));
    }
}

#[test]
fn a_client_of_one_repository_refuses_files_of_another() {
    type Pick = fn(&mut Author) -> &mut Draft;
    let roles: [(&str, Pick); 3] = [
        ("timestamp.json", |author| &mut author.timestamp),
        ("snapshot.json", |author| &mut author.snapshot),
        ("targets.json", |author| &mut author.targets),
    ];
    let open = |author: &Author, name| {
        Repository::open(
            MemoryStore::new(),
            &author.served.files["1.root.json"],
            Some(name),
            Limits::HOST,
        )
    };
    let mut author = Author::named("image/acme");
    open(&author, "image/acme").unwrap().refresh(&mut author.served, NOW).unwrap();
    refused(open(&author, "image/other"), "root.json", Cause::WrongRepository);
    refused(open(&Author::new(), "image/acme"), "root.json", Cause::WrongRepository);
    for (file, pick) in roles {
        for foreign in [json!("image/other"), json!(null)] {
            let mut author = Author::named("image/acme");
            pick(&mut author)["repo"] = foreign;
            author.publish();
            let mut client = open(&author, "image/acme").unwrap();
            refused(client.refresh(&mut author.served, NOW), file, Cause::WrongRepository);
        }
    }
    author.root.bump();
    author.root["repo"] = "image/other".into();
    author.publish_root();
    let mut client = open(&author, "image/acme").unwrap();
    refused(client.refresh(&mut author.served, NOW), "2.root.json", Cause::WrongRepository);
}

#[test]
fn fields_of_the_wrong_shape_are_refused() {
    let with = |field: &str, value: serde_json::Value| {
        let mut author = Author::new();
        author.timestamp[field] = value;
        author.timestamp.bytes()
    };
    for version in [json!(0), json!(-1), json!("1"), json!(null)] {
        check(&with("version", version), &signers(1, &[4]), Err(Cause::BadField("version")));
    }
    for expires in [json!("2026-12-31"), json!(0), json!(null)] {
        check(&with("expires", expires), &signers(1, &[4]), Err(Cause::BadField("expires")));
    }
    for meta in [
        json!({}),
        json!([]),
        json!({"snapshot.json": {}}),
        json!({"snapshot.json": {"version": 0}}),
    ] {
        check(&with("meta", meta), &signers(1, &[4]), Err(Cause::BadField("meta")));
    }
    for hashes in [json!({}), json!({"md5": "00"}), json!({"sha256": "00"}), json!({"sha256": 1})] {
        let meta = json!({"snapshot.json": {"version": 1, "hashes": hashes}});
        check(&with("meta", meta), &signers(1, &[4]), Err(Cause::BadField("hashes")));
    }
}

#[test]
fn any_flipped_bit_of_a_file_is_noticed() {
    let bytes = Author::new().timestamp.bytes();
    let right = verify::<Timestamp>(&bytes, &signers(1, &[4]), None).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // A flip may change how a file is spelled (the case of a letter in a `\u` escape, say), never
        // what it says.
        if let Ok(accepted) = verify::<Timestamp>(&bad, &signers(1, &[4]), None) {
            assert_eq!(accepted, right, "bit {bit}");
        }
    }
}
