//! What an update costs: counts and ratios, the same on every machine. `cargo xtask bench device`
//! prints them.

use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};
use waxwing_agent::ports::{ResetReason, Slot};
use waxwing_esp_image::model::Rollback;
use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use crate::backend::{chunks_of, digest};
use crate::world::{World, builder};

/// As a thermostat with Wi-Fi has it.
const IMAGE_BYTES: usize = 1_300_000;
const SECTOR_BYTES: usize = 4096;
/// Erases besides those of the slot: journal and boot records.
const ERASES_BESIDES_MAX: usize = 12;
/// Hashes of the image that an update may cost. Six are needed; the rest is mostly this test's own server
/// and flash, for where the processor hashes by itself a hash costs little more than two copies.
const HASHES_MAX: f64 = 18.0;
/// Runs of which the middle one counts.
const RUNS: usize = 5;

fn image(version: &str, filler: u8) -> Vec<u8> {
    let noise = (0..IMAGE_BYTES).map(|at| filler ^ (at % 251).to_le_bytes()[0]);
    builder(version, &noise.collect::<Vec<_>>()).build().unwrap()
}

fn world(old: &[u8], new: &[u8]) -> World {
    let world = World::new(old, new, Rollback::Enabled);
    world.backend.borrow_mut().chunks = Some(chunks_of(new));
    world
}

#[test]
fn an_update_erases_hardly_more_sectors_than_the_image_has() {
    let (old, new) = (image("1.0.0", 1), image("1.1.0", 2));
    let mut world = world(&old, &new);
    assert!(world.live() == new);
    let erases: usize = world.board.flash().erases().iter().map(|count| usize::from(*count)).sum();
    let sectors = new.len().div_ceil(SECTOR_BYTES);
    let most = sectors * 105 / 100 + ERASES_BESIDES_MAX;
    eprintln!("erases of an update: {erases} for {sectors} sectors, at most {most}");
    assert!(erases <= most, "{erases} erases, at most {most}");
    let slot = world.board.layout().partition_of(Slot::Ota(1)).unwrap();
    let first = usize::try_from(slot.offset).unwrap() / SECTOR_BYTES;
    let of_slot = &world.board.flash().erases()[first..first + sectors].to_vec();
    assert!(of_slot.iter().all(|count| *count == 1), "a sector was erased twice");
}

/// Processor time of this thread, in seconds.
fn seconds(work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        f64::from(i32::try_from(time.tv_sec).unwrap())
            + f64::from(i32::try_from(time.tv_nsec).unwrap()) / 1e9
    };
    let began = now();
    work();
    now() - began
}

fn middle(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

/// From the offer to a healthy device: download, three looks at what is in flash (one on the way, two
/// before it is activated), a restart with the boot loader's look, soak.
#[test]
fn an_update_costs_little_more_processor_time_than_its_hashes() {
    let (old, new) = (image("1.0.0", 1), image("1.1.0", 2));
    let (mut updates, mut hashes) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut world = world(&old, &new);
        // The device runs already.
        world.backend.borrow_mut().withdrawn = true;
        world.live();
        world.backend.borrow_mut().withdrawn = false;
        world.backend.borrow_mut().rollout.1 += 2;
        let begins = seconds(|| {
            let running = world.board.start(ResetReason::PowerOn).unwrap();
            black_box(digest(&running.image));
        });
        updates.push(seconds(|| assert!(world.live() == new)) - begins);
        assert_eq!(world.last(), Some((State::Healthy, ErrorCode::NONE)));
        hashes.push(seconds(|| {
            black_box(Sha256::digest(&new));
        }));
    }
    let (update, hash) = (middle(updates), middle(hashes));
    let ratio = update / hash;
    eprintln!(
        "an update of {IMAGE_BYTES} bytes: {:.1} ms, {ratio:.1} hashes of {:.2} ms",
        update * 1e3,
        hash * 1e3
    );
    assert!(ratio <= HASHES_MAX, "{ratio:.1} times the hash of the image");
}
