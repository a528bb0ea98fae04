//! By which certificates a device knows its server: a target that both repositories list (D15).

use serde_json::{Value as Json, json};
use waxwing_tuf::uptane::{Answer, SERVER_CA_PATH};
use waxwing_tuf::{Cause, MemoryStore, Refusal};

use crate::support::Author;
use crate::world::{PATH, World, installs};

pub(crate) const PINS: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn pins(custom: &Json) -> Json {
    Author::target(PINS, custom)
}

/// Lists the pins in the top-level targets of an Image repository.
pub(crate) fn list_pins(image: &mut Author) {
    image.targets["targets"][SERVER_CA_PATH] = pins(&json!({"match": {"kind": "server-ca"}}));
    image.publish();
}

/// A world in which both repositories list the pins.
fn pinned() -> World {
    let mut world = World::new();
    list_pins(&mut world.image);
    world.director.targets["targets"][SERVER_CA_PATH] =
        pins(&json!({"match": {"kind": "server-ca"}, "device": "d-1"}));
    world
}

fn in_director(world: &mut World) -> &mut Json {
    &mut world.director.targets["targets"][SERVER_CA_PATH]
}

/// Polls in the world as `change` left it: the pins are refused, and the image is installed all the same.
#[track_caller]
fn refused(change: impl FnOnce(&mut World), subject: &str, cause: Cause) {
    let mut world = pinned();
    change(&mut world);
    world.image.publish();
    let mut client = world.client();
    installs(world.poll(&mut client));
    assert_eq!(client.server_ca_refusal(), Some(&cause.of(subject)));
    assert_eq!(client.server_ca(), None);
}

#[track_caller]
fn whole_answer_refused(change: impl FnOnce(&mut World), refusal: &Refusal) {
    let mut world = pinned();
    change(&mut world);
    let mut client = world.client();
    assert_eq!(world.poll(&mut client).as_ref(), Err(refusal));
    assert_eq!(client.server_ca(), None);
}

#[test]
fn pins_that_both_repositories_list_are_handed_out_beside_the_image() {
    let mut world = pinned();
    let mut client = world.client();
    installs(world.poll(&mut client));
    let listed = client.server_ca().unwrap();
    assert_eq!((listed.path.as_str(), listed.role.as_str()), (SERVER_CA_PATH, "targets"));
    let mut content = listed.content();
    content.update(PINS).unwrap();
    assert_eq!(content.finish(), Ok(()));
    // They stay what they were while nothing is new.
    assert_eq!(world.poll(&mut client), Ok(Answer::Idle));
    assert!(client.server_ca().is_some());
}

#[test]
fn pins_are_handed_out_where_there_is_nothing_to_install() {
    let mut world = pinned();
    world.director.targets["targets"].as_object_mut().unwrap().remove(PATH);
    let mut client = world.client();
    assert_eq!(world.poll(&mut client), Ok(Answer::Nothing));
    assert!(client.server_ca().is_some());
    assert_eq!(world.image.served.requests.last().unwrap(), "1.targets.json");
}

#[test]
fn pins_are_handed_out_where_the_device_refuses_the_image() {
    let mut world = pinned();
    world.director.targets["targets"][PATH]["length"] = 0.into();
    let mut client = world.client();
    let refusal = Cause::SlotTooSmall.of(format!("director/{PATH}"));
    assert_eq!(world.poll(&mut client), Err(refusal));
    assert!(client.server_ca().is_some());
}

#[test]
fn after_a_restart_the_stored_files_give_the_pins_again() {
    let mut world = pinned();
    let mut client = world.client();
    installs(world.poll(&mut client));
    let mut client = world.reopen(client.into_stores());
    assert_eq!(client.server_ca(), None, "nothing counts before a check");
    world.image.served.files.clear();
    installs(world.poll(&mut client));
    assert!(client.server_ca().is_some());
}

#[test]
fn new_pins_replace_old_ones_and_none_take_them_away() {
    let mut world = pinned();
    let mut client = world.client();
    installs(world.poll(&mut client));
    for targets in [&mut world.director.targets, &mut world.image.targets] {
        targets["targets"][SERVER_CA_PATH]["length"] = 99.into();
    }
    world.image.release();
    world.decide();
    installs(world.poll(&mut client));
    assert_eq!(client.server_ca().unwrap().length, 99);
    world.director.targets["targets"].as_object_mut().unwrap().remove(SERVER_CA_PATH);
    world.decide();
    installs(world.poll(&mut client));
    assert_eq!((client.server_ca(), client.server_ca_refusal()), (None, None));
}

#[test]
fn refused_pins_leave_those_that_were_taken_and_are_looked_for_again() {
    let mut world = pinned();
    let mut client = world.client();
    installs(world.poll(&mut client));
    in_director(&mut world)["length"] = 28.into();
    world.decide();
    installs(world.poll(&mut client));
    let refusal = Cause::RepositoriesDisagree.of(format!("image/{SERVER_CA_PATH}"));
    assert_eq!(client.server_ca_refusal(), Some(&refusal));
    assert_eq!(client.server_ca().unwrap().length, 27);
    // Never idle: what the Image repository lacks today it may have tomorrow.
    world.image.targets["targets"][SERVER_CA_PATH]["length"] = 28.into();
    world.image.release();
    installs(world.poll(&mut client));
    assert_eq!((client.server_ca().unwrap().length, client.server_ca_refusal()), (28, None));
}

#[test]
fn pins_that_the_repositories_describe_differently_are_refused() {
    let changes = [
        ("length", json!(28)),
        ("hashes", json!({"sha256": "0".repeat(64)})),
        ("custom", json!({"device": "d-1", "match": {"kind": "server-ca", "new": 1}})),
    ];
    for (field, value) in changes {
        let change = |world: &mut World| in_director(world)[field] = value;
        refused(change, &format!("image/{SERVER_CA_PATH}"), Cause::RepositoriesDisagree);
    }
}

#[test]
fn pins_that_are_too_long_empty_or_no_pins_are_refused() {
    let changes = [
        ("length", json!(8_193), Cause::TooLong),
        ("length", json!(0), Cause::BadField("length")),
        ("hashes", json!({"sha512": "0".repeat(128)}), Cause::BadField("hashes")),
        ("custom", json!({"device": "d-1", "match": {"kind": "app"}}), Cause::WrongKind),
        ("custom", json!({"device": "d-1"}), Cause::WrongKind),
    ];
    for (field, value, cause) in changes {
        let change = |world: &mut World| {
            in_director(world)[field] = value.clone();
            world.image.targets["targets"][SERVER_CA_PATH][field] = value;
        };
        refused(change, &format!("director/{SERVER_CA_PATH}"), cause);
    }
}

#[test]
fn pins_that_the_image_repository_does_not_list_are_refused() {
    let change = |world: &mut World| {
        world.image.targets["targets"] = json!({});
    };
    refused(change, &format!("image/{SERVER_CA_PATH}"), Cause::NotListed);
}

#[test]
fn pins_that_only_a_delegated_role_lists_are_refused() {
    let change = |world: &mut World| {
        let listed = world.image.targets["targets"][SERVER_CA_PATH].take();
        world.image.targets["targets"] = json!({});
        let role = world.image.delegate("targets", "acme-th1-dev", &["trust/*"], 9);
        role["targets"][SERVER_CA_PATH] = listed;
    };
    refused(change, &format!("image/{SERVER_CA_PATH}"), Cause::NotListed);
}

#[test]
fn pins_for_another_device_make_the_whole_answer_untrue() {
    let refusal = Cause::WrongDevice.of("director/targets.json");
    whole_answer_refused(|world| in_director(world)["custom"]["device"] = "d-2".into(), &refusal);
}

#[test]
fn pins_of_an_image_repository_that_expired_are_refused_and_nothing_else_is() {
    let mut world = pinned();
    world.director.targets["targets"].as_object_mut().unwrap().remove(PATH);
    world.image.targets["expires"] = crate::support::LONG_AGO.into();
    world.image.publish();
    let mut client = world.reopen((MemoryStore::new(), MemoryStore::new()));
    assert_eq!(world.poll(&mut client), Ok(Answer::Nothing));
    let refusal = Cause::Expired.of("image/targets.json");
    assert_eq!(client.server_ca_refusal(), Some(&refusal));
}
