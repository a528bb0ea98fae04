//! Signed commands from server to device (D7).

use serde_json::{Value as Json, json};
use waxwing_tuf::role::Signers;
use waxwing_tuf::uptane::Client;
use waxwing_tuf::verify::verify_command;
use waxwing_tuf::{Cause, MemoryStore, Time};

use crate::support::{NOW, key_id, public, sign};
use crate::world::World;

fn command(change: impl FnOnce(&mut Json), keys: &[u8]) -> Vec<u8> {
    let mut signed = json!({
        "_type": "command", "repo": "director", "device": "d-1", "seq": 8,
        "expires": "2026-11-21T00:00:00Z", "command": {"command": "poll"}
    });
    change(&mut signed);
    sign(&signed, keys)
}

#[test]
fn a_command_is_checked_like_metadata() {
    let mut world = World::new();
    let mut client = world.client();
    let good = command(|_| {}, &[4]);
    let check = |client: &Client<MemoryStore>, bytes: &[u8]| client.verify_command(bytes, NOW, 7);
    assert_eq!(check(&client, &good), Err(Cause::NoAttestedTime.of("command")));
    world.poll(&mut client).unwrap();
    let accepted = check(&client, &good).unwrap();
    assert_eq!(accepted.seq, 8);
    assert_eq!(accepted.content().field("command").unwrap().as_plain(), Some("poll"));
    let refusals = [
        (command(|_| {}, &[5]), Cause::TooFewSignatures),
        (command(|signed| signed["_type"] = "timestamp".into(), &[4]), Cause::WrongType),
        (command(|signed| signed["repo"] = "image/acme-th1".into(), &[4]), Cause::WrongRepository),
        (command(|signed| signed["device"] = "d-2".into(), &[4]), Cause::WrongDevice),
        (command(|signed| signed["expires"] = "2026-11-20T09:30:00Z".into(), &[4]), Cause::Expired),
        (command(|signed| signed["seq"] = 7.into(), &[4]), Cause::Replayed),
        (command(|signed| signed["seq"] = "9".into(), &[4]), Cause::BadField("seq")),
        (command(|signed| signed["command"] = "poll".into(), &[4]), Cause::BadField("command")),
        (command(|signed| signed["x"] = "x".repeat(2_048).into(), &[4]), Cause::TooLong),
    ];
    for (bytes, cause) in refusals {
        assert_eq!(check(&client, &bytes), Err(cause.of("command")));
    }
}

#[test]
fn a_director_timestamp_is_no_command_and_a_command_is_no_timestamp() {
    let mut world = World::new();
    let mut client = world.client();
    world.poll(&mut client).unwrap();
    let timestamp = world.director.served.files["timestamp.json"].clone();
    assert_eq!(client.verify_command(&timestamp, NOW, 0), Err(Cause::WrongType.of("command")));
    world.answer();
    world.director.served.files.insert("timestamp.json".into(), command(|_| {}, &[4]));
    assert_eq!(world.deliver(&mut client), Err(Cause::WrongType.of("director/timestamp.json")));
}

#[test]
fn a_command_that_expired_before_the_attested_time_is_refused_whatever_the_device_believes() {
    let mut world = World::new();
    let mut client = world.client();
    world.now = Time::parse("2026-11-21T00:00:00Z").unwrap();
    world.poll(&mut client).unwrap();
    let refusal = client.verify_command(&command(|_| {}, &[4]), NOW, 7);
    assert_eq!(refusal, Err(Cause::Expired.of("command")));
}

#[test]
fn a_command_expires_at_the_second_it_says() {
    let signers = Signers::new(1, vec![(key_id(4), public(4))]);
    let expires = Time::parse("2026-11-21T00:00:00Z").unwrap();
    let check = |now| verify_command(&command(|_| {}, &[4]), &signers, "d-1", now, 7).map(drop);
    assert_eq!(check(Time::from_millis(expires.as_millis() - 1)), Ok(()));
    assert_eq!(check(expires), Err(Cause::Expired));
}
