//! Images that do not work, on boot loaders that take them back and on ones that do not.

use waxwing_esp_image::model::Rollback;
use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use crate::world::{World, image};

const BOTH: [Rollback; 2] = [Rollback::Enabled, Rollback::Disabled];

#[test]
fn an_image_that_fails_its_self_test_is_taken_back() {
    check(b"waxwing-sim:self-test=fail", ErrorCode::SELF_TEST);
}

#[test]
fn an_image_that_crashes_before_it_is_confirmed_is_taken_back() {
    check(b"waxwing-sim:crash", ErrorCode::BOOT_RESET);
}

#[test]
fn a_working_image_is_kept_whatever_the_boot_loader() {
    for rollback in BOTH {
        let (old, new) = (image("1.0.0", b"old"), image("1.1.0", b"new"));
        let mut world = World::new(&old, &new, rollback);
        assert!(world.live() == new);
        let backend = world.backend.borrow();
        let states: Vec<State> = backend.reports.iter().map(|(state, _)| *state).collect();
        let expected = [
            State::Downloading,
            State::Verified,
            State::Activated,
            State::Booted,
            State::Confirmed,
            State::Healthy,
        ];
        assert_eq!(states, expected, "{rollback:?}");
    }
}

#[test]
fn a_signed_image_that_no_boot_loader_would_start_is_not_activated() {
    let (old, mut new) = (image("1.0.0", b"old"), image("1.1.0", b"new"));
    let last_of_its_hash = new.len() - 1;
    new[last_of_its_hash] ^= 1;
    let mut world = World::new(&old, &new, Rollback::Disabled);
    assert!(world.live() == old);
    assert_eq!(world.last(), Some((State::Failed, ErrorCode::IMAGE_MALFORMED)));
    assert_eq!(world.starts_of_new, 0);
}

#[test]
fn one_update_follows_another_from_slot_to_slot() {
    let mut world = World::new(&image("1.0.0", b"old"), &image("1.1.0", b"new"), Rollback::Enabled);
    world.live();
    for rollout in ["r-2", "r-3"] {
        let next = image("1.1.0", rollout.as_bytes());
        world.offer(&next, rollout);
        assert!(world.live() == next);
    }
}

#[test]
fn an_offer_that_is_withdrawn_is_not_installed() {
    let (old, new) = (image("1.0.0", b"old"), image("1.1.0", b"new"));
    let mut world = World::new(&old, &new, Rollback::Enabled);
    world.backend.borrow_mut().withdrawn = true;
    assert!(world.live() == old);
    assert_eq!(world.backend.borrow().reports, []);
}

#[test]
fn metadata_that_did_not_arrive_fails_no_deployment() {
    let (old, new) = (image("1.0.0", b"old"), image("1.1.0", b"new"));
    let mut world = World::new(&old, &new, Rollback::Enabled);
    world.backend.borrow_mut().incomplete = 2;
    assert!(world.live() == new);
    let backend = world.backend.borrow();
    assert!(backend.reports.iter().all(|(state, _)| *state != State::Failed));
}

#[test]
fn an_image_with_another_version_than_its_release_is_refused() {
    let (old, new) = (image("1.0.0", b"old"), image("1.2.0", b"new"));
    let mut world = World::new(&old, &new, Rollback::Enabled);
    assert!(world.live() == old);
    let outcome = world.backend.borrow().reports.last().copied();
    assert_eq!(outcome, Some((State::Failed, ErrorCode::IMAGE_VERSION)));
}

#[track_caller]
fn check(mark: &[u8], code: ErrorCode) {
    for rollback in BOTH {
        let (old, new) = (image("1.0.0", b"old"), image("1.1.0", mark));
        let mut world = World::new(&old, &new, rollback);
        assert!(world.live() == old, "{rollback:?}");
        let outcome = world.backend.borrow().reports.last().copied();
        assert_eq!(outcome, Some((State::RolledBack, code)), "{rollback:?}");
    }
}
