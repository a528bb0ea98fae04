//! A release that its signers meant for a share of the devices stays with that share (D10).

use serde_json::{Value as Json, json};
use waxwing_tuf::Cause;
use waxwing_tuf::uptane::{CEILING_PERMILLE_MAX, ceiling_rank};

use crate::world::{PATH, World, installs, refused};

fn list_with(world: &mut World, ceiling: Json) {
    let role = world.image.roles.get_mut("acme-th1-stable").unwrap();
    role["targets"][PATH]["custom"]["ceiling_permille"] = ceiling;
    world.image.publish();
}

#[test]
fn the_rank_of_a_device_is_the_documented_one_for_ever() {
    // python3 -c 'import hashlib; print(int.from_bytes(hashlib.sha256(
    //     b"waxwing-ceiling-v1\nd-1\nacme-th1/stable/1.4.2/esp32c3.bin").digest()[:8]) % 1000)'
    assert_eq!(ceiling_rank("d-1", PATH), RANK);
}

const RANK: u16 = 969;

#[test]
fn a_device_below_the_ceiling_installs() {
    for ceiling in [RANK + 1, CEILING_PERMILLE_MAX] {
        let mut world = World::new();
        list_with(&mut world, ceiling.into());
        let mut client = world.client();
        installs(world.poll(&mut client));
    }
}

#[test]
fn a_device_at_or_above_the_ceiling_refuses_whatever_the_director_says() {
    for ceiling in [0, RANK] {
        let change = |world: &mut World| {
            list_with(world, ceiling.into());
            // A Director's own idea of a ceiling is nobody's.
            world.director.targets["targets"][PATH]["custom"]["ceiling_permille"] = 1_000.into();
            world.director.publish();
        };
        refused(change, &format!("image/{PATH}"), Cause::AboveCeiling);
    }
}

#[test]
fn a_ceiling_that_is_no_share_is_refused() {
    for ceiling in [json!(1_001), json!(-1), json!("10"), json!(null), json!(65_537)] {
        let change = |world: &mut World| list_with(world, ceiling);
        refused(change, &format!("image/{PATH}"), Cause::BadField("ceiling_permille"));
    }
}

#[test]
fn ranks_are_spread_over_the_fleet() {
    let below = (0..10_000).filter(|n| ceiling_rank(&format!("d-{n}"), PATH) < 100).count();
    assert!((900..1_100).contains(&below), "{below} of 10000 are below a tenth");
}
