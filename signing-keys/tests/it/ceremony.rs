//! Whole ceremonies with the real program: what it does for honest holders, what it refuses.
use std::os::unix::fs::PermissionsExt as _;

use crate::common::{Ceremony, ROOT, STABLE, TARGETS, WORDS, delegate, root_init};
use serde_json::Value;
use waxwing_tuf::author::{Algorithm, SecretKey};

#[test]
fn a_new_key_is_encrypted_private_and_never_overwritten() {
    let ceremony = Ceremony::new();
    let new = ["key", "new", "-o", "erin.key", "--passphrase-fd", "0"];
    ceremony.run_with(&new, "too short\n").refused("fewer than 12 characters");
    assert!(!ceremony.path("erin.key").exists());
    let shown = ceremony.run_with(&new, &format!("{WORDS}\n")).good();
    let mode = std::fs::metadata(ceremony.path("erin.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(ceremony.text("erin.key").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let public: Value = serde_json::from_slice(&ceremony.bytes("erin.pub.json")).unwrap();
    assert!(shown.contains(public["fingerprint"].as_str().unwrap()));
    let again = ["key", "pub", "erin.key", "--passphrase-fd", "0"];
    let printed = ceremony.run_with(&again, &format!("{WORDS}\n")).good();
    assert_eq!(printed, ceremony.text("erin.pub.json"));
    let wrong = ceremony.run_with(&again, "correct horse battery stable\n");
    wrong.refused("the passphrase does not open erin.key");
    let before = ceremony.bytes("erin.key");
    ceremony.run_with(&new, &format!("{WORDS}\n")).refused("erin.pub.json exists already");
    std::fs::remove_file(ceremony.path("erin.pub.json")).unwrap();
    ceremony.run_with(&new, &format!("{WORDS}\n")).refused("cannot write erin.key");
    assert_eq!(ceremony.bytes("erin.key"), before);
}

#[test]
fn a_standby_key_becomes_the_file_that_a_server_reads_and_nothing_else_does() {
    let ceremony = Ceremony::new();
    let expose = |key: &str, words: &str| {
        let key = format!("{key}.key");
        let args = ["key", "expose", &key, "-o", "director.key", "--passphrase-fd", "0"];
        ceremony.run_with(&args, &format!("{words}\n"))
    };
    expose("alice", "correct horse battery stable").refused("the passphrase does not open");
    expose("bob", WORDS).refused("only an Ed25519 key can be given to a server");
    assert!(!ceremony.path("director.key").exists());
    let shown = expose("alice", WORDS).good();
    let mode = std::fs::metadata(ceremony.path("director.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The seed that the key of the test was made of.
    assert_eq!(ceremony.bytes("director.key"), [1; 32]);
    let public: Value = serde_json::from_slice(&ceremony.bytes("alice.pub.json")).unwrap();
    assert!(shown.contains(public["fingerprint"].as_str().unwrap()), "{shown}");
    let transcript = ceremony.text("transcript.jsonl");
    assert!(transcript.contains("\"use\":\"exposed\""), "{transcript}");
    assert!(!transcript.contains("director.key"));
    expose("carol", WORDS).refused("cannot write director.key");
    assert_eq!(ceremony.bytes("director.key"), [1; 32]);
}

#[test]
fn two_of_three_holders_sign_in_any_order() {
    for pair in [["alice", "bob"], ["carol", "alice"], ["bob", "carol"]] {
        let ceremony = Ceremony::new();
        ceremony.run(&root_init("image/acme-th1", ROOT)).good();
        ceremony.run(&["check", ROOT]).refused("not a file that devices would trust");
        let shown = ceremony.sign(ROOT, pair[0]).good();
        assert!(shown.contains("1 of 2 signatures"), "{shown}");
        ceremony.run(&["check", ROOT]).refused("not a file that devices would trust");
        ceremony.sign(ROOT, pair[1]).good();
        let shown = ceremony.run(&["check", ROOT]).good();
        assert!(shown.contains("2 of 2 signatures"), "{shown}");
        assert!(shown.contains("devices would believe this file"), "{shown}");
    }
}

#[test]
fn the_same_holder_signing_twice_counts_once() {
    let ceremony = Ceremony::new();
    ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    ceremony.sign(ROOT, "alice").good();
    let shown = ceremony.sign(ROOT, "alice").good();
    assert!(shown.contains("1 of 2 signatures"), "{shown}");
    ceremony.run(&["check", ROOT]).refused("not a file that devices would trust");
}

#[test]
fn strangers_cannot_sign_and_change_nothing() {
    let ceremony = Ceremony::new();
    ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    let before = ceremony.bytes(ROOT);
    ceremony.sign(ROOT, "dave").refused("this key may not sign role root");
    ceremony.sign(ROOT, "s").refused("this key may not sign role root");
    assert_eq!(ceremony.bytes(ROOT), before);
}

#[test]
fn a_signer_sees_what_changes_and_may_say_no() {
    let ceremony = Ceremony::signed();
    let before = ceremony.bytes(STABLE);
    let args = ["sign", STABLE, "--key", "ar.key", "--passphrase-fd", "0"];
    let ran = ceremony.run_with(&args, &format!("{WORDS}\nn\n"));
    let shown = String::from_utf8_lossy(&ran.0.stdout).into_owned();
    assert!(shown.contains("+ target acme-th1/stable/1.0.0/esp32c3.bin: version 1.0.0"), "{shown}");
    assert!(shown.contains("signed  ar ("), "{shown}");
    ran.refused("not signed, as you wish");
    assert_eq!(ceremony.bytes(STABLE), before);
    ceremony.run_with(&args, &format!("{WORDS}\ny\n")).good();
}

#[test]
fn check_tells_programs_who_has_signed() {
    let ceremony = Ceremony::new();
    ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    ceremony.sign(ROOT, "bob").good();
    let ran = ceremony.run(&["check", ROOT, "--json"]);
    assert_eq!(ran.0.status.code(), Some(1));
    let value: Value = serde_json::from_slice(&ran.0.stdout).unwrap();
    assert_eq!(value["believed"], false);
    assert_eq!(value["repo"], "image/acme-th1");
    let keys = value["quorums"][0]["keys"].as_array().unwrap();
    let signed: Vec<_> = keys.iter().map(|key| (&key["name"], &key["signed"])).collect();
    let expected = [("alice", false), ("bob", true), ("carol", false)];
    assert_eq!(signed.len(), expected.len());
    for ((name, signed), (holder, has)) in signed.into_iter().zip(expected) {
        assert_eq!((name, signed), (&Value::from(holder), &Value::from(has)));
    }
}

#[test]
fn one_key_never_serves_two_repositories() {
    let ceremony = Ceremony::new();
    ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    // A neighbour in the same ceremony folder is found without being named.
    let director = root_init("director", "director/metadata/1.root.json");
    ceremony.run(&director).refused("already belongs to repository image/acme-th1");
    assert!(!ceremony.path("director/metadata/1.root.json").exists());
    // Elsewhere it must be named.
    let mut elsewhere = root_init("director", "far/away/1.root.json");
    elsewhere.extend(["--also", ROOT]);
    ceremony.run(&elsewhere).refused("already belongs to repository image/acme-th1");
}

#[test]
fn a_key_that_two_repositories_got_on_different_machines_is_found_by_every_command() {
    let ceremony = Ceremony::signed();
    // Made on a machine that knew nothing of the product.
    let elsewhere = Ceremony::new();
    elsewhere.run(&root_init("director", "director/metadata/1.root.json")).good();
    ceremony.write(DIRECTOR_ROOT, elsewhere.bytes(DIRECTOR_ROOT));
    let reason = "also belongs to repository";
    for file in [ROOT, STABLE, DIRECTOR_ROOT] {
        ceremony.run(&["check", file]).refused(reason);
    }
    let before = ceremony.bytes(DIRECTOR_ROOT);
    ceremony.sign(DIRECTOR_ROOT, "alice").refused(reason);
    assert_eq!(ceremony.bytes(DIRECTOR_ROOT), before);
    ceremony.sign(STABLE, "ar").refused(reason);
    ceremony.publish(&[]).refused(reason);
    let delegate = delegate("stable", "1:dave.pub.json");
    ceremony.run(&delegate).good();
    ceremony.run(&ROTATE).refused("already belongs to repository director");
}

#[test]
fn a_coordinator_sees_every_fingerprint_before_anybody_signs() {
    let ceremony = Ceremony::new();
    let words = |name: &str| {
        let file: Value =
            serde_json::from_slice(&ceremony.bytes(&format!("{name}.pub.json"))).unwrap();
        format!("{name} ({})", file["fingerprint"].as_str().unwrap())
    };
    let shown = ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    for name in ["alice", "bob", "carol", "at", "bt", "s", "t"] {
        assert!(shown.contains(&words(name)), "{name}: {shown}");
    }
    ceremony.sign(ROOT, "alice").good();
    ceremony.sign(ROOT, "bob").good();
    let shown = ceremony.run(&delegate("stable", "1:ar.pub.json")).good();
    assert!(shown.contains(&words("ar")), "{shown}");
    let shown = ceremony.run(&ROTATE).good();
    assert!(shown.contains(&words("dave")) && shown.contains(&words("carol")), "{shown}");
}

#[test]
fn a_channel_key_of_one_product_serves_no_other_repository() {
    let ceremony = Ceremony::delegated();
    let out = "other/metadata/1.root.json";
    let mut root = root_init("image/other", out);
    let (one, two) = ("1:dave.pub.json", "1:ar.pub.json");
    root.splice(4.., ["--root", one, "--targets", two, "--snapshot", two, "--timestamp", two]);
    root.extend(["-o", out]);
    ceremony.run(&root).refused("already belongs to repository image/acme-th1");
}

#[test]
fn thresholds_and_keys_that_make_no_sense_are_refused() {
    let ceremony = Ceremony::new();
    let crowd: Vec<_> = (100..109).map(|seed| format!("{seed}.pub.json")).collect();
    for (seed, name) in (100..109).zip(&crowd) {
        ceremony.key(name.trim_end_matches(".pub.json"), Algorithm::Ed25519, seed);
    }
    let crowd = format!("1:{}", crowd.join(","));
    for (root, reason) in [
        (crowd.as_str(), "lists more than 8 keys"),
        ("0:alice.pub.json", "between 1 and 1 are possible"),
        ("2:alice.pub.json", "between 1 and 1 are possible"),
        ("1:alice.pub.json,alice.pub.json", "would list one key twice"),
        ("1:s.pub.json", "must not sign roots"),
        ("1:alice.key", "alice.key is no public key file"),
        ("1:nobody.pub.json", "cannot read nobody.pub.json"),
    ] {
        let mut args = root_init("image/acme-th1", ROOT);
        args[5] = root;
        ceremony.run(&args).refused(reason);
        assert!(!ceremony.path(ROOT).exists());
    }
    let mut misnamed = root_init("image/acme-th1", ROOT);
    *misnamed.last_mut().unwrap() = "root.json";
    ceremony.run(&misnamed).refused("must be called 1.root.json");
    ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    ceremony.run(&root_init("image/acme-th1", ROOT)).refused("exists already");
}

#[test]
fn a_public_key_file_whose_words_belong_to_another_key_is_refused() {
    let ceremony = Ceremony::new();
    let file: Value = serde_json::from_slice(&ceremony.bytes("bob.pub.json")).unwrap();
    let bob = file["fingerprint"].as_str().unwrap();
    let file: Value = serde_json::from_slice(&ceremony.bytes("alice.pub.json")).unwrap();
    ceremony.edit("alice.pub.json", file["fingerprint"].as_str().unwrap(), bob);
    let refused = ceremony.run(&root_init("image/acme-th1", ROOT));
    refused.refused("the fingerprint does not belong to the key beside it");
}

pub(crate) const NEXT: &str = "acme-th1/metadata/2.root.json";
pub(crate) const ROTATE: [&str; 10] = [
    "root",
    "rotate",
    "--from",
    ROOT,
    "--remove",
    "carol.pub.json",
    "--add",
    "dave.pub.json",
    "-o",
    NEXT,
];

#[test]
fn the_next_root_needs_the_old_and_the_new_quorum() {
    let ceremony = Ceremony::published();
    ceremony.run(&ROTATE).good();
    ceremony.sign(NEXT, "dave").good();
    ceremony.sign(NEXT, "alice").good();
    // The new quorum is met, the old one is not.
    ceremony
        .run(&["check", NEXT, "--previous", ROOT])
        .refused("not a file that devices would trust");
    // Until then devices stay with the old root, and so does the publisher.
    ceremony.publish(&["--refresh"]).good();
    let shown = ceremony.sign(NEXT, "bob").good();
    assert!(shown.contains("role root of 1.root.json: 2 of 2 signatures"), "{shown}");
    assert!(shown.contains("role root of 2.root.json: 3 of 2 signatures"), "{shown}");
    let shown = ceremony.run(&["check", NEXT, "--previous", ROOT]).good();
    assert!(shown.contains("+ role root, key dave ("), "{shown}");
    assert!(shown.contains("- role root, key carol ("), "{shown}");
    ceremony.publish(&[]).good();
}

#[test]
fn a_rotation_that_makes_no_sense_is_refused() {
    let ceremony = Ceremony::delegated();
    let mut absent = ROTATE;
    absent[5] = "dave.pub.json";
    ceremony.run(&absent).refused("is not listed in role root");
    let mut present = ROTATE;
    present[7] = "alice.pub.json";
    ceremony.run(&present).refused("would list one key twice");
    let few = ["root", "rotate", "--from", ROOT, "--remove", "bob.pub.json,carol.pub.json"];
    ceremony.run(&[&few[..], &["-o", NEXT]].concat()).refused("has 1 keys and needs 2 signatures");
    let role = ["root", "rotate", "--from", ROOT, "--role", "releases", "-o", NEXT];
    ceremony.run(&role).refused("not `releases`");
    let mut from = ROTATE;
    from[3] = TARGETS;
    ceremony.run(&from).refused("is no root file");
    assert!(!ceremony.path(NEXT).exists());
}

#[test]
fn a_replaced_publisher_key_is_of_no_use() {
    let ceremony = Ceremony::published();
    let args =
        ["root", "rotate", "--from", ROOT, "--role", "snapshot", "--role", "timestamp", "--remove"];
    let args = [&args[..], &["s.pub.json", "--add", "dave.pub.json", "-o", NEXT]].concat();
    ceremony.run(&args).refused("is not listed in role timestamp");
    let args = ["root", "rotate", "--from", ROOT, "--role", "snapshot", "--remove", "s.pub.json"];
    ceremony.run(&[&args[..], &["--add", "dave.pub.json", "-o", NEXT]].concat()).good();
    ceremony.sign(NEXT, "alice").good();
    ceremony.sign(NEXT, "bob").good();
    let before = ceremony.metadata();
    ceremony.publish(&[]).refused("a device would refuse this repository");
    assert_eq!(ceremony.metadata(), before);
    let new = ["publish", "--dir", "acme-th1", "--snapshot-key", "dave.key", "--timestamp-key"];
    let new = [&new[..], &["t.key", "--passphrase-fd", "0"]].concat();
    ceremony.run_with(&new, &format!("{WORDS}\n{WORDS}\n")).good();
}

#[test]
fn new_keys_of_a_channel_mean_a_new_signature_of_its_list() {
    let ceremony = Ceremony::published();
    ceremony.run(&delegate("stable", "1:dave.pub.json")).good();
    ceremony.sign(TARGETS, "at").good();
    ceremony.sign(TARGETS, "bt").good();
    ceremony.sign(STABLE, "ar").refused("this key may not sign role acme-th1-stable");
    ceremony.publish(&[]).refused("a device would refuse this repository");
    ceremony.sign(STABLE, "dave").good();
    ceremony.publish(&[]).good();
    ceremony.publish(&[]).good();
}

#[test]
fn only_channels_of_the_product_are_delegated() {
    let ceremony = Ceremony::delegated();
    for role in ["stable", "acme-th2-stable", "acme-th1-", "acme-th1-../x", "acme-th1"] {
        let args = ["delegate", "--dir", "acme-th1", "--role", role, "--keys", "1:ar.pub.json"];
        ceremony.run(&args).refused("must be called acme-th1-<channel>");
    }
}

#[test]
fn an_expired_file_is_not_believed() {
    let ceremony = Ceremony::new();
    let mut args = root_init("image/acme-th1", ROOT);
    args.extend(["--expires", "0s"]);
    ceremony.run(&args).good();
    ceremony.sign(ROOT, "alice").good();
    ceremony.sign(ROOT, "bob").good();
    ceremony.run(&["check", ROOT]).refused("expired at");
}

#[test]
fn a_file_is_judged_only_beside_the_files_that_say_who_signs_it() {
    let ceremony = Ceremony::published();
    ceremony.run(&ROTATE).good();
    ceremony.write("mail/2.root.json", ceremony.bytes(NEXT));
    ceremony.sign("mail/2.root.json", "alice").refused("name it with --previous");
    let key = ["--key", "alice.key", "--yes", "--passphrase-fd", "0", "--previous", ROOT];
    let args = [&["sign", "mail/2.root.json"], &key[..]].concat();
    ceremony.run_with(&args, &format!("{WORDS}\n")).good();
    ceremony.write("mail/acme-th1-stable.json", ceremony.bytes(STABLE));
    ceremony.sign("mail/acme-th1-stable.json", "ar").refused("does not delegate role");
    ceremony.write("mail/targets.json", "not JSON");
    ceremony.sign("mail/targets.json", "at").refused("no metadata that this program understands");
}

#[test]
fn nothing_is_done_before_the_root_is_signed() {
    let ceremony = Ceremony::new();
    ceremony
        .run(&delegate("stable", "1:ar.pub.json"))
        .refused("make it with `waxwing-keys root init`");
    ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    ceremony.sign(ROOT, "alice").good();
    ceremony
        .run(&delegate("stable", "1:ar.pub.json"))
        .refused("not a root that devices would trust");
    assert!(!ceremony.path(TARGETS).exists());
}

const DIRECTOR_ROOT: &str = "director/metadata/1.root.json";

/// Holds the ceremony of the Director's root and returns its online key.
pub(crate) fn director_root(ceremony: &Ceremony) -> SecretKey {
    let online = ceremony.key("online", Algorithm::Ed25519, 76);
    ceremony.key("standby", Algorithm::Ed25519, 77);
    let mut args = root_init("director", DIRECTOR_ROOT);
    for role in ["--targets", "--snapshot", "--timestamp"] {
        let at = args.iter().position(|arg| *arg == role).unwrap();
        args[at + 1] = "1:online.pub.json,standby.pub.json";
    }
    ceremony.run(&args).good();
    ceremony.sign(DIRECTOR_ROOT, "alice").good();
    ceremony.sign(DIRECTOR_ROOT, "bob").good();
    online
}

#[test]
fn a_director_root_lists_an_online_and_a_standby_key() {
    let ceremony = Ceremony::new();
    director_root(&ceremony);
    let shown = ceremony.run(&["check", DIRECTOR_ROOT]).good();
    assert!(shown.contains("+ role timestamp, key standby ("), "{shown}");
    let refused = ceremony.run(&["publish", "--dir", "director"]);
    refused.refused("a Director repository is not published");
    let delegate = ["delegate", "--dir", "director", "--role", "x-y", "--keys", "1:dave.pub.json"];
    ceremony.run(&delegate).refused("the folder belongs to repository director");
}

#[test]
fn wrong_usage_exits_with_2_and_help_shows_examples() {
    let ceremony = Ceremony::new();
    for args in [
        &["sing"][..],
        &["root", "init", "--repo", "acme"],
        &["delegate", "--role", "x", "--keys", "alice.pub.json"],
        &["publish", "--refresh"],
        &["publish", "--server", "https://localhost"],
        &["renew", "targets", "--expires", "soon"],
    ] {
        assert_eq!(ceremony.run(args).0.status.code(), Some(2), "{args:?}");
    }
    for command in ["key expose", "transcript show", "transcript verify"] {
        let args: Vec<_> = command.split(' ').chain(["--help"]).collect();
        assert!(ceremony.run(&args).good().contains("Example: "), "{command}");
    }
    for command in ["key new", "key pub", "root init", "root rotate", "delegate", "sign", "check"] {
        let args: Vec<_> = command.split(' ').chain(["--help"]).collect();
        assert!(ceremony.run(&args).good().contains("Example: "), "{command}");
    }
    for command in ["release add", "release remove", "renew", "publish"] {
        let args: Vec<_> = command.split(' ').chain(["--help"]).collect();
        assert!(ceremony.run(&args).good().contains("Example: "), "{command}");
    }
}
