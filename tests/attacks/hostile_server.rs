//! Row 36: a server that is hostile through and through. It holds the Director's key and TLS's, has
//! kept every file and image it ever saw, and says what it likes, while the power fails.
//!
//! Ten thousand random stories against the agent that ships. What must hold is said by a model that
//! knows only what the keyholders signed; it shares no code with the device.

pub(crate) mod library;
mod opponent;
pub(crate) mod script;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proptest::test_runner::{Config, TestRunner};
use serde_json::Value as Json;
use waxwing_agent::Action;
use waxwing_agent::driver::Turn;
use waxwing_agent::journal::Phase;
use waxwing_wire::report::State;
use waxwing_wire::{Digest, ErrorCode};

use crate::support::board::{Step, Subject, digest};
use library::LIBRARY;
use opponent::Hostile;
use script::{Answer, scripts};

/// Stories in a run.
const STORIES: u32 = 10_000;
/// Steps after which a device that has not come to the end of its story never will.
const STEPS_MAX: usize = 20_000;
/// Memory that the agent may take besides the answer it is reading, bytes on a 64-bit host: the
/// metadata budget of 24 KiB twice, for what is kept and what is new.
const HEAP_BYTES_MAX: u64 = 48 * 1024;

/// What became of a device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate {
    pub(crate) activations: u32,
    /// Why actions did not work out.
    pub(crate) failures: Vec<ErrorCode>,
    /// Most memory it took, in bytes.
    peak: u64,
    /// What it told the server, as far as it came to that.
    pub(crate) reports: Vec<(State, ErrorCode)>,
    /// The image it runs in the end.
    pub(crate) runs: Vec<u8>,
}

/// What must be true of a device, by what was signed and by what it did before.
#[derive(Debug, Default)]
struct Model {
    /// The highest security version that the journal held.
    floor: u32,
    /// The newest snapshot of the Image repository that the device kept.
    snapshot: u64,
}

impl Model {
    /// Only images that were signed for this device are ever started.
    fn started(image: &[u8]) {
        let sha256 = digest(image);
        let mut signed = LIBRARY.generations.iter().flat_map(|one| &one.installable);
        let is_signed = signed.any(|installable| *installable == sha256);
        assert!(is_signed || image == LIBRARY.make.factory, "an image nobody signed was started");
    }

    /// The device is about to activate an image: the newest metadata it has must list it, the slot
    /// must hold it, and it must not be below the floor.
    fn activates(&self, subject: &Subject, sha256: &Digest) {
        let release = LIBRARY.release(sha256).expect("an image of the library");
        assert!(
            digest(&subject.target_slot(release.image.len())) == *sha256,
            "not what was signed"
        );
        assert!(release.security_version >= self.floor, "below the floor {}", self.floor);
        let generation = LIBRARY.generations.iter();
        let mut generation = generation.filter(|one| one.snapshot_version == self.snapshot);
        let listed = generation.next().is_some_and(|one| one.installable.contains(sha256));
        assert!(listed, "snapshot {} does not list it", self.snapshot);
    }

    /// What a device keeps is genuine and never gets older.
    fn keeps(&mut self, subject: &Subject) {
        for name in ["root.json", "timestamp.json", "snapshot.json", "targets.json"] {
            let kept = subject.kept(name);
            assert!(kept.is_none_or(|file| LIBRARY.is_genuine(&file)), "{name} was forged");
        }
        if let Some(kept) = subject.kept("snapshot.json") {
            let snapshot: Json = serde_json::from_slice(&kept).unwrap();
            let version = snapshot["signed"]["version"].as_u64().unwrap();
            assert!(version >= self.snapshot, "the snapshot went back");
            self.snapshot = version;
        }
        let driver = subject.driver().unwrap();
        let floor = driver.agent().record().security_version;
        assert!(floor >= self.floor, "the floor went down");
        assert!(driver.agent().security_version() >= floor, "the floor is not kept to");
        if driver.next() != Action::Save {
            self.floor = floor;
        }
    }
}

/// Lets a device live through a story.
pub(crate) fn live(script: Vec<Answer>) -> Fate {
    let clock = Rc::default();
    let hostile = Rc::new(RefCell::new(Hostile::new(script, &clock)));
    let mut subject = Subject::new(&LIBRARY.make, Rc::clone(&hostile) as Rc<_>, &clock);
    let (mut model, mut fate) = (Model::default(), Fate::default());
    for _ in 0..STEPS_MAX {
        match subject.step() {
            Step::Started(image) => {
                Model::started(&image);
                fate.runs = image;
                model.keeps(&subject);
                if hostile.borrow().is_over {
                    fate.reports.clone_from(&hostile.borrow().told);
                    fate.peak = subject.peak;
                    assert!(fate.peak <= HEAP_BYTES_MAX, "{} bytes of memory", fate.peak);
                    return fate;
                }
            }
            // Thousands of turns of a story change nothing.
            Step::Stopped
            | Step::Turned(Turn { action: Action::Wait { .. } | Action::CheckHealth, .. }) => {}
            Step::Turned(Turn { failed, .. }) => {
                fate.failures.extend(failed);
                model.keeps(&subject);
                fate.activations += u32::from(watch_activation(&model, &subject));
            }
        }
        if hostile.borrow().is_over && subject.driver().is_some() {
            subject.switch_on();
        }
        if let Some((operations, bytes)) = hostile.borrow_mut().power_cut.take() {
            subject.cut_power_in(operations, bytes);
        }
    }
    panic!("a story without end");
}

/// Judges the next action, if it activates the new image of an update.
fn watch_activation(model: &Model, subject: &Subject) -> bool {
    let driver = subject.driver().unwrap();
    let Action::Activate { sha256, .. } = driver.next() else { return false };
    let update = driver.agent().record().update.as_ref();
    let is_new = update.is_some_and(|update| matches!(update.phase, Phase::Activating(_)));
    if is_new {
        model.activates(subject, &sha256);
    }
    is_new
}

#[test]
fn row_36_whatever_a_hostile_server_says_only_signed_images_run_and_no_floor_falls() {
    let config = Config { cases: STORIES, failure_persistence: None, ..Config::default() };
    let (updated, peak) = (Cell::new(0_u32), Cell::new(0_u64));
    let outcome = TestRunner::new(config).run(&scripts(), |script| {
        let fate = live(script);
        updated.set(updated.get() + u32::from(fate.runs != LIBRARY.make.factory));
        peak.set(peak.get().max(fate.peak));
        Ok(())
    });
    if let Err(found) = outcome {
        panic!("{found}");
    }
    // Stories in which nothing ever happens would prove nothing.
    assert!(updated.get() > STORIES / 10, "only {} devices were updated", updated.get());
    assert!(peak.get() > 1024, "memory was not measured");
    eprintln!("{} of {STORIES} updated, {} bytes at most", updated.get(), peak.get());
}
