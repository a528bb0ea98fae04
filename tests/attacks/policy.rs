//! Rows 16, 19 to 22 and 33: what a server may choose, and that it is never more than that.

use serde_json::{Value as Json, json};
use waxwing_tuf::uptane::Device;
use waxwing_tuf::{Cause, MemoryStore};
use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use crate::hostile_server::library::{
    CLAIMED_BY_OTHER_PRODUCT, GOOD, LIBRARY, NEVER_RELEASED, NEWEST, OLD, OTHER_CHANNEL,
    OTHER_HARDWARE, OTHER_PRODUCT,
};
use crate::hostile_server::live;
use crate::hostile_server::script::{Answer, Choice, Download};
use crate::support::author::target;
use crate::support::world::{
    IMAGE, PATH, STABLE, World, attributes, device, installs, refused, refused_by,
};

#[test]
fn row_16_an_image_that_nobody_released_is_refused() {
    let path = "acme-th1/stable/6.6.6/esp32c3.bin";
    let change = |world: &mut World| {
        let mut attributes = attributes();
        attributes["version"] = "6.6.6".into();
        world.direct(path, &attributes);
        world.decide();
        world.answer();
    };
    refused(change, &format!("image/{path}"), Cause::NotListed);
    for release in [NEVER_RELEASED, CLAIMED_BY_OTHER_PRODUCT] {
        let choice = Choice::Release(release);
        let fate = live(vec![Answer { choice, ..Answer::HONEST }, Answer::HONEST]);
        assert!(fate.runs == LIBRARY.make.factory);
        assert_eq!(fate.reports, [(State::Failed, ErrorCode::TRUST_UNLISTED)]);
    }
}

#[test]
fn row_16_another_image_under_the_right_name_is_never_activated() {
    for another in [OLD, NEWEST, NEVER_RELEASED] {
        let download = Download::Another(another);
        let fate = live(vec![Answer { download, ..Answer::HONEST }; 6]);
        assert!(fate.runs == LIBRARY.make.factory);
        assert_eq!(fate.activations, 0);
        assert_eq!(fate.reports.last(), Some(&(State::Failed, ErrorCode::DOWNLOAD_HASH)));
    }
}

/// Changes the attributes in both repositories alike.
fn agreed(field: &str, value: &Json) -> impl FnOnce(&mut World) {
    move |world| {
        world.director.targets["targets"][PATH]["custom"]["match"][field] = value.clone();
        world.image.role(STABLE)["targets"][PATH]["custom"]["match"][field] = value.clone();
        world.director.publish();
        world.image.publish();
    }
}

#[test]
fn row_19_what_is_for_other_hardware_another_chip_or_no_slot_is_refused() {
    let subject = format!("director/{PATH}");
    let cases = [
        ("hw", json!(["r9"]), Cause::WrongHardware),
        ("hw", json!([]), Cause::WrongHardware),
        ("hw", json!(["r1 ", "R1", "r", ""]), Cause::WrongHardware),
        ("chip", json!("esp32s3"), Cause::WrongPath),
        ("version", json!("1.4.3"), Cause::WrongPath),
        ("kind", json!("bootloader"), Cause::WrongKind),
    ];
    for (field, value, cause) in cases {
        refused(agreed(field, &value), &subject, cause);
    }
}

/// A release with this path, listed by both repositories and delegated.
fn released_as(path: &str, attributes: &Json) -> impl FnOnce(&mut World) {
    move |world| {
        world.image.delegate("targets", "acme-th1-others", &["*/*/*/*"], 9);
        world.image.role("acme-th1-others")["targets"][path] =
            target(IMAGE, &json!({"match": attributes}));
        world.image.publish();
        world.direct(path, attributes);
        world.answer();
    }
}

#[test]
fn row_19_a_release_of_another_channel_product_or_chip_is_refused() {
    let mut other_chip = attributes();
    other_chip["chip"] = "esp32s3".into();
    let cases = [
        ("acme-th1/dev/1.4.2/esp32c3.bin", attributes(), Cause::WrongChannel),
        ("acme-th1/beta/1.4.2/esp32c3.bin", attributes(), Cause::WrongChannel),
        ("acme-x9/stable/1.4.2/esp32c3.bin", attributes(), Cause::WrongProduct),
        ("acme-th1/stable/1.4.2/esp32s3.bin", other_chip, Cause::WrongChip),
        ("acme-th1/stable/1.4.2/esp32s3.bin", attributes(), Cause::WrongPath),
        ("acme-th1/stable/1.4.3/esp32c3.bin", attributes(), Cause::WrongPath),
    ];
    for (path, attributes, cause) in cases {
        refused(released_as(path, &attributes), &format!("director/{path}"), cause);
    }
}

#[test]
fn row_19_a_device_says_why_it_refused() {
    let cases = [
        (OTHER_CHANNEL, ErrorCode::POLICY_CHANNEL),
        (OTHER_HARDWARE, ErrorCode::POLICY_HARDWARE),
        (OTHER_PRODUCT, ErrorCode::POLICY_PRODUCT),
    ];
    for (release, code) in cases {
        let choice = Choice::Release(release);
        let fate = live(vec![Answer { choice, ..Answer::HONEST }, Answer::HONEST]);
        assert!(fate.runs == LIBRARY.make.factory);
        assert_eq!(fate.reports, [(State::Failed, code)]);
    }
}

#[test]
fn row_20_the_bundle_of_one_device_is_nothing_to_another() {
    let mut world = World::new();
    world.answer();
    installs(world.deliver(&mut world.client()));
    let other = Device { id: "d-2".into(), ..device() };
    let refusal = Cause::WrongDevice.of("director/timestamp.json");
    assert_eq!(world.deliver(&mut world.client_of(other)), Err(refusal));
}

#[test]
fn row_20_every_file_of_the_director_names_its_device() {
    let change = |world: &mut World| {
        world.director.targets["custom"]["device"] = "d-2".into();
        world.director.publish();
    };
    refused(change, "director/targets.json", Cause::WrongDevice);
    let change = |world: &mut World| {
        world.director.targets["targets"][PATH]["custom"]["device"] = "d-2".into();
        world.director.publish();
    };
    refused(change, "director/targets.json", Cause::WrongDevice);
    for custom in [json!({}), Json::Null, json!({"device": 1}), json!({"device": ["d-1"]})] {
        let change = |world: &mut World| {
            world.director.targets["targets"] = json!({});
            world.director.targets["custom"] = custom;
            world.director.publish();
        };
        assert!(refused_by(change).is_some());
    }
}

#[test]
fn row_21_director_and_image_repository_agree_on_every_field() {
    let subject = format!("image/{PATH}");
    let changes: [(&str, Json); 6] = [
        ("/custom/match/secure_version", json!(3)),
        ("/custom/match/security_version", json!(4)),
        ("/custom/match/hw", json!(["r1"])),
        ("/custom/match/hw", json!(["r2", "r1"])),
        ("/length", json!(6)),
        ("/hashes/sha256", json!("0".repeat(64))),
    ];
    for (field, value) in changes {
        let change = |world: &mut World| {
            let entry = &mut world.director.targets["targets"][PATH];
            *entry.pointer_mut(field).unwrap() = value.clone();
            world.director.publish();
        };
        refused(change, &subject, Cause::RepositoriesDisagree);
        let change = |world: &mut World| {
            let entry = &mut world.image.role(STABLE)["targets"][PATH];
            *entry.pointer_mut(field).unwrap() = value.clone();
            world.image.publish();
        };
        refused(change, &subject, Cause::RepositoriesDisagree);
    }
    // Fields that a device also checks by itself; the Image repository must say the same.
    for (field, value) in [("kind", "data"), ("chip", "esp32s3"), ("version", "1.4.3")] {
        let change = |world: &mut World| {
            let entry = &mut world.image.role(STABLE)["targets"][PATH];
            entry["custom"]["match"][field] = value.into();
            world.image.publish();
        };
        refused(change, &subject, Cause::RepositoriesDisagree);
    }
    // A field more or less is another description.
    for change in [
        |attributes: &mut Json| attributes["more"] = 1.into(),
        |attributes: &mut Json| drop(attributes.as_object_mut().unwrap().remove("hw")),
        |attributes: &mut Json| *attributes = Json::Null,
    ] {
        let change = |world: &mut World| {
            change(&mut world.image.role(STABLE)["targets"][PATH]["custom"]["match"]);
            world.image.publish();
        };
        assert!(refused_by(change).is_some());
    }
}

#[test]
fn row_22_a_director_neither_delegates_nor_names_a_device_twice() {
    for delegations in [json!({"keys": {}, "roles": []}), json!({})] {
        let change = |world: &mut World| {
            world.director.targets["delegations"] = delegations;
            world.director.publish();
        };
        assert!(refused_by(change).is_some());
    }
    let change = |world: &mut World| {
        world.director.delegate("targets", "more", &["*"], 8);
        world.director.publish();
    };
    refused(change, "director/targets.json", Cause::DirectorDelegates);
    let change = |world: &mut World| {
        let entry = world.director.targets["targets"][PATH].clone();
        world.director.targets["targets"]["acme-th1/stable/1.4.3/esp32c3.bin"] = entry;
        world.director.publish();
    };
    refused(change, "director/targets.json", Cause::DeviceNamedTwice);
}

/// What a device says to the release when its floors are like this.
fn with_floors(change: impl FnOnce(&mut Device)) -> Option<Cause> {
    let mut world = World::new();
    world.answer();
    let mut device = device();
    change(&mut device);
    let mut client = world.client_of(device);
    let answer = world.deliver::<MemoryStore>(&mut client);
    answer.err().map(|refusal| refusal.cause)
}

#[test]
fn row_33_a_signed_older_release_is_refused_below_either_floor() {
    assert_eq!(with_floors(|device| device.security_version = 3), None);
    let refused = Some(Cause::SecurityVersionTooLow);
    assert_eq!(with_floors(|device| device.security_version = 4), refused);
    // The release has secure version 2.
    assert_eq!(with_floors(|device| device.secure_versions = 2..=2), None);
    let refused = Some(Cause::SecureVersionOutOfRange);
    assert_eq!(with_floors(|device| device.secure_versions = 3..=16), refused);
    assert_eq!(with_floors(|device| device.secure_versions = 0..=1), refused);
}

#[test]
fn row_33_a_device_does_not_go_back_to_an_older_release_that_is_still_listed() {
    let back = Answer { choice: Choice::Release(OLD), ..Answer::HONEST };
    let mut script = vec![Answer::HONEST; 5];
    script.extend([back, Answer::HONEST, Answer::HONEST]);
    let fate = live(script);
    assert!(fate.runs == LIBRARY.releases[GOOD].image);
    let code = ErrorCode::POLICY_SECURITY_VERSION;
    assert_eq!(fate.reports.last(), Some(&(State::Failed, code)));
}
