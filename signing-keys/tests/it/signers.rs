//! What a signer is shown, when whoever carries the files wants to hide a change from them.

use serde_json::Value;

use crate::ceremony::{NEXT, ROTATE};
use crate::common::{Ceremony, ROOT, TARGETS, WORDS, delegate};

/// What is shown to a holder, who then says no.
fn shown_to(ceremony: &Ceremony, key: &str, file: &str, more: &[&str]) -> String {
    let key = format!("{key}.key");
    let args = [&["sign", file, "--key", &key, "--passphrase-fd", "0"], more].concat();
    let ran = ceremony.run_with(&args, &format!("{WORDS}\nn\n"));
    let shown = String::from_utf8(ran.0.stdout.clone()).unwrap();
    ran.refused("not signed, as you wish");
    shown
}

/// The six words of a key.
fn words(ceremony: &Ceremony, key: &str) -> String {
    let bytes = ceremony.bytes(&format!("{key}.pub.json"));
    let file: Value = serde_json::from_slice(&bytes).unwrap();
    file["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn a_change_that_a_doctored_root_hides_is_shown_to_every_signer() {
    let ceremony = Ceremony::published();
    ceremony.run(&ROTATE).good();
    let honest = shown_to(&ceremony, "alice", NEXT, &[]);
    let since = "version 2, changes since version 1, the newest here that this key has signed:";
    assert!(honest.contains(since), "{honest}");
    assert!(honest.contains("  + role root, key dave ("), "{honest}");
    assert!(honest.contains("  - role root, key carol ("), "{honest}");
    assert!(!honest.contains("  + role root, key alice ("), "{honest}");
    // As if Dave had been there from the beginning, with the signatures of the real one.
    let mut first: Value = serde_json::from_slice(&ceremony.bytes(ROOT)).unwrap();
    first["signed"] =
        serde_json::from_slice::<Value>(&ceremony.bytes(NEXT)).unwrap()["signed"].take();
    first["signed"]["version"] = 1.into();
    ceremony.write(ROOT, serde_json::to_vec(&first).unwrap());
    let shown = shown_to(&ceremony, "alice", NEXT, &[]);
    assert!(shown.contains("version 2, ALL OF IT, as this key has signed no earlier"), "{shown}");
    for name in ["alice", "bob", "dave"] {
        assert!(shown.contains(&format!("  + role root, key {name} (")), "{name}: {shown}");
    }
}

#[test]
fn a_change_that_doctored_targets_hide_is_shown_to_every_signer() {
    let ceremony = Ceremony::published();
    ceremony.run(&delegate("stable", "1:dave.pub.json")).good();
    let doctored = ceremony.text(TARGETS).replace("\"version\":2", "\"version\":1");
    ceremony.write("acme-th1/metadata/1.targets.json", doctored);
    for key in ["at", "bt"] {
        let shown = shown_to(&ceremony, key, TARGETS, &[]);
        assert!(shown.contains("ALL OF IT"), "{shown}");
        assert!(shown.contains("  + role acme-th1-stable, key dave ("), "{shown}");
    }
}

#[test]
fn a_signer_sees_everything_since_the_version_that_they_signed_themselves() {
    let ceremony = Ceremony::published();
    ceremony.run(&ROTATE).good();
    for key in ["bob", "carol", "dave"] {
        ceremony.sign(NEXT, key).good();
    }
    let third = "acme-th1/metadata/3.root.json";
    ceremony.run(&["root", "rotate", "--from", NEXT, "-o", third]).good();
    // Alice signed the first one only, Bob the second one only.
    let shown = shown_to(&ceremony, "alice", third, &[]);
    assert!(shown.contains("changes since version 1,"), "{shown}");
    assert!(shown.contains("  - role root, key carol ("), "{shown}");
    let shown = shown_to(&ceremony, "bob", third, &[]);
    assert!(shown.contains("changes since version 2,"), "{shown}");
    assert!(!shown.contains("carol"), "{shown}");
    // Who never signed one sees all of it.
    std::fs::remove_file(ceremony.path(ROOT)).unwrap();
    let shown = shown_to(&ceremony, "alice", third, &[]);
    assert!(shown.contains("ALL OF IT"), "{shown}");
    assert!(shown.contains("  + role root, key alice ("), "{shown}");
}

#[test]
fn a_version_before_from_elsewhere_counts_only_if_this_key_has_signed_it() {
    let ceremony = Ceremony::published();
    ceremony.run(&ROTATE).good();
    ceremony.write("mail/2.root.json", ceremony.bytes(NEXT));
    let previous = ["--previous", ROOT];
    let shown = shown_to(&ceremony, "alice", "mail/2.root.json", &previous);
    assert!(shown.contains("changes since version 1,"), "{shown}");
    let shown = shown_to(&ceremony, "bob", "mail/2.root.json", &previous);
    assert!(shown.contains("ALL OF IT"), "{shown}");
    assert!(
        shown.contains(&format!("  + role root, key {}", words(&ceremony, "alice"))),
        "{shown}"
    );
}

#[test]
fn a_signer_who_says_no_has_used_no_key() {
    let ceremony = Ceremony::published();
    let before = ceremony.transcript().len();
    ceremony.run(&ROTATE).good();
    shown_to(&ceremony, "alice", NEXT, &[]);
    assert_eq!(ceremony.transcript().len(), before + 1);
}

#[test]
fn a_file_that_names_a_role_twice_is_neither_shown_nor_signed() {
    let ceremony = Ceremony::delegated();
    let mut file: Value = serde_json::from_slice(&ceremony.bytes(TARGETS)).unwrap();
    // One holder's key alone would do, and the second role of this name hides it.
    let roles = file["signed"]["delegations"]["roles"].as_array_mut().unwrap();
    let mut alone = roles[0].clone();
    alone["threshold"] = 1.into();
    alone["keyids"].as_array_mut().unwrap().truncate(1);
    roles.insert(0, alone);
    ceremony.write(TARGETS, serde_json::to_vec(&file).unwrap());
    let before = ceremony.bytes(TARGETS);
    let reason = "names role `acme-th1-stable` twice";
    ceremony.sign(TARGETS, "at").refused(reason);
    ceremony.run(&["check", TARGETS]).refused(reason);
    assert_eq!(ceremony.bytes(TARGETS), before);
    // Nor does a refusal let a file move the cursor.
    for role in file["signed"]["delegations"]["roles"].as_array_mut().unwrap() {
        role["name"] = "acme-th1-stable\u{1b}[2J".into();
    }
    ceremony.write(TARGETS, serde_json::to_vec(&file).unwrap());
    ceremony.run(&["check", TARGETS]).refused("names role `acme-th1-stable\u{fffd}[2J` twice");
}

#[test]
fn a_key_whose_name_holds_the_words_of_another_one_is_shown_by_its_own_words() {
    let ceremony = Ceremony::delegated();
    let (dave, carol) = (words(&ceremony, "dave"), words(&ceremony, "carol"));
    ceremony.edit("dave.pub.json", "\"dave\"", &format!("\"carol ({carol})\""));
    ceremony.run(&ROTATE).good();
    let shown = shown_to(&ceremony, "alice", NEXT, &[]);
    assert!(shown.contains(&format!("  + role root, key {dave}\n")), "{shown}");
}
