//! The Director's online key: lost, replaced by the standby at once and by a new one in a ceremony.

use waxwing_tuf::author::director::{snapshot, targets, timestamp};
use waxwing_tuf::author::{Ed25519Signer, P256Signer, PublicKeyFile, Signer};

use super::room::{ED25519, P256, Room, public, quorum};

const ROOT: &str = "director/metadata/1.root.json";
const NEXT: &str = "director/metadata/2.root.json";
const DEVICE: &str = "d-1";

const HOLDERS: [&str; 3] = ["alice", "bob", "carol"];

/// A Director's root by two of three tokens, for an online key and a standby key.
fn director(online: &dyn Signer, standby: &dyn Signer) -> Room {
    let room = Room::new();
    for (holder, algorithm) in HOLDERS.into_iter().zip([ED25519, P256, ED25519]) {
        room.give_token(holder);
        room.make_key(holder, "director-root", algorithm);
    }
    keep(&room, online, "director");
    keep(&room, standby, "standby");
    let chiefs = quorum(2, &HOLDERS, "director-root");
    let both = format!("1:{},{}", public("director"), public("standby"));
    let init = ["root", "init", "--repo", "director", "--root", &chiefs, "--targets", &both];
    room.step(&[&init[..], &["--snapshot", &both, "--timestamp", &both, "-o", ROOT]].concat());
    room.sign(ROOT, "alice", "director-root");
    assert!(!room.believes(ROOT));
    room.sign(ROOT, "carol", "director-root");
    assert!(room.believes(ROOT));
    room
}

fn keep(room: &Room, key: &dyn Signer, name: &str) {
    room.write(&public(name), PublicKeyFile::of(key, name).to_bytes().unwrap());
}

/// Signs an answer that names nothing to install, as the server does.
fn answer(room: &Room, key: &dyn Signer, version: u64) {
    let write = |name: String, bytes| room.write(&format!("director/metadata/{name}"), bytes);
    write(format!("{version}.targets.json"), targets(key, DEVICE, None, None, version).unwrap());
    write(format!("{version}.snapshot.json"), snapshot(key, version).unwrap());
    let signed = timestamp(key, DEVICE, &[7; 16], version, version).unwrap();
    write("timestamp.json".to_owned(), signed);
}

/// Now, in Unix milliseconds, by the clock that dated the root.
fn now_ms(room: &Room) -> u64 {
    let written = std::fs::metadata(room.path(ROOT)).unwrap().modified().unwrap();
    let since = written.duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[test]
fn row_50_a_lost_director_key_is_replaced_by_the_standby_and_then_for_good() {
    let online = Ed25519Signer::from_seed(&[1; 32]).unwrap();
    let standby = P256Signer::from_seed(&[2; 32]).unwrap();
    let new = Ed25519Signer::from_seed(&[3; 32]).unwrap();
    let room = director(&online, &standby);
    let version = now_ms(&room);
    answer(&room, &online, version);
    assert_eq!(room.walk("director"), "0 targets");
    // The disk is gone. The standby key signs at once, without any ceremony.
    answer(&room, &standby, version + 1);
    assert_eq!(room.walk("director"), "0 targets");
    answer(&room, &new, version + 2);
    assert!(room.walk("director").starts_with("refused"), "no root names the new key yet");
    answer(&room, &standby, version + 3);
    keep(&room, &new, "director-2");
    let mut rotate = vec!["root", "rotate", "--from", ROOT];
    for role in ["targets", "snapshot", "timestamp"] {
        rotate.extend(["--role", role]);
    }
    let (old, next) = (public("director"), public("director-2"));
    rotate.extend(["--remove", &old, "--add", &next, "-o", NEXT]);
    let shown = room.step(&rotate);
    assert!(shown.contains("- role timestamp, key director ("), "{shown}");
    assert!(shown.contains("+ role timestamp, key director-2 ("), "{shown}");
    room.sign(NEXT, "bob", "director-root");
    answer(&room, &new, version + 4);
    assert!(room.walk("director").starts_with("refused"), "one signature is no quorum");
    room.sign(NEXT, "alice", "director-root");
    assert!(room.believes(NEXT));
    assert_eq!(room.walk("director"), "0 targets");
    // Whoever finds the old key finds nothing of use; the standby is still there.
    answer(&room, &online, version + 5);
    assert!(room.walk("director").starts_with("refused"));
    answer(&room, &standby, version + 6);
    assert_eq!(room.walk("director"), "0 targets");
    room.step(&["check", NEXT]);
}
