//! Servers and networks that answer a download badly: it goes on where it stopped or begins cleanly
//! anew, and what comes out is the signed image or a failure with its reason.

use std::time::Duration;

use waxwing_esp_image::model::Rollback;
use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use crate::backend::{Quirk, chunks_of};
use crate::world::{World, large_image};

const EACH: [Quirk; 8] = [
    Quirk::Busy(Duration::from_secs(5)),
    Quirk::Endless,
    Quirk::OtherImage,
    Quirk::OtherRange,
    Quirk::Stalls,
    Quirk::Truncated,
    Quirk::Unreachable,
    Quirk::Whole,
];

fn world() -> World {
    World::new(&large_image("1.0.0", b"old"), &large_image("1.1.0", b"new"), Rollback::Enabled)
}

#[test]
fn reports_that_are_refused_as_messages_go_with_a_poll() {
    let mut world = world();
    world.refuses_messages = true;
    assert!(world.live() == world.backend.borrow().new);
    assert_eq!(world.last(), Some((State::Healthy, ErrorCode::NONE)));
}

/// Each oddity, at the beginning and in the middle.
#[test]
fn one_odd_answer_costs_time_and_never_the_update() {
    for quirk in EACH {
        for before in [None, Some(Quirk::Truncated)] {
            let mut world = world();
            world.backend.borrow_mut().quirks = before.into_iter().chain([quirk]).collect();
            let running = world.live();
            let backend = world.backend.borrow();
            assert!(running == backend.new, "{before:?}, {quirk:?}: {:?}", backend.reports);
            // What was whole is not asked for again, except where everything came at once.
            let again = backend.fetched - backend.new.len();
            assert!(again <= backend.new.len() / 2 + 4096, "{before:?}, {quirk:?}: {again}");
        }
    }
}

#[test]
fn a_server_that_never_answers_well_fails_the_deployment_with_its_reason() {
    for (quirk, code) in [
        (Quirk::OtherRange, ErrorCode::DOWNLOAD_RANGE),
        (Quirk::OtherImage, ErrorCode::DOWNLOAD_RANGE),
        (Quirk::Unreachable, ErrorCode::DOWNLOAD_TRUNCATED),
    ] {
        let mut world = world();
        let mut quirks = vec![Quirk::Truncated];
        quirks.resize(20, quirk);
        world.backend.borrow_mut().quirks = quirks.into();
        world.live();
        assert_eq!(world.last(), Some((State::Failed, code)), "{quirk:?}");
    }
}

/// A fleet outlives a server that is busy for a day.
#[test]
fn a_server_that_is_busy_for_a_day_gets_its_update_done_the_day_after() {
    let mut world = world();
    let quirks = vec![Quirk::Busy(Duration::from_mins(30)); 48];
    world.backend.borrow_mut().quirks = quirks.into();
    assert!(world.live() == world.backend.borrow().new);
}

/// D8: the list is nobody's proof.
#[test]
fn a_chunk_list_that_lies_or_is_another_ones_costs_at_most_the_download() {
    let new = large_image("1.1.0", b"new");
    let lying = chunks_of(&vec![0; new.len()]);
    let short = chunks_of(&new)[..32].to_vec();
    let odd = chunks_of(&new)[..33].to_vec();
    let long = [chunks_of(&new), vec![0; 64]].concat();
    for list in [lying, short, odd, long] {
        let mut world = world();
        let mut undisturbed = self::world();
        undisturbed.backend.borrow_mut().chunks = Some(chunks_of(&new));
        undisturbed.live();
        let middle = undisturbed.verified_at.unwrap() - 2;
        world.backend.borrow_mut().chunks = Some(list);
        world.cut_power([(middle, waxwing_agent_host::flash::Tear::Bytes(0))]);
        assert!(world.live() == new);
        let backend = world.backend.borrow();
        // One that breaks off is asked for once more.
        assert!((1..=2).contains(&backend.lists));
        assert_eq!(world.last(), Some((State::Healthy, ErrorCode::NONE)));
    }
}
