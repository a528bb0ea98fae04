//! What a device meets besides power cuts: flash that changes, wears out or holds garbage, and images
//! that crash for ever.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use waxwing_agent::Action;
use waxwing_agent::journal::Condition;
use waxwing_agent::ports::{ResetReason, Slot};
use waxwing_agent_host::board::Board;
use waxwing_esp_image::Flash as _;
use waxwing_esp_image::model::Rollback::{self, Disabled, Enabled};
use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use crate::world::{World, builder, image};

const HEALTHY: Option<(State, ErrorCode)> = Some((State::Healthy, ErrorCode::NONE));
const OTADATA_AT: u32 = 0xe000;
const SECTOR_BYTES: usize = 4096;

fn world(rollback: Rollback) -> World {
    World::new(&image("1.0.0", b"old"), &image("1.1.0", b"new"), rollback)
}

/// Whatever was before: a device takes the next update.
#[track_caller]
fn check_next_update(world: &mut World, what: &str) {
    let next = image("1.1.0", b"next");
    world.offer(&next, "r-next");
    let running = world.live();
    assert!(running == next, "{what}: {:?}", world.last());
    assert_eq!(world.last(), HEALTHY, "{what}");
}

/// Clears a byte in the middle of the image in the second slot.
fn change_image(board: &Board) {
    let at = board.layout().partition_of(Slot::Ota(1)).unwrap().offset + 5000;
    board.flash().write(at, &[0]).unwrap();
}

#[test]
fn row_32_an_image_that_changes_in_flash_after_it_was_verified_is_fetched_again() {
    for rollback in [Enabled, Disabled] {
        let mut world = world(rollback);
        let mut is_first = true;
        world.disturbance = Some(Box::new(move |turn, board| {
            if turn.action == Action::Compare && std::mem::take(&mut is_first) {
                change_image(board);
            }
        }));
        // The world sees to it that only what was signed is started.
        assert!(world.live() == world.backend.borrow().new);
        let backend = world.backend.borrow();
        assert_eq!(backend.fetched, 2 * backend.new.len());
        assert_eq!(backend.reports.last().copied(), HEALTHY);
    }
}

#[test]
fn row_32_an_image_that_changes_after_its_activation_is_not_started_and_the_old_one_says_so() {
    for rollback in [Enabled, Disabled] {
        let mut world = world(rollback);
        world.disturbance = Some(Box::new(|turn, board| {
            if matches!(turn.action, Action::Activate { .. }) {
                change_image(board);
            }
        }));
        world.live();
        assert_eq!(world.starts_of_new, 0);
        assert_eq!(world.last(), Some((State::Failed, ErrorCode::BOOT_REJECTED)), "{rollback:?}");
        world.disturbance = None;
        check_next_update(&mut world, "after an image that did not start");
    }
}

#[test]
fn row_34_the_efuses_are_burned_once_the_image_has_soaked_and_never_for_one_that_goes_back() {
    let old = image("1.0.0", b"old");
    let burning = |mark| builder("1.1.0", mark).secure_version(1).build().unwrap();
    for rollback in [Enabled, Disabled] {
        for mark in [
            b"waxwing-sim:self-test=fail".as_slice(),
            b"waxwing-sim:crash",
            b"waxwing-sim:crash-later",
            b"waxwing-sim:health=bad",
        ] {
            let mut world = World::new(&old, &burning(mark), rollback);
            assert!(world.live() == old);
            assert_eq!(world.board.secure_version(), 0);
        }
        let mut world = World::new(&old, &burning(b"works"), rollback);
        let burned = Rc::new(Cell::new(0));
        let count = Rc::clone(&burned);
        world.disturbance = Some(Box::new(move |turn, board| {
            count.set(count.get() + u32::from(matches!(turn.action, Action::Burn { .. })));
            assert_eq!(board.secure_version(), count.get(), "after {:?}", turn.action);
        }));
        world.live();
        assert_eq!((world.last(), burned.get()), (HEALTHY, 1));
        world.disturbance = None;
        world.offer(&image("1.1.0", b"older"), "r-2");
        world.live();
        assert_eq!(world.last(), Some((State::Failed, ErrorCode::IMAGE_SECURE_VERSION)));
    }
}

#[test]
fn row_35_an_image_that_crashes_for_ever_is_given_up_reported_and_refused_in_the_end() {
    let (old, crashes) = (image("1.0.0", b"old"), image("1.1.0", b"waxwing-sim:crash"));
    for rollback in [Enabled, Disabled] {
        let mut world = World::new(&old, &crashes, rollback);
        for rollout in 1..=5 {
            if rollout > 1 {
                world.offer(&crashes, &format!("r-{rollout}"));
            }
            assert!(world.live() == old);
            let expected = if rollout <= 3 {
                (State::RolledBack, ErrorCode::BOOT_RESET)
            } else {
                (State::Failed, ErrorCode::POLICY_ATTEMPTS)
            };
            assert_eq!(world.last(), Some(expected), "{rollback:?}, rollout {rollout}");
        }
        // Where the boot loader does not go back, the third start of an image is its last.
        let starts = if rollback == Enabled { 3 } else { 9 };
        assert_eq!(world.starts_of_new, starts);
    }
}

#[test]
fn a_slot_that_wears_out_fails_the_update_and_says_that_it_was_the_flash() {
    for sector in 0..2 {
        let mut world = world(Enabled);
        let slot = world.board.layout().partition_of(Slot::Ota(1)).unwrap().offset;
        let first = usize::try_from(slot).unwrap() / SECTOR_BYTES;
        world.board.flash().wear_out(first + sector);
        assert!(world.live() != world.backend.borrow().new);
        assert_eq!(world.last(), Some((State::Failed, ErrorCode::FLASH_REREAD)));
        assert_eq!(world.starts_of_new, 0);
    }
}

#[test]
fn boot_records_that_wear_out_leave_a_device_that_runs_and_says_so() {
    for sector in 0..2 {
        for rollback in [Enabled, Disabled] {
            let mut world = world(rollback);
            let at = usize::try_from(OTADATA_AT).unwrap() / SECTOR_BYTES + sector;
            world.board.flash().wear_out(at);
            world.live();
            let (state, code) = world.last().unwrap();
            let codes = [ErrorCode::FLASH_WRITE, ErrorCode::BOOT_REJECTED];
            assert!(state == State::Failed && codes.contains(&code), "{state} {code}");
        }
    }
}

#[test]
fn a_journal_needs_two_good_pages_and_says_when_it_has_fewer() {
    for worn in 0..16_u8 {
        let mut world = world(Enabled);
        let first = journal_at(&world.board) / SECTOR_BYTES;
        (0..4).filter(|page| worn >> page & 1 == 1).for_each(|page| {
            world.board.flash().wear_out(first + page);
        });
        world.live();
        let expected = if worn.count_ones() <= 2 {
            HEALTHY
        } else {
            Some((State::Failed, ErrorCode::FLASH_WRITE))
        };
        assert_eq!(world.last(), expected, "{worn:04b}");
    }
}

fn journal_at(board: &Board) -> usize {
    let slot = board.layout().partition_of(Slot::Ota(1)).unwrap();
    usize::try_from(slot.offset + slot.bytes).unwrap()
}

/// Overwrites something in flash and resets the device, after so many turns.
fn overwrite_after(world: &mut World, turns: usize, at: u32, content: Vec<u8>) {
    let mut left = turns;
    world.disturbance = Some(Box::new(move |_, board| {
        if left == 0 {
            board.flash().burn(at, &content).unwrap();
            board.power().reset(ResetReason::Brownout);
        }
        left = left.wrapping_sub(1);
    }));
}

fn turns_of_a_life(rollback: Rollback) -> usize {
    let mut world = world(rollback);
    let turns = Rc::new(Cell::new(0));
    let count = Rc::clone(&turns);
    world.disturbance = Some(Box::new(move |_, _| count.set(count.get() + 1)));
    world.live();
    turns.get()
}

#[test]
fn a_journal_that_is_lost_at_any_moment_costs_an_attempt_and_is_reported() {
    for rollback in [Enabled, Disabled] {
        for turn in 0..turns_of_a_life(rollback) {
            let mut world = world(rollback);
            let at = u32::try_from(journal_at(&world.board)).unwrap();
            overwrite_after(&mut world, turn, at, vec![0x5a; 4 * SECTOR_BYTES]);
            assert!(world.live() == world.backend.borrow().new, "{rollback:?}, turn {turn}");
            assert_eq!(world.last(), HEALTHY, "{rollback:?}, turn {turn}");
            // In the very last turn nobody looks any more.
            let was_seen = world.found.iter().any(|found| found.journal == Condition::Lost);
            assert!(was_seen || world.boots == 2, "{rollback:?}, turn {turn}");
        }
    }
}

#[test]
fn what_is_damaged_in_flash_is_told_with_the_readings_of_the_device() {
    let mut world = world(Disabled);
    world.live();
    let told = |world: &World| -> Value {
        serde_json::from_str(&format!("{{{}}}", world.found.last().unwrap())).unwrap()
    };
    assert_eq!(told(&world), json!({"journal": "Read", "record": "New"}));
    world.live();
    assert_eq!(told(&world), json!({"journal": "Read", "record": "Valid"}));
    let at = u32::try_from(journal_at(&world.board)).unwrap();
    world.board.flash().burn(at, &[0x5a; 4 * SECTOR_BYTES]).unwrap();
    world.board.flash().burn(OTADATA_AT, &[0x5a; 2 * SECTOR_BYTES]).unwrap();
    world.found.clear();
    world.live();
    let first = world.found.first().unwrap();
    assert_eq!(first.to_string(), r#""journal":"Lost","record":"Blank""#);
}

/// A boot record, encoded without the code under test.
fn record(seq: u32, state: u32) -> Vec<u8> {
    let crc = seq.to_le_bytes().iter().fold(0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    });
    let (seq, state) = (seq.to_le_bytes().to_vec(), state.to_le_bytes().to_vec());
    [seq, vec![0xff; 20], state, (!crc).to_le_bytes().to_vec()].concat()
}

#[test]
fn boot_records_overwritten_at_any_moment_leave_a_device_that_takes_the_next_update() {
    let sector = prop_oneof![
        4 => (1_u32..9, 0_u32..6).prop_map(|(seq, state)| record(seq, state)),
        1 => Just(vec![0xff; 32]),
        1 => prop::collection::vec(any::<u8>(), 32),
    ];
    let sector = sector.prop_map(|mut record| {
        record.resize(SECTOR_BYTES, 0xff);
        record
    });
    let cases = (0..60_usize, [sector.clone(), sector], any::<bool>());
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&cases, |(turn, sectors, rollback)| {
        let rollback = if rollback { Enabled } else { Disabled };
        let mut world = world(rollback);
        overwrite_after(&mut world, turn, OTADATA_AT, sectors.concat());
        world.live();
        world.disturbance = None;
        check_next_update(&mut world, &format!("{rollback:?}, {turn}"));
        Ok(())
    });
    if let Err(found) = outcome {
        panic!("{found}");
    }
}
