//! What a device believes about one poll (Uptane; `docs/threat-model.md` names the attacks).

use std::path::Path;

use serde_json::json;
use waxwing_tuf::uptane::{Answer, Client};
use waxwing_tuf::{Cause, FetchError, MemoryStore, Store, Time};

use crate::support::{Author, NOW, key_id, key_json, role_json};
use crate::world::{FLOOR, NONCE, PATH, World, device, installs, refused, refused_by_the_device};

#[test]
fn what_both_repositories_say_is_installed() {
    let mut world = World::new();
    let mut client = world.client();
    let install = installs(world.poll(&mut client));
    assert_eq!(install.path, PATH);
    assert_eq!(install.length, 5);
    assert_eq!((install.channel.as_str(), install.version.as_str()), ("stable", "1.4.2"));
    assert_eq!((install.security_version, install.secure_version), (3, 2));
    assert_eq!((install.deploy.as_str(), install.soak_s), ("r-7", 60));
    assert_eq!(client.attested_time(), Some(world.now));
}

/// The README reads `tests/data`; set `WAXWING_BLESS` to write it anew.
#[test]
fn the_example_in_the_readme_is_this_worlds_image_repository() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for (name, bytes) in World::new().image.served.files {
        if std::env::var_os("WAXWING_BLESS").is_some() {
            std::fs::write(folder.join(&name), &bytes).unwrap();
        }
        assert_eq!(std::fs::read(folder.join(&name)).unwrap(), bytes, "{name}");
    }
}

#[test]
fn the_request_sequence_is_the_workflow_and_no_more() {
    let mut world = World::new();
    let mut client = world.client();
    installs(world.poll(&mut client));
    let expected = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    assert_eq!(world.director.served.take_requests(), expected);
    let role = ["1.acme-th1-stable.json"];
    assert_eq!(world.image.served.take_requests(), [&expected[..], &role[..]].concat());
    assert_eq!(world.poll(&mut client), Ok(Answer::Idle));
    assert_eq!(world.director.served.take_requests(), ["2.root.json", "timestamp.json"]);
    assert_eq!(world.image.served.take_requests(), [""; 0]);
}

#[test]
fn an_empty_list_means_nothing_to_do() {
    let mut world = World::new();
    world.director.targets["targets"] = json!({});
    let mut client = world.client();
    assert_eq!(world.poll(&mut client), Ok(Answer::Nothing));
    assert_eq!(world.poll(&mut client), Ok(Answer::Idle));
    assert_eq!(world.image.served.take_requests(), [""; 0]);
}

#[test]
fn an_answer_that_failed_is_looked_for_again() {
    let mut world = World::new();
    let mut client = world.client();
    let role = world.image.served.files.remove("1.acme-th1-stable.json").unwrap();
    let missing = Cause::Missing.of("image/1.acme-th1-stable.json");
    assert_eq!(world.poll(&mut client), Err(missing));
    world.image.served.files.insert("1.acme-th1-stable.json".into(), role);
    installs(world.deliver(&mut client));
}

#[test]
fn a_restarted_device_needs_only_a_fresh_timestamp() {
    let mut world = World::new();
    let mut client = world.client();
    installs(world.poll(&mut client));
    let have: Vec<_> = client
        .have()
        .map(|(repository, name, version)| format!("{repository}.{name}={version}"))
        .collect();
    let timestamp = format!("d.timestamp={}", world.now.as_millis());
    let expected = [
        "d.root=1",
        &timestamp,
        "d.snapshot=1",
        "d.targets=1",
        "i.root=1",
        "i.timestamp=1",
        "i.snapshot=1",
        "i.acme-th1-stable=1",
        "i.targets=1",
    ];
    assert_eq!(have, expected);
    let mut client = world.reopen(client.into_stores());
    world.answer();
    let everything = world.director.served.files.clone();
    world.director.served.files.retain(|name, _| name == "timestamp.json");
    world.image.served.files.clear();
    let answer = client.check(&NONCE, FLOOR, &mut world.director.served, &mut world.image.served);
    installs(answer);
    world.director.served.files = everything;
}

#[test]
fn a_refusal_is_about_what_this_answer_named_and_nothing_else() {
    let mut world = World::new();
    let mut client = world.client();
    world.director.targets["targets"][PATH]["length"] = 6.into();
    world.poll(&mut client).unwrap_err();
    assert_eq!(client.named().unwrap().deploy, "r-7");
    // The same answer, recorded and delivered to another poll.
    let other = [1; 16];
    client.check(&other, FLOOR, &mut world.director.served, &mut world.image.served).unwrap_err();
    assert_eq!(client.named(), None);
}

// The Director's timestamp: whose, when, and for which poll.

#[test]
fn a_recorded_answer_is_refused_with_any_other_nonce() {
    let mut world = World::new();
    let mut client = world.client();
    world.answer();
    let refusal =
        client.check(&[1; 16], FLOOR, &mut world.director.served, &mut world.image.served);
    assert_eq!(refusal, Err(Cause::WrongNonce.of("director/timestamp.json")));
}

#[test]
fn another_devices_answer_is_refused() {
    let change = |world: &mut World| {
        world.director.timestamp["custom"]["device"] = "d-2".into();
        world.director.publish();
    };
    refused(change, "director/timestamp.json", Cause::WrongDevice);
}

#[test]
fn a_director_timestamp_without_attestation_is_refused() {
    for custom in [json!(null), json!({}), json!({"device": "d-1", "time": "2026-11-20T09:30:00Z"})]
    {
        let change = |world: &mut World| {
            world.director.timestamp["custom"] = custom;
            world.director.publish();
        };
        refused(change, "director/timestamp.json", Cause::BadField("custom"));
    }
}

#[test]
fn an_attested_time_before_the_firmware_was_built_is_refused() {
    let change = |world: &mut World| {
        world.director.timestamp["custom"]["time"] = "2020-01-01T00:00:00Z".into();
        world.director.publish();
    };
    refused(change, "director/timestamp.json", Cause::TimeWentBack);
}

#[test]
fn an_attested_time_before_the_last_one_is_refused() {
    let mut world = World::new();
    let mut client = world.client();
    world.poll(&mut client).unwrap();
    let earlier = Time::from_millis(world.now.as_millis() - 1_000);
    world.answer();
    world.director.timestamp["custom"]["time"] = earlier.to_string().into();
    world.director.publish();
    assert_eq!(world.deliver(&mut client), Err(Cause::TimeWentBack.of("director/timestamp.json")));
}

#[test]
fn an_expired_director_timestamp_is_refused_and_tells_no_time() {
    let mut world = World::new();
    let mut client = world.client();
    world.poll(&mut client).unwrap();
    let before = client.attested_time();
    world.director.timestamp["expires"] = NOW.to_string().into();
    // Even where it would only say that nothing is new.
    assert_eq!(world.poll(&mut client), Err(Cause::Expired.of("director/timestamp.json")));
    assert_eq!(client.attested_time(), before);
}

#[test]
fn a_director_that_says_2099_does_no_lasting_harm() {
    let mut world = World::new();
    let mut client = world.client();
    world.poll(&mut client).unwrap();
    let before = client.attested_time();
    // Past the expiry of the Director's root nothing is believed.
    let honest = world.now;
    world.now = Time::parse("2099-01-01T00:00:00Z").unwrap();
    assert_eq!(world.poll(&mut client), Err(Cause::Expired.of("director/root.json")));
    assert_eq!(client.attested_time(), before);
    // Before it, time is believed and cannot go back...
    world.now = Time::parse("2026-12-30T00:00:00Z").unwrap();
    world.director.snapshot["version"] = (1_u64 << 53).into();
    world.director.targets["version"] = (1_u64 << 53).into();
    world.poll(&mut client).unwrap();
    world.now = honest;
    let refusal = world.poll(&mut client).unwrap_err();
    assert_eq!(refusal, Cause::Rollback.of("director/timestamp.json"));
    // ...until the Director's keys are rotated: then versions and time start again.
    world.director.root.bump();
    world.director.root["keys"][key_id(14)] = key_json(14);
    world.director.root["roles"]["timestamp"] = role_json(1, &[14]);
    world.director.timestamp.keys = vec![14];
    world.director.snapshot["version"] = 5.into();
    world.director.targets["version"] = 5.into();
    installs(world.poll(&mut client));
    assert_eq!(client.attested_time(), Some(world.now));
    let client = world.reopen(client.into_stores());
    assert_eq!(client.attested_time(), Some(world.now));
}

#[test]
fn a_rotation_of_the_directors_keys_is_never_idle_and_is_kept_at_once() {
    let mut world = World::new();
    let mut client = world.client();
    installs(world.poll(&mut client));
    world.director.root.bump();
    world.director.root["keys"][key_id(14)] = key_json(14);
    world.director.root["roles"]["timestamp"] = role_json(1, &[14]);
    world.director.timestamp.keys = vec![14];
    // The same snapshot as before, and less than a day later.
    installs(world.poll(&mut client));
    let client = world.reopen(client.into_stores());
    assert_eq!(client.attested_time(), Some(world.now));
}

#[test]
fn the_timestamp_is_written_once_a_day_or_when_it_brings_news() {
    let mut world = World::new();
    let mut client = world.client();
    world.poll(&mut client).unwrap();
    let stored =
        |client: &Client<MemoryStore>| client.director().store().load("timestamp.json").unwrap();
    let first = stored(&client);
    world.poll(&mut client).unwrap();
    assert_eq!(stored(&client), first);
    assert_eq!(client.attested_time(), Some(world.now), "but it counts at once");
    world.now = Time::from_millis(world.now.as_millis() + 24 * 3_600_000);
    world.poll(&mut client).unwrap();
    let second = stored(&client);
    assert_ne!(second, first);
    world.decide();
    world.poll(&mut client).unwrap();
    assert_ne!(stored(&client), second);
}

// What a Director may say.

#[test]
fn a_director_that_delegates_is_refused() {
    let change = |world: &mut World| {
        world.director.targets["delegations"] = json!({"keys": {}, "roles": []});
        world.director.publish();
    };
    refused(change, "director/targets.json", Cause::DirectorDelegates);
}

#[test]
fn a_director_that_names_another_device_is_refused() {
    let change = |world: &mut World| {
        world.director.targets["targets"][PATH]["custom"]["device"] = "d-2".into();
        world.director.publish();
    };
    refused(change, "director/targets.json", Cause::WrongDevice);
}

#[test]
fn an_empty_list_for_another_device_or_for_none_is_refused() {
    for (custom, cause) in
        [(json!({"device": "d-2"}), Cause::WrongDevice), (json!(null), Cause::BadField("custom"))]
    {
        let change = |world: &mut World| {
            world.director.targets["targets"] = json!({});
            world.director.targets["custom"] = custom;
            world.director.publish();
        };
        refused(change, "director/targets.json", cause);
    }
}

#[test]
fn a_device_that_is_named_twice_is_refused() {
    let change = |world: &mut World| {
        let again = world.director.targets["targets"][PATH].clone();
        world.director.targets["targets"]["acme-th1/stable/1.4.3/esp32c3.bin"] = again;
        world.director.publish();
    };
    refused(change, "director/targets.json", Cause::DeviceNamedTwice);
}

#[test]
fn a_director_that_names_more_targets_than_a_device_has_parts_is_refused() {
    let change = |world: &mut World| {
        for number in 0..5 {
            world.director.targets["targets"][number.to_string()] = Author::target(b"", &json!({}));
        }
        world.director.publish();
    };
    refused(change, "director/targets.json", Cause::TooManyTargets);
}

#[test]
fn a_director_file_beyond_its_limit_is_refused() {
    let change = |world: &mut World| {
        let mut padding = vec![b' '; 4_097];
        padding[..1].copy_from_slice(b"{");
        world.director.served.files.insert("1.targets.json".into(), padding);
    };
    refused(change, "director/1.targets.json", Cause::Fetch(FetchError::TooLong));
}

// What a device refuses whatever both repositories say.

#[test]
fn a_release_of_another_product_or_channel_is_refused() {
    for (path, cause) in [
        ("acme-th2/stable/1.4.2/esp32c3.bin", Cause::WrongProduct),
        ("acme-th1/dev/1.4.2/esp32c3.bin", Cause::WrongChannel),
        ("acme-th1/stable/1.4.3/esp32c3.bin", Cause::WrongPath),
        ("acme-th1/stable/1.4.2/esp32c6.bin", Cause::WrongPath),
        ("acme-th1/stable/1.4.2/esp32c3", Cause::WrongPath),
        ("acme-th1/stable/1.4.2", Cause::WrongPath),
        ("acme-th1/stable/1.4.2/x/esp32c3.bin", Cause::WrongPath),
        ("acme-th1//1.4.2/esp32c3.bin", Cause::WrongPath),
    ] {
        let change = |world: &mut World| {
            let target = world.director.targets["targets"][PATH].take();
            world.director.targets["targets"] = json!({path: target});
            world.director.publish();
        };
        refused(change, &format!("director/{path}"), cause);
    }
}

#[test]
fn an_image_that_does_not_fit_the_device_is_refused() {
    refused_by_the_device("hw", &json!(["r2"]), Cause::WrongHardware);
    refused_by_the_device("hw", &json!([]), Cause::WrongHardware);
    refused_by_the_device("hw", &json!("r1"), Cause::BadField("match"));
    refused_by_the_device("kind", &json!("bootloader"), Cause::WrongKind);
    refused_by_the_device("version", &json!("1.4.3"), Cause::WrongPath);
    refused_by_the_device("chip", &json!("esp32c6"), Cause::WrongPath);
    refused_by_the_device("security_version", &json!(2), Cause::SecurityVersionTooLow);
    refused_by_the_device("security_version", &json!(1_u64 << 32), Cause::BadField("match"));
    refused_by_the_device("secure_version", &json!(0), Cause::SecureVersionOutOfRange);
    refused_by_the_device("secure_version", &json!(17), Cause::SecureVersionOutOfRange);
    refused_by_the_device("secure_version", &json!(null), Cause::BadField("match"));
}

#[test]
fn an_image_for_another_chip_is_refused() {
    let path = "acme-th1/stable/1.4.2/esp32c6.bin";
    let change = |world: &mut World| {
        let mut target = world.director.targets["targets"][PATH].take();
        target["custom"]["match"]["chip"] = "esp32c6".into();
        world.director.targets["targets"] = json!({path: target});
        world.director.publish();
    };
    refused(change, &format!("director/{path}"), Cause::WrongChip);
}

#[test]
fn an_image_that_does_not_fit_the_slot_is_refused() {
    for length in [0, 1_048_577] {
        let change = |world: &mut World| {
            world.director.targets["targets"][PATH]["length"] = length.into();
            world.director.publish();
        };
        refused(change, &format!("director/{PATH}"), Cause::SlotTooSmall);
    }
}

#[test]
fn a_floor_that_rose_is_kept_even_without_news() {
    let mut world = World::new();
    let mut client = world.client();
    world.poll(&mut client).unwrap();
    client.device_mut().security_version = 4;
    let refusal = Cause::SecurityVersionTooLow.of(format!("director/{PATH}"));
    assert_eq!(world.poll(&mut client), Err(refusal));
}

// Director and Image repository.

#[test]
fn an_image_the_director_describes_differently_is_refused() {
    let cases = [
        ("length", json!(6)),
        ("hashes", json!({"sha256": "0".repeat(64)})),
        ("hashes", json!({"sha256": "0".repeat(64), "sha512": "0".repeat(128)})),
    ];
    for (field, value) in cases {
        let change = |world: &mut World| {
            world.director.targets["targets"][PATH][field] = value;
            world.director.publish();
        };
        refused(change, &format!("image/{PATH}"), Cause::RepositoriesDisagree);
    }
    let attributes = [
        ("hw", json!(["r1"])),
        ("secure_version", json!(3)),
        ("security_version", json!(4)),
        ("new", json!(1)),
    ];
    for (field, value) in attributes {
        let change = |world: &mut World| {
            world.director.targets["targets"][PATH]["custom"]["match"][field] = value;
            world.director.publish();
        };
        refused(change, &format!("image/{PATH}"), Cause::RepositoriesDisagree);
    }
    let no_attributes = |world: &mut World| {
        world.image.roles.get_mut("acme-th1-stable").unwrap()["targets"][PATH]["custom"] =
            json!(null);
        world.image.publish();
    };
    refused(no_attributes, &format!("image/{PATH}"), Cause::RepositoriesDisagree);
}

#[test]
fn an_image_the_image_repository_does_not_list_is_refused() {
    let change = |world: &mut World| {
        world.image.roles.get_mut("acme-th1-stable").unwrap()["targets"] = json!({});
        world.image.publish();
    };
    refused(change, &format!("image/{PATH}"), Cause::NotListed);
}

#[test]
fn a_root_of_another_products_image_repository_is_refused() {
    let world = World::new();
    let other = Author::named("image/acme-th2").served.files["1.root.json"].clone();
    let director = world.director.served.files["1.root.json"].clone();
    let client =
        Client::open(device(), (MemoryStore::new(), &director), (MemoryStore::new(), &other));
    assert_eq!(client.err(), Some(Cause::WrongRepository.of("image/root.json")));
    let client = Client::open(device(), (MemoryStore::new(), &other), (MemoryStore::new(), &other));
    assert_eq!(client.err(), Some(Cause::WrongRepository.of("director/root.json")));
}

#[test]
fn an_image_repository_that_expired_at_the_attested_time_installs_nothing() {
    let mut world = World::new();
    world.director.root["expires"] = "2027-12-31T00:00:00Z".into();
    for draft in
        [&mut world.director.timestamp, &mut world.director.snapshot, &mut world.director.targets]
    {
        draft["expires"] = "2027-12-31T00:00:00Z".into();
    }
    world.director.publish();
    let mut client = world.client();
    world.now = Time::parse("2027-01-01T00:00:00Z").unwrap();
    assert_eq!(world.poll(&mut client), Err(Cause::Expired.of("image/root.json")));
}
