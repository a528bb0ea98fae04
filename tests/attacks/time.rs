//! Rows 10 to 13 and 51: old things played again, and every wrong idea of what time it is.

use serde_json::{Value as Json, json};
use waxwing_tuf::uptane::Answer;
use waxwing_tuf::{Cause, Time};
use waxwing_wire::ErrorCode;

use crate::hostile_server::library::LIBRARY;
use crate::hostile_server::live;
use crate::hostile_server::script::{self, Nonce};
use crate::support::author::{Author, keys_json, role_json};
use crate::support::world::{
    BUILT_AT, NONCE, PATH, STABLE, World, device, installs, refused, refused_by,
};

/// The highest version that all parsers of JSON agree on.
const VERSION_MAX: u64 = (1 << 53) - 1;

/// Takes the stolen online key out of the Director's root, and puts another one in.
fn rotate_director(world: &mut World, key: u8) {
    let director = &mut world.director;
    director.root.bump();
    director.root["keys"] = keys_json(&[1, 2, 3, key]);
    for role in ["timestamp", "snapshot", "targets"] {
        director.root["roles"][role] = role_json(1, &[key]);
        director.role(role).keys = vec![key];
    }
    director.publish_root();
}

#[test]
fn row_10_a_director_driven_to_the_end_of_numbers_and_of_time_works_again_after_its_root_rotates() {
    let mut world = World::new();
    let mut client = world.client();
    let honest = installs(world.poll(&mut client));
    let (before, then) = (world.director.clone(), world.now);

    // The highest versions, at a time just before the root expires: all of it is believed.
    for role in ["snapshot", "targets"] {
        world.director.role(role)["version"] = VERSION_MAX.into();
    }
    world.director.targets["targets"] = json!({});
    world.now = Time::parse("2026-12-30T23:00:00Z").unwrap();
    world.answer();
    world.director.timestamp["version"] = VERSION_MAX.into();
    world.director.publish_timestamp();
    assert_eq!(world.deliver(&mut client), Ok(Answer::Nothing));

    // From now on nothing that an honest Director says is taken.
    (world.director, world.now) = (before, then);
    let refusal = Cause::Rollback.of("director/timestamp.json");
    assert_eq!(world.poll(&mut client), Err(refusal));
    let mut client = world.restart(device(), client.into_stores());
    assert!(world.poll(&mut client).is_err());

    // The keyholders meet once, far from the server.
    rotate_director(&mut world, 24);
    assert_eq!(installs(world.poll(&mut client)), honest);
}

#[test]
fn row_10_the_year_2099_is_not_believed_and_not_remembered() {
    let mut world = World::new();
    let mut client = world.client();
    let now = world.now;
    world.now = Time::parse("2099-01-01T00:00:00Z").unwrap();
    assert_eq!(world.poll(&mut client), Err(Cause::Expired.of("director/root.json")));
    world.now = now;
    installs(world.poll(&mut client));
}

#[test]
fn row_11_an_expired_file_is_refused_in_either_repository() {
    let files = [
        ("director", "snapshot"),
        ("director", "targets"),
        ("director", "timestamp"),
        ("director", "root"),
        ("image", "timestamp"),
        ("image", "snapshot"),
        ("image", "targets"),
        ("image", STABLE),
        ("image", "root"),
    ];
    for (repo, role) in files {
        let change = |world: &mut World| {
            let author = world.repository(repo);
            author.role(role)["expires"] = "2026-11-20T00:00:00Z".into();
            if role == "root" {
                author.root.bump();
            }
            author.publish();
        };
        refused(change, &format!("{repo}/{role}.json"), Cause::Expired);
    }
}

#[test]
fn row_11_a_recorded_answer_is_refused_later_and_with_another_nonce() {
    let mut world = World::new();
    let mut client = world.client();
    installs(world.poll(&mut client));
    let recorded = world.clone();
    // Ten minutes later the device has asked again, and draws a new number each time.
    for _ in 0..10 {
        assert_eq!(world.poll(&mut client), Ok(Answer::Idle));
    }
    let mut replay = recorded.clone();
    let nonces = [[0; 16], [0xaa; 16], [0xff; 16]];
    for nonce in nonces {
        let (director, image) = (&mut replay.director.served, &mut replay.image.served);
        let answer = client.clone().check(&nonce, BUILT_AT, director, image);
        assert!(answer.is_err(), "{answer:?}");
        let new = &mut replay.client();
        let (director, image) = (&mut replay.director.served, &mut replay.image.served);
        let refusal = Cause::WrongNonce.of("director/timestamp.json");
        assert_eq!(new.check(&nonce, BUILT_AT, director, image), Err(refusal));
    }
    // Even a number that came twice would not help.
    let (director, image) = (&mut replay.director.served, &mut replay.image.served);
    let refusal = Cause::Rollback.of("director/timestamp.json");
    assert_eq!(client.check(&NONCE, BUILT_AT, director, image), Err(refusal));
}

#[test]
fn row_12_a_device_without_a_clock_refuses_a_replayed_bundle_by_its_nonce() {
    // The device knows its uptime and when its firmware was built, no more.
    let replayed = script::Answer { nonce: Nonce::Replayed(0), ..script::Answer::HONEST };
    let nothing = script::Answer { choice: script::Choice::Nothing, ..script::Answer::HONEST };
    let fate = live(vec![nothing, replayed.clone(), replayed]);
    assert!(fate.runs == LIBRARY.make.factory);
    assert_eq!(fate.failures[..2], [ErrorCode::TRUST_NONCE; 2]);
}

#[test]
fn row_13_time_never_goes_back() {
    let mut world = World::new();
    let mut client = world.client();
    installs(world.poll(&mut client));
    let now = world.now;
    let refusal = Cause::TimeWentBack.of("director/timestamp.json");
    for back in ["1970-01-01T00:00:00Z", "2026-11-19T00:00:00Z"] {
        world.now = Time::parse(back).unwrap();
        world.answer();
        // Versions go on, only the time is a lie.
        world.director.timestamp["version"] = (now.as_millis() + 1).into();
        world.director.publish_timestamp();
        assert_eq!(world.deliver(&mut client), Err(refusal.clone()), "{back}");
        let kept = client.clone().into_stores();
        assert_eq!(world.deliver(&mut world.clone().restart(device(), kept)), Err(refusal.clone()));
    }
    // A device fresh from the factory knows when its firmware was built.
    world.now = Time::from_millis(BUILT_AT.as_millis() - 60_001);
    assert_eq!(world.poll(&mut world.clone().client()), Err(refusal));
}

#[test]
fn row_13_no_other_clock_is_asked() {
    // What a network time server says has no way in: the Director's word is the only time, and
    // these are the words for which it is none.
    for time in [json!("1970"), json!(0), Json::Null, json!("2026-11-20"), json!("")] {
        let change = |world: &mut World| {
            world.director.timestamp["custom"]["time"] = time;
            world.director.publish_timestamp();
        };
        assert!(matches!(refused_by(change), Some(Cause::BadField("custom" | "time"))));
    }
    // A time beside it is nobody's: neither that of another file nor of an unsigned part.
    let mut world = World::new();
    world.answer();
    let mut client = world.client();
    let believed = world.now;
    let unsigned = |file: &[u8]| {
        let mut file: Json = serde_json::from_slice(file).unwrap();
        file["time"] = "2099-01-01T00:00:00Z".into();
        file.to_string().into_bytes()
    };
    let file = unsigned(&world.director.served["timestamp.json"]);
    world.director.served.insert("timestamp.json".into(), file);
    for role in ["timestamp", "snapshot", "targets"] {
        world.image.role(role)["custom"] = json!({"time": "2099-01-01T00:00:00Z"});
    }
    world.image.publish();
    installs(world.deliver(&mut client));
    assert_eq!(client.attested_time(), Some(believed));
}

/// Gives a repository new keys for everything, ten times, years apart.
fn years_pass(author: &mut Author) {
    let mut old = author.root.keys.clone();
    for rotation in 1..=10_u8 {
        let keys: Vec<_> = (0..3).map(|holder| 30 + 3 * rotation + holder).collect();
        author.root.bump();
        author.root["expires"] = format!("20{}-01-01T00:00:00Z", 27 + rotation).into();
        author.root["keys"] = keys_json(&keys);
        author.root["roles"]["root"] = role_json(2, &keys);
        for role in ["timestamp", "snapshot", "targets"] {
            author.root["roles"][role] = role_json(1, &keys[..1]);
            author.role(role).keys = keys[..1].to_vec();
        }
        author.root.keys = [&old[..], &keys[..2]].concat();
        author.publish_root();
        old = keys[..2].to_vec();
    }
    let expires = author.root["expires"].clone();
    for role in ["timestamp", "snapshot", "targets"] {
        author.role(role)["expires"] = expires.clone();
    }
    author.roles.values_mut().for_each(|role| role["expires"] = expires.clone());
    author.release();
}

#[test]
fn row_51_a_device_from_a_drawer_follows_ten_roots_of_both_repositories_in_two_polls() {
    let mut world = World::new();
    let mut client = world.client();
    installs(world.poll(&mut client));
    let drawer = client.into_stores();
    years_pass(&mut world.director);
    years_pass(&mut world.image);
    world.now = Time::parse("2036-06-01T00:00:00Z").unwrap();
    let mut client = world.restart(device(), drawer);
    let refusal = world.poll(&mut client).unwrap_err();
    assert_eq!(refusal.cause, Cause::MoreRoots, "{refusal:?}");
    let installed = installs(world.poll(&mut client));
    assert_eq!(installed.path, PATH);
}
