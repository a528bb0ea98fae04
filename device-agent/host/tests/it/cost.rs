//! What an update costs a simulated device: erases, counted, and processor time, in hashes of the image.
//!
//! Shared by the tests, which keep the limits, and by `cargo xtask bench device`, which prints the
//! numbers beside the goals.

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
/// Runs of which the middle one counts.
const RUNS: usize = 5;

/// Erases of flash in the course of an update.
pub(crate) struct Erases {
    /// Of the whole chip.
    pub(crate) count: usize,
    /// Goal: 1.05 for each sector of the image, and twelve.
    pub(crate) count_max: usize,
    /// Of the sector of the slot that was erased most often.
    pub(crate) of_a_sector_max: u16,
}

/// What an update of an image of 1.3 MB costs in processor time, and one SHA-256 over it, in seconds.
pub(crate) struct Time {
    pub(crate) update: f64,
    pub(crate) hash: f64,
}

pub(crate) fn image(version: &str, filler: u8) -> Vec<u8> {
    let noise = (0..IMAGE_BYTES).map(|at| filler ^ (at % 251).to_le_bytes()[0]);
    builder(version, &noise.collect::<Vec<_>>()).build().unwrap()
}

pub(crate) fn world(old: &[u8], new: &[u8]) -> World {
    let world = World::new(old, new, Rollback::Enabled);
    world.backend.borrow_mut().chunks = Some(chunks_of(new));
    world
}

/// Counts what an update erases.
pub(crate) fn erases() -> Erases {
    let (old, new) = (image("1.0.0", 1), image("1.1.0", 2));
    let mut world = world(&old, &new);
    assert!(world.live() == new);
    let flash = world.board.flash();
    let sectors = new.len().div_ceil(SECTOR_BYTES);
    let slot = world.board.layout().partition_of(Slot::Ota(1)).unwrap();
    let first = usize::try_from(slot.offset).unwrap() / SECTOR_BYTES;
    let erases = flash.erases();
    let of_slot = &erases[first..first + sectors];
    Erases {
        count: erases.iter().map(|count| usize::from(*count)).sum(),
        count_max: sectors * 105 / 100 + ERASES_BESIDES_MAX,
        of_a_sector_max: of_slot.iter().copied().max().unwrap_or(0),
    }
}

/// Measures an update from the offer to a healthy device, in turns with a hash of its image: download,
/// two looks at what is in flash before it is activated, a restart with the boot loader's look, soak.
/// The start before it, of a device that runs already, is taken off.
pub(crate) fn time() -> Time {
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
            black_box(world.driver(&running));
        });
        let mut running = None;
        updates.push(seconds(|| running = Some(world.settle())) - begins);
        assert_eq!(running.map(|running| running.sha256), Some(digest(&new)));
        assert_eq!(world.last(), Some((State::Healthy, ErrorCode::NONE)));
        hashes.push(seconds(|| {
            black_box(Sha256::digest(&new));
        }));
    }
    Time { update: middle(updates), hash: middle(hashes) }
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
