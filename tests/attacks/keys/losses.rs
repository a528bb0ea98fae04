//! The Image repository: one key lost, a quorum minus one lost, a quorum lost.

use waxwing_e2e::image::{Behaviour, Recipe, make};

use super::room::{ED25519, P256, Room, public, quorum, uri};

const ROOT: &str = "acme-th1/metadata/1.root.json";
const NEXT: &str = "acme-th1/metadata/2.root.json";
const TARGETS: &str = "acme-th1/metadata/targets.json";
const STABLE: &str = "acme-th1/metadata/acme-th1-stable.json";

const FIVE: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

/// A published product: `threshold` of `people` sign roots, two of the first three everything
/// else, and alice publishes. Every second person's keys are P-256.
fn product(people: &[&str], threshold: usize) -> Room {
    let room = Room::new();
    for (number, holder) in people.iter().enumerate() {
        let algorithm = if number % 2 == 0 { ED25519 } else { P256 };
        room.give_token(holder);
        room.make_key(holder, "root", algorithm);
        if number < 3 {
            room.make_key(holder, "targets", algorithm);
            room.make_key(holder, "release", algorithm);
        }
    }
    room.make_key("alice", "publish", ED25519);
    let chiefs = quorum(threshold, people, "root");
    let targets = quorum(2, &people[..3], "targets");
    let publisher = quorum(1, &["alice"], "publish");
    let init =
        ["root", "init", "--repo", "image/acme-th1", "--root", &chiefs, "--targets", &targets];
    let publish = ["--snapshot", &publisher, "--timestamp", &publisher, "-o", ROOT];
    room.step(&[&init[..], &publish].concat());
    for (signed, holder) in people.iter().take(threshold).enumerate() {
        assert!(!room.believes(ROOT), "after {signed} signatures");
        room.sign(ROOT, holder, "root");
    }
    assert!(room.believes(ROOT));
    delegate(&room, &people[..3]);
    release(&room, "1.0.0", &people[..2]);
    room
}

fn delegate(room: &Room, people: &[&str]) {
    let keys = quorum(2, people, "release");
    room.step(&["delegate", "--dir", "acme-th1", "--role", "acme-th1-stable", "--keys", &keys]);
    room.sign(TARGETS, people[0], "targets");
    assert!(!room.believes(TARGETS));
    room.sign(TARGETS, people[1], "targets");
    assert!(room.believes(TARGETS));
}

/// Two people release a version, alice publishes, and clients find it.
fn release(room: &Room, version: &'static str, signers: &[&str]) {
    let product = "id = \"acme-th1\"\nchip = \"esp32c3\"\nhardware = [\"r1\"]\n\
                   channels = [\"stable\"]\nslot_bytes = 131072\n";
    room.write("releases/acme-th1/product.toml", product);
    let definition = format!("releases/acme-th1/{version}.toml");
    let text = format!("version = \"{version}\"\nchannel = \"stable\"\nsecurity_version = 1\n");
    room.write(&definition, text);
    let recipe = Recipe { version, behaviour: Behaviour::Work, code_bytes: 4096 };
    room.write("app.bin", make(recipe).unwrap());
    room.step(&["release", "add", &definition, "--dir", "acme-th1", "--file", "app.bin"]);
    for holder in signers {
        room.sign(STABLE, holder, "release");
    }
    publish(room);
}

fn publish(room: &Room) {
    let key = uri("alice", "publish");
    let args = ["publish", "--dir", "acme-th1", "--passphrase-fd", "0", "--snapshot-key", &key];
    room.step(&[&args[..], &["--timestamp-key", &key]].concat());
    assert!(room.walk("acme-th1").ends_with(" targets"));
}

/// Writes the next root, in which `lost` leave role root and `new` come.
fn replace_root_holders(room: &Room, lost: &[&str], new: &[&str]) {
    for holder in new {
        room.give_token(holder);
        room.make_key(holder, "root", P256);
    }
    let files = |people: &[&str]| {
        let files: Vec<_> = people.iter().map(|who| public(&format!("{who}-root"))).collect();
        files.join(",")
    };
    let (lost, new) = (files(lost), files(new));
    room.step(&["root", "rotate", "--from", ROOT, "--remove", &lost, "--add", &new, "-o", NEXT]);
    assert!(!room.believes(NEXT));
}

#[test]
fn row_50_one_lost_key_of_three_is_replaced_and_nothing_stops_meanwhile() {
    let room = product(&["alice", "bob", "carol"], 2);
    room.destroy_token("carol");
    let reason = room.cannot_sign(ROOT, "carol", "root");
    assert!(reason.contains("no token is called `carol`; present: "), "{reason}");
    // Releases go on: two of three are left for every role.
    release(&room, "1.1.0", &["alice", "bob"]);
    replace_root_holders(&room, &["carol"], &["dave"]);
    room.sign(NEXT, "dave", "root");
    assert!(!room.believes(NEXT), "the new one alone");
    room.sign(NEXT, "alice", "root");
    assert!(!room.believes(NEXT), "the new quorum without the old one");
    room.sign(NEXT, "bob", "root");
    assert!(room.believes(NEXT));
    publish(&room);
    assert_eq!(room.walk("acme-th1"), "2 targets");
    // The key that was lost with the token: carol's place in the other roles.
    for label in ["targets", "release"] {
        room.make_key("dave", label, ED25519);
    }
    let third = "acme-th1/metadata/3.root.json";
    let (old, new) = (public("carol-targets"), public("dave-targets"));
    let rotate = ["root", "rotate", "--from", NEXT, "--role", "targets", "--remove", &old];
    room.step(&[&rotate[..], &["--add", &new, "-o", third]].concat());
    room.sign(third, "dave", "root");
    room.sign(third, "bob", "root");
    assert!(room.believes(third), "dave is one of the old quorum now");
    delegate(&room, &["dave", "alice", "bob"]);
    room.sign(STABLE, "dave", "release");
    room.sign(STABLE, "bob", "release");
    release(&room, "1.2.0", &["bob", "dave"]);
    assert_eq!(room.walk("acme-th1"), "3 targets");
    room.step(&["transcript", "verify"]);
}

#[test]
fn row_50_a_quorum_minus_one_lost_is_replaced_by_the_last_quorum() {
    let room = product(&FIVE, 3);
    for holder in ["alice", "bob"] {
        assert!(room.path(&public(&format!("{holder}-root"))).exists());
    }
    for holder in ["dave", "erin"] {
        room.destroy_token(holder);
    }
    replace_root_holders(&room, &["dave", "erin"], &["frank", "grace"]);
    for holder in ["frank", "grace", "alice", "bob"] {
        room.sign(NEXT, holder, "root");
        assert!(!room.believes(NEXT), "{holder} was not the third of the old five");
    }
    // Until the last of the quorum has signed, the old root stands and updates go on.
    release(&room, "1.1.0", &["bob", "carol"]);
    room.sign(NEXT, "carol", "root");
    assert!(room.believes(NEXT));
    publish(&room);
    assert_eq!(room.walk("acme-th1"), "2 targets");
    // Whoever finds the lost tokens finds nothing of use.
    room.give_token("erin");
    room.make_key("erin", "root", P256);
    let reason = room.cannot_sign(NEXT, "erin", "root");
    assert!(reason.contains("this key may not sign role root"), "{reason}");
}

#[test]
fn row_50_a_lost_quorum_stays_lost_and_is_never_replaced_by_fewer() {
    let room = product(&["alice", "bob", "carol"], 2);
    for holder in ["bob", "carol"] {
        room.destroy_token(holder);
    }
    replace_root_holders(&room, &["bob", "carol"], &["dave", "erin"]);
    for holder in ["dave", "erin", "alice"] {
        room.sign(NEXT, holder, "root");
        assert!(!room.believes(NEXT), "{holder}");
    }
    // A lower threshold does not help either: the old root says how many.
    std::fs::remove_file(room.path(NEXT)).unwrap();
    let gone = format!("{},{}", public("bob-root"), public("carol-root"));
    let rotate = ["root", "rotate", "--from", ROOT, "--remove", &gone, "--threshold", "1"];
    room.step(&[&rotate[..], &["-o", NEXT]].concat());
    room.sign(NEXT, "alice", "root");
    assert!(!room.believes(NEXT));
    assert_eq!(room.walk("acme-th1"), "1 targets", "what was signed stays good");
}
