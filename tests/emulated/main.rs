//! The whole thing in an emulated ESP32-C3: Espressif's boot loader and our firmware, as they are
//! built for a real chip, with the real server.
//!
//! These tests need what only `cargo xtask test` and `cargo xtask emulate` build: firmware for the
//! chip, and the emulator. `cargo nextest run --profile emulated` runs them after that.
#![expect(clippy::as_conversions, reason = "test code")]
#![expect(clippy::indexing_slicing, reason = "test code")]
#![expect(clippy::unwrap_used, reason = "test code")]

mod power_cuts;

use serde_json::Value;
use waxwing_e2e::chip::{LOADED, Mark};
use waxwing_e2e::memory::{self, Memory};
use waxwing_e2e::story::{Outcome, Scenario, Story};
use waxwing_esp_image::partition::{self, Partition, TABLE_BYTES, Table};

/// Plays a scenario on a device that was never on.
fn play(scenario: Scenario) -> (Outcome, Story, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut story = Story::begin(folder.path()).unwrap();
    let outcome = scenario.play(&mut story, |line| eprintln!("{line}")).unwrap();
    (outcome, story, folder)
}

/// The reasons of the restarts, as the firmware saw them.
fn reasons(outcome: &Outcome) -> Vec<(&str, &str)> {
    let starts = outcome.starts.iter();
    let words = starts.map(|start| {
        let release = start.hello.split(',').next().unwrap_or_default();
        (release, start.hello.rsplit(' ').next().unwrap_or_default())
    });
    words.collect()
}

#[test]
fn a_chip_enrols_takes_an_update_keeps_it_and_reports_over_mqtt() {
    let (outcome, story, _folder) = play(Scenario::Update);
    assert_eq!(reasons(&outcome), [("1.0.0", "PowerOn"), ("1.1.0", "Requested")]);
    assert_ne!(outcome.starts[0].slot, outcome.starts[1].slot);
    // Polls carry reports too, but there was none since it was confirmed.
    let confirmed = outcome.turns.iter().position(|turn| turn.contains(" Confirm ")).unwrap();
    let since = &outcome.turns[confirmed..];
    assert!(!since.iter().any(|turn| turn.contains(" Poll ")), "{since:?}");
    let device = story.device().unwrap();
    assert_eq!(device["version"], "1.1.0");
    assert_eq!(device["sha256"], outcome.starts[1].sha256);
}

/// Most memory of agent, TLS, HTTP and MQTT in an update, stack included, in bytes: the goal.
const AGENT_RAM_BYTES_MAX: u32 = 48 * 1024;

#[test]
fn enrolment_and_an_update_take_no_more_memory_than_their_goal() {
    let folder = tempfile::tempdir().unwrap();
    let mut story = Story::begin(folder.path()).unwrap();
    let mut said = Vec::new();
    Scenario::Update.play(&mut story, |line| said.extend(Memory::in_line(line))).unwrap();
    let bare = Memory::without_agent().unwrap();
    let most = said.iter().map(|memory| memory.beyond(&bare).unwrap()).max().unwrap();
    eprintln!("agent in an update: {most} bytes of memory; {said:?}, without {bare:?}");
    memory::leave(most).unwrap();
    assert!(most <= AGENT_RAM_BYTES_MAX, "{} too many", most - AGENT_RAM_BYTES_MAX);
}

/// What becomes of a bad release: started, started again if nobody saw the first end, and left.
#[track_caller]
fn comes_back(scenario: Scenario, expected: &[(&str, &str)]) {
    let (outcome, story, _folder) = play(scenario);
    assert_eq!(reasons(&outcome), expected);
    // What a poll tells is written within a second.
    let is_back = |device: Value| {
        device["version"] == "1.0.0" && device["sha256"] == outcome.starts[0].sha256
    };
    assert!(
        (0..ASKED_MAX).any(|_| is_back(story.device().unwrap())),
        "{:#}",
        story.device().unwrap()
    );
}

/// How often the server is asked until it has written what it heard; each time is a program that starts.
const ASKED_MAX: u32 = 200;

const OLD: (&str, &str) = ("1.0.0", "PowerOn");
const NEW: (&str, &str) = ("1.1.0", "Requested");
const BACK: (&str, &str) = ("1.0.0", "Requested");

#[test]
fn a_release_that_crashes_is_left_and_the_server_hears_why() {
    comes_back(Scenario::Crash, &[OLD, NEW, ("1.1.0", "Crash"), BACK]);
}

#[test]
fn a_release_that_crashes_before_its_agent_runs_is_left_by_its_guard() {
    comes_back(Scenario::CrashEarly, &[OLD, NEW, ("1.1.0", "Crash"), BACK]);
}

#[test]
fn a_release_that_fails_its_self_test_is_left_at_once() {
    comes_back(Scenario::Fail, &[OLD, NEW, BACK]);
}

#[test]
fn a_release_that_hangs_is_left_after_its_watchdog_bit_twice() {
    comes_back(Scenario::Hang, &[OLD, NEW, ("1.1.0", "Watchdog"), BACK]);
}

#[test]
fn a_release_that_is_ill_while_it_soaks_is_left() {
    comes_back(Scenario::Ill, &[OLD, NEW, BACK]);
}

/// Behind the guard nothing crashes, but no agent decides either: here without credentials.
#[test]
fn a_release_whose_agent_never_starts_is_left_when_its_trial_has_lasted_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let mut story = Story::begin(folder.path()).unwrap();
    Scenario::Update.offer(&mut story).unwrap();
    story.chip.run_until(" Activate ").unwrap();
    let mut flash = std::fs::read(story.chip.flash()).unwrap();
    flash[0xc000..0x1_0000].fill(0xff);
    std::fs::write(story.chip.flash(), flash).unwrap();
    story.chip.run_until(&format!("{LOADED}1f0000")).unwrap();
    story.chip.run_until(&format!("{LOADED}10000")).unwrap();
}

/// Without a place for its state no agent starts, however long anybody waits.
#[test]
fn a_release_that_finds_no_room_for_its_agent_is_counted_and_left_before_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut story = Story::begin(folder.path()).unwrap();
    Scenario::Update.offer(&mut story).unwrap();
    story.chip.run_until(" Activate ").unwrap();
    let mut flash = std::fs::read(story.chip.flash()).unwrap();
    let table = &mut flash[0x8000..][..TABLE_BYTES];
    let is_state = |it: &Partition| it.label.as_str() == Some("wx_state");
    let left: Vec<_> =
        Table::parse(table).unwrap().partitions().filter(|it| !is_state(it)).collect();
    table.copy_from_slice(&partition::write(&left).unwrap());
    std::fs::write(story.chip.flash(), flash).unwrap();
    story.chip.run_until(&format!("{LOADED}1f0000")).unwrap();
    let operations = story.chip.run_until("waxwing-esp32 1.").unwrap();
    let wrote = |at: std::ops::Range<u32>| operations.iter().any(|address| at.contains(address));
    assert!(wrote(0x3f_c000..0x40_0000), "it was not counted");
    assert!(wrote(0x9000..0xb000), "it ran before it was left");
}

/// The price of a boot loader that never goes back, as the one in Espressif's tools is built: what
/// counts starts is the image itself. With rollback the boot loader counts, see
/// `row_31_no_power_cut_keeps_a_device_from_going_back` and its like, on both kinds of it.
#[test]
fn a_release_that_crashes_before_its_guard_is_lost_with_a_boot_loader_without_rollback() {
    let folder = tempfile::tempdir().unwrap();
    let mut story = Story::begin(folder.path()).unwrap();
    story.offer("update", "1.1.0", Mark::CrashFirst).unwrap();
    let mut loads = Vec::new();
    let lost = story
        .live("update", [], |line| loads.extend(line.contains(LOADED).then(|| line.to_owned())));
    assert!(lost.unwrap_err().to_string().contains("does not come to rest"));
    assert!(
        loads.len() > 5 && loads[1..].iter().all(|line| line.ends_with("0x1f0000")),
        "{loads:?}"
    );
    assert_eq!(story.device().unwrap()["deployments"][0]["state"], "activated");
}
