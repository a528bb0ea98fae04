//! Row 38: somebody writes into the database what the server did not decide.

use std::fs;

use sha2::{Digest as _, Sha256};
use waxwing_e2e::ceremony::{CHANNEL, PRODUCT};
use waxwing_e2e::fleet::Fleet;
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::world::{PILOTS, World};

use crate::support::author::hex;
use crate::support::real::{doctor, tamper_and_restart, world};

fn draft(world: &World, id: &str, version: &str) {
    let create = [
        "rollout",
        "create",
        "--id",
        id,
        "--product",
        PRODUCT,
        "--channel",
        CHANNEL,
        "--release",
        version,
        "--group",
        PILOTS,
        "--soak",
        "1s",
    ];
    world.operator.ask(&create).unwrap();
}

/// Starts a rollout, waits until a device refuses it, and returns why it did.
fn refused_because(world: &World, fleet: &mut Fleet, rollout: &str) -> String {
    world.operator.ask(&["rollout", "start", rollout]).unwrap();
    fleet.wait_for(|event| event.is_acknowledged(rollout, "failed")).unwrap();
    let deployments = world.operator.ask(&["rollout", "deployments", rollout]).unwrap();
    let failed = deployments.as_array().unwrap().iter().find(|it| it["state"] == "failed");
    failed.unwrap()["code_name"].as_str().unwrap().to_owned()
}

fn runs(fleet: &mut Fleet, version: &str) -> usize {
    fleet.running().unwrap().values().filter(|running| *running == version).count()
}

#[test]
fn row_38_a_changed_database_brings_no_device_anything_but_a_legal_release() {
    let (_folder, mut world) = world();
    let factory = world.make_image("1.0.0", Behaviour::Work).unwrap();
    for version in ["1.1.0", "1.2.0"] {
        let image = world.make_image(version, Behaviour::Work).unwrap();
        world.publish(version, 1, &image).unwrap();
    }
    let evil = fs::read(world.make_image("6.6.6", Behaviour::Work).unwrap()).unwrap();
    let (sha256, length) = (hex(&Sha256::digest(&evil)), evil.len());
    let mut fleet = world.enrol(2, &factory).unwrap();

    // A release gets another image.
    draft(&world, "r-image", "1.1.0");
    let image = format!(
        "INSERT INTO images (product, sha256, length, uploaded_at) \
         VALUES ('{PRODUCT}', '{sha256}', {length}, 0); \
         UPDATE releases SET sha256 = '{sha256}', length = {length} WHERE version = '1.1.0'"
    );
    tamper_and_restart(&mut world.server, &image);
    assert_eq!(refused_because(&world, &mut fleet, "r-image"), "trust_mismatch");

    // A release is made up, and a rollout brings it.
    draft(&world, "r-made-up", "1.2.0");
    let made_up = "INSERT INTO releases (product, channel, version, path, sha256, length, \
         security_version, \"match\", listed, changed_at) SELECT product, channel, '6.6.6', \
         replace(path, '1.1.0', '6.6.6'), sha256, length, security_version, \
         replace(\"match\", '1.1.0', '6.6.6'), 1, changed_at FROM releases WHERE version = '1.1.0'; \
         UPDATE rollouts SET version = '6.6.6' WHERE id = 'r-made-up'";
    tamper_and_restart(&mut world.server, made_up);
    assert_eq!(refused_because(&world, &mut fleet, "r-made-up"), "trust_unlisted");
    assert_eq!(runs(&mut fleet, "1.0.0"), 2, "nothing was installed");

    // A rollout is turned to another release that is listed: that much a database may decide.
    draft(&world, "r-turned", "1.1.0");
    let turned = "UPDATE rollouts SET version = '1.2.0' WHERE id = 'r-turned'";
    tamper_and_restart(&mut world.server, turned);
    world.operator.ask(&["rollout", "start", "r-turned"]).unwrap();
    fleet.wait_for_many(2, |event| event.is_acknowledged("r-turned", "healthy")).unwrap();
    assert_eq!(runs(&mut fleet, "1.2.0"), 2);

    // What devices reported cannot be turned into something else.
    assert_eq!(doctor(&world, &["rollout", "r-turned"]).0, 0);
    let lie = "UPDATE deployments SET state = 'failed' WHERE rollout = 'r-turned'";
    tamper_and_restart(&mut world.server, lie);
    let (code, verdicts) = doctor(&world, &["rollout", "r-turned"]);
    assert_eq!((code, verdicts[0]["status"].as_str()), (1, Some("failed")), "{verdicts:?}");
}
