//! The certificates by which a device knows its server (D15): taken when both repositories vouch for
//! exactly the bytes that came, and never otherwise; whatever comes of them, polls go on.

use waxwing_esp_image::model::Rollback;

use crate::backend::{Told, digest};
use crate::world::{World, image};

const PINS: &[u8] = b"the old and the new CA";
const OTHER: &[u8] = b"a CA of somebody else";

fn told(signed: Option<&[u8]>, named: Option<&[u8]>, sent: Option<&[u8]>) -> World {
    let world = World::new(&image("1.0.0", b"old"), &image("1.1.0", b"new"), Rollback::Enabled);
    {
        let mut backend = world.backend.borrow_mut();
        backend.withdrawn = true;
        let [signed, named, sent] = [signed, named, sent].map(|pem| pem.map(<[u8]>::to_vec));
        backend.pins = Told { signed, named, sent };
        backend.publish();
    }
    world
}

#[test]
fn pins_that_both_repositories_vouch_for_are_kept_and_told_with_the_next_poll() {
    let mut world = told(Some(PINS), Some(PINS), Some(PINS));
    world.live();
    assert_eq!(world.pins().as_deref(), Some(PINS));
    world.live();
    let backend = world.backend.borrow();
    assert_eq!(backend.pins_in_use.first(), Some(&None));
    assert_eq!(backend.pins_in_use.last(), Some(&Some(digest(PINS))));
}

#[test]
fn pins_that_nobody_or_one_repository_alone_vouches_for_are_not_kept() {
    let longer = [PINS, b"\n"].concat();
    for (signed, named, sent, what) in [
        (Some(PINS), Some(PINS), Some(OTHER), "other bytes than signed"),
        (Some(PINS), Some(PINS), Some(longer.as_slice()), "more bytes than signed"),
        (Some(PINS), Some(PINS), None, "no bytes"),
        (Some(PINS), Some(OTHER), Some(OTHER), "a Director that names others"),
        (None, Some(OTHER), Some(OTHER), "a Director alone"),
        (Some(PINS), None, Some(PINS), "keyholders alone"),
        (None, None, Some(OTHER), "nobody"),
    ] {
        let mut world = told(signed, named, sent);
        world.live();
        assert_eq!(world.pins(), None, "{what}");
        assert!(!world.backend.borrow().pins_in_use.is_empty(), "{what}: it polls all the same");
    }
}

#[test]
fn bad_pins_keep_nobody_from_an_update() {
    let (old, new) = (image("1.0.0", b"old"), image("1.1.0", b"new"));
    let mut world = World::new(&old, &new, Rollback::Enabled);
    {
        let mut backend = world.backend.borrow_mut();
        backend.pins =
            Told { signed: None, named: Some(OTHER.to_vec()), sent: Some(OTHER.to_vec()) };
    }
    assert!(world.live() == new);
    assert_eq!(world.pins(), None);
}
