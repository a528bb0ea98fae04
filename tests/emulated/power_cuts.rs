//! The power goes at operations of the emulated flash, before, within and after them; each time
//! server and device are first set back to one moment. The release is a good one, and one power cut is
//! no reason to leave it: the device always comes to rest with it, and never ran anything else that
//! was not released.

use std::ops::Range;

use tempfile::TempDir;
use waxwing_agent::policy::Jitter;
use waxwing_e2e::chip::{Cut, Tear};
use waxwing_e2e::story::{Kept, Scenario, Story};

/// Of the draws below.
const SEED: u64 = 20_261_120;
/// How many random operations of a download, and of what follows it, lose power.
const CUTS_IN_DOWNLOAD: usize = 7;
const CUTS_AFTERWARDS: usize = 7;
/// Writes to boot records in an update, at least: an erase and a write each to activate and to confirm.
const RECORD_OPERATIONS_MIN: usize = 4;
/// As many power cuts as a run has to have.
const CUTS_MIN: usize = 25;
const _: () = assert!(
    CUTS_IN_DOWNLOAD + CUTS_AFTERWARDS + RECORD_OPERATIONS_MIN * Tear::ALL.len() >= CUTS_MIN,
    "too few power cuts"
);
/// Starts of the firmware in one update with one power cut: as it was, into the new release, back
/// because the cut undid its confirmation, and into it again.
const STARTS_MAX: usize = 4;

/// Where the boot records are in flash, and the slots.
const BOOT_RECORDS: Range<u32> = 0x9000..0xb000;
const SLOTS: Range<u32> = 0x1_0000..0x3d_0000;

/// A device that enrolled and whose server has a release for it.
struct Stage {
    story: Story,
    offered: Kept,
    _folder: TempDir,
}

impl Stage {
    fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut story = Story::begin(folder.path()).unwrap();
        story.chip.run_until("idle Poll None").unwrap();
        Scenario::Update.offer(&mut story).unwrap();
        let offered = story.keep("offered").unwrap();
        Self { story, offered, _folder: folder }
    }

    /// Goes on to where the release is in flash, and nothing else was done about it.
    fn fetched(&mut self) -> Kept {
        self.story.chip.run_until("ready Inspect None").unwrap();
        self.story.keep("fetched").unwrap()
    }

    /// Runs the update from there, and returns the numbers of those flash operations that are `meant`,
    /// by their address.
    fn operations(&mut self, from: &Kept, meant: impl Fn(u32) -> bool) -> Vec<u64> {
        self.story.go_back(from).unwrap();
        let operations = self.story.chip.run_until("idle CheckHealth None").unwrap();
        let numbered = (1..).zip(operations);
        let meant: Vec<u64> =
            numbered.filter(|(_, address)| meant(*address)).map(|(number, _)| number).collect();
        assert!(!meant.is_empty(), "no operation there");
        meant
    }

    /// Lets the power go once in each of these lives, of which there are so many at least.
    fn lose_power(&mut self, from: &Kept, cuts: &[Cut], count_min: usize) {
        assert!(cuts.len() >= count_min, "{} power cuts, not {count_min}", cuts.len());
        for cut in cuts.iter().copied() {
            self.story.go_back(from).unwrap();
            let outcome = self.story.live("update", [cut], |_| ()).unwrap();
            eprintln!("{cut:?}: {}, code {}, {:?}", outcome.state, outcome.code, outcome.starts);
            assert_eq!(outcome.cuts, 1, "{cut:?} did not happen");
            assert!(outcome.starts.len() <= STARTS_MAX, "{cut:?}: {:#?}", outcome.starts);
            let ended = (outcome.state.as_str(), outcome.release.as_str());
            assert_eq!(ended, ("healthy", "1.1.0"), "{cut:?}: {outcome:#?}");
        }
    }
}

/// Draws operations, each with another way to lose power than the one before. Not the last tenth: a
/// life in which the network was quicker has fewer, and the cut is to happen.
fn drawn(operations: &[u64], count: usize, seed: u64) -> Vec<Cut> {
    eprintln!("seed {seed}");
    let mut jitter = Jitter::new(seed);
    let operations = &operations[..(operations.len() * 9).div_ceil(10)];
    let tears = Tear::ALL.into_iter().cycle();
    let mut draw = || operations[jitter.draw() as usize % operations.len()];
    tears.take(count).map(|tear| Cut { at: draw(), tear }).collect()
}

#[test]
fn no_power_cut_in_a_download_keeps_a_chip_from_its_update() {
    let mut stage = Stage::set();
    let offered = stage.offered.clone();
    let operations = stage.operations(&offered, |address| SLOTS.contains(&address));
    let cuts = drawn(&operations, CUTS_IN_DOWNLOAD, SEED);
    stage.lose_power(&offered, &cuts, CUTS_IN_DOWNLOAD);
}

#[test]
fn no_power_cut_in_a_boot_record_loses_an_update() {
    let mut stage = Stage::set();
    let fetched = stage.fetched();
    let operations = stage.operations(&fetched, |address| BOOT_RECORDS.contains(&address));
    let cuts = operations.iter().flat_map(|at| Tear::ALL.map(|tear| Cut { at: *at, tear }));
    let cuts: Vec<Cut> = cuts.collect();
    stage.lose_power(&fetched, &cuts, RECORD_OPERATIONS_MIN * Tear::ALL.len());
}

#[test]
fn no_power_cut_between_download_and_the_end_of_a_soak_loses_an_update() {
    let mut stage = Stage::set();
    let fetched = stage.fetched();
    let operations = stage.operations(&fetched, |address| !BOOT_RECORDS.contains(&address));
    let cuts = drawn(&operations, CUTS_AFTERWARDS, SEED + 1);
    stage.lose_power(&fetched, &cuts, CUTS_AFTERWARDS);
}
