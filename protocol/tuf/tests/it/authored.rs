//! What our own Director signs is what our own client installs.

use std::collections::BTreeMap;

use sha2::Digest as _;
use waxwing_tuf::author::director::{self, Assignment, ServerCa};
use waxwing_tuf::author::{Ed25519Signer, Match};
use waxwing_tuf::uptane::{Answer, Client, Deferrable};
use waxwing_tuf::{MemoryStore, Time};

use crate::server_ca::{PINS, list_pins};
use crate::support::{NOW, Server, role_json};
use crate::world::{FLOOR, NONCE, PATH, World, attributes, installs};

/// Two times, until an hour from then.
const DEFERRABLE: Deferrable = Deferrable { times: 2, until: 1_795_170_600 };

/// The key with the number 4, which the hand-written roots let sign timestamps.
fn online_key() -> Ed25519Signer {
    Ed25519Signer::from_seed(&[4; 32]).unwrap()
}

/// What the server sends in answer to one poll, for a decision made at `decided`.
fn answer(now: Time, decided: Time, install: bool, server_ca: Option<ServerCa>) -> Server {
    let (key, device) = (online_key(), "d-1");
    let attributes: Match = serde_json::from_value(attributes()).unwrap();
    let assignment = Assignment {
        path: PATH,
        length: 5,
        sha256: sha2::Sha256::digest(b"image").into(),
        r#match: &attributes,
        deploy: "r-7",
        soak_s: 60,
        deferrable: DEFERRABLE,
        chunks: Some([9; 32]),
    };
    let version = director::decision_version(decided.as_millis(), now.as_millis());
    let files = [
        (
            "timestamp.json".into(),
            director::timestamp(&key, device, &NONCE, now.as_millis(), version),
        ),
        (format!("{version}.snapshot.json"), director::snapshot(&key, version)),
        (
            format!("{version}.targets.json"),
            director::targets(&key, device, install.then_some(assignment), server_ca, version),
        ),
    ];
    let files: BTreeMap<_, _> =
        files.into_iter().map(|(name, bytes)| (name, bytes.unwrap())).collect();
    Server { files, requests: Vec::new() }
}

#[test]
fn what_the_director_signs_is_installed_once_and_signed_anew_every_window() {
    let mut world = World::new();
    for role in ["snapshot", "targets"] {
        world.director.root["roles"][role] = role_json(1, &[4]);
    }
    world.director.publish_root();
    let mut client: Client<MemoryStore> = world.client();
    let minutes = |minutes: u64| Time::from_seconds(NOW.as_seconds() + 60 * minutes);
    let mut poll = |now, decided, install| {
        client.check(
            &NONCE,
            FLOOR,
            &mut answer(now, decided, install, None),
            &mut world.image.served,
        )
    };
    assert_eq!(poll(minutes(1), NOW, false), Ok(Answer::Nothing));
    assert_eq!(poll(minutes(2), NOW, false), Ok(Answer::Idle));
    let install = installs(poll(minutes(3), minutes(3), true));
    assert_eq!((install.deploy.as_str(), install.soak_s), ("r-7", 60));
    assert_eq!(install.chunks, Some([9; 32]));
    assert_eq!(install.deferrable, DEFERRABLE);
    assert_eq!(poll(minutes(4), minutes(3), true), Ok(Answer::Idle));
    // Three days later the same decision has a new version, and the same content.
    let later = minutes(4 + 3 * 24 * 60);
    assert_eq!(installs(poll(later, minutes(3), true)), install);
}

#[test]
fn the_pins_that_the_director_signs_are_those_that_the_image_repository_lists() {
    let mut world = World::new();
    for role in ["snapshot", "targets"] {
        world.director.root["roles"][role] = role_json(1, &[4]);
    }
    world.director.publish_root();
    list_pins(&mut world.image);
    let mut client: Client<MemoryStore> = world.client();
    let pins = ServerCa {
        length: u64::try_from(PINS.len()).unwrap(),
        sha256: sha2::Sha256::digest(PINS).into(),
    };
    let now = Time::from_seconds(NOW.as_seconds() + 60);
    let mut director = answer(now, NOW, true, Some(pins));
    installs(client.check(&NONCE, FLOOR, &mut director, &mut world.image.served));
    assert_eq!(client.server_ca().unwrap().hashes.sha256, Some(pins.sha256));
}
