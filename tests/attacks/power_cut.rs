//! The power goes during every single flash operation of a device's life, before, within and after it:
//! download, activation, the boot loader's own writes, confirmation, rejection, and the way back after
//! a soak. The device always comes back, runs an image that somebody signed, and says what happened.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use waxwing_agent_host::flash::Tear;
use waxwing_esp_image::model::Rollback::{self, Disabled, Enabled};
use waxwing_tuf::uptane::Deferrable;
use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use crate::backend::chunks_of;
use crate::world::{World, builder, image, large_image};

/// Before the operation; within a sector, and between the words of a boot record; a boot record without
/// its state, which no checksum covers; after the operation.
const TEARS: [Tear; 6] = [
    Tear::Bytes(0),
    Tear::Bytes(1),
    Tear::Bytes(24),
    Tear::Bytes(28),
    Tear::AllBut(24),
    Tear::Bytes(usize::MAX),
];
/// Those that matter to boot records and journal.
const TEARS_OF_RECORDS: [Tear; 4] =
    [Tear::Bytes(0), Tear::Bytes(28), Tear::AllBut(24), Tear::Bytes(usize::MAX)];
/// Lives with two power cuts at random.
const DOUBLE_CUTS: u32 = 2000;

/// What becomes of the new image where nothing disturbs it.
#[derive(Clone, Copy, Debug)]
enum Story {
    Crashes,
    CrashesLater,
    FailsItsSelfTest,
    FallsIll,
    /// It works, and the user of the old one puts the restart off for an hour, time and again.
    IsPutOff,
    Works,
}

/// How often a user may put a restart off.
const DEFERRALS: u8 = 2;

impl Story {
    const ALL: [Self; 6] = [
        Self::Crashes,
        Self::CrashesLater,
        Self::FailsItsSelfTest,
        Self::FallsIll,
        Self::IsPutOff,
        Self::Works,
    ];

    const fn is_good(self) -> bool {
        matches!(self, Self::IsPutOff | Self::Works)
    }

    const fn mark(self) -> &'static [u8] {
        match self {
            Self::Crashes => b"waxwing-sim:crash",
            Self::CrashesLater => b"waxwing-sim:crash-later",
            Self::FailsItsSelfTest => b"waxwing-sim:self-test=fail",
            Self::FallsIll => b"waxwing-sim:health=bad",
            Self::IsPutOff | Self::Works => b"works",
        }
    }

    const fn outcome(self) -> (State, ErrorCode) {
        match self {
            Self::Crashes => (State::RolledBack, ErrorCode::BOOT_RESET),
            Self::CrashesLater => (State::RolledBack, ErrorCode::SOAK_RESETS),
            Self::FailsItsSelfTest | Self::FallsIll => (State::RolledBack, ErrorCode::SELF_TEST),
            Self::IsPutOff | Self::Works => (State::Healthy, ErrorCode::NONE),
        }
    }

    /// A device whose new image burns eFuses, should it come so far.
    fn world(self, rollback: Rollback) -> World {
        let new = builder("1.1.0", self.mark()).secure_version(1).build().unwrap();
        let mut world = World::new(&image("1.0.0", b"old"), &new, rollback);
        if matches!(self, Self::IsPutOff) {
            world.puts_off = Some(Duration::from_hours(1));
            let deferrable = Deferrable { times: DEFERRALS, until: u64::MAX };
            world.backend.borrow_mut().deferrable = deferrable;
        }
        world
    }

    /// No cut gives the user more than the plan does, or takes something away.
    fn check_deferrals(self, world: &World, cut: &str) {
        let backend = world.backend.borrow();
        let times: Vec<u8> = backend.put_off.iter().map(|put_off| put_off.times).collect();
        let allowed = if matches!(self, Self::IsPutOff) { DEFERRALS } else { 0 };
        assert_eq!(times, (1..=allowed).collect::<Vec<_>>(), "{self:?} {cut}");
    }

    /// After cuts the story ends as it would have; or with the old image, because a cut hit the trial
    /// of the new one, and says so.
    #[track_caller]
    fn check(self, world: &mut World, cut: &str) {
        let running = world.live();
        let backend = world.backend.borrow();
        let last = backend.reports.last().copied();
        if running == backend.new {
            assert_eq!(last, Some((State::Healthy, ErrorCode::NONE)), "{self:?} {cut}");
            assert!(self.is_good(), "{self:?} {cut}: must not stay");
            assert_eq!(world.board.secure_version(), 1, "{cut}");
        } else {
            let reset = Some((State::RolledBack, ErrorCode::BOOT_RESET));
            assert!(last == reset || last == Some(self.outcome()), "{self:?} {cut}: {last:?}");
            // Row 34: who went back must still boot.
            assert_eq!(world.board.secure_version(), 0, "{self:?} {cut}");
        }
        self.check_deferrals(world, cut);
    }
}

fn sweep(story: Story, rollback: Rollback, tears: &[Tear]) {
    let mut undisturbed = story.world(rollback);
    let running = undisturbed.live();
    let last = undisturbed.backend.borrow().reports.last().copied();
    assert_eq!(last, Some(story.outcome()));
    assert_eq!(running == undisturbed.backend.borrow().new, story.is_good());
    let operations = undisturbed.board.flash().operations();
    assert!(operations > 20, "{operations} operations are no update");
    let verified_at = undisturbed.verified_at.unwrap();
    for operation in 0..operations {
        for tear in tears.iter().copied() {
            let mut world = story.world(rollback);
            world.cut_power([(operation, tear)]);
            let cut = format!("{rollback:?}, operation {operation}, {tear:?}");
            story.check(&mut world, &cut);
            // What was once verified is never fetched again: not after a cut in the boot loader's
            // write or in the confirmation, which leave no trace (the old image boots as if nothing
            // had been), nor after any other.
            let backend = world.backend.borrow();
            if operation >= verified_at {
                assert_eq!(backend.fetched, backend.new.len(), "{cut}");
            }
        }
    }
}

#[test]
fn row_31_no_power_cut_in_an_update_bricks_a_device_or_leaves_it_with_half_of_it() {
    sweep(Story::Works, Enabled, &TEARS);
}

#[test]
fn row_31_no_power_cut_does_so_where_the_boot_loader_never_goes_back() {
    sweep(Story::Works, Disabled, &TEARS);
}

#[test]
fn row_31_no_power_cut_lets_a_user_put_a_restart_off_more_often_or_less() {
    for rollback in [Enabled, Disabled] {
        sweep(Story::IsPutOff, rollback, &TEARS_OF_RECORDS);
    }
}

#[test]
fn row_31_no_power_cut_keeps_a_device_from_going_back() {
    for story in [Story::Crashes, Story::FailsItsSelfTest] {
        for rollback in [Enabled, Disabled] {
            sweep(story, rollback, &TEARS_OF_RECORDS);
        }
    }
}

#[test]
fn row_31_no_power_cut_keeps_a_device_from_going_back_after_its_confirmation() {
    for story in [Story::CrashesLater, Story::FallsIll] {
        for rollback in [Enabled, Disabled] {
            sweep(story, rollback, &TEARS_OF_RECORDS);
        }
    }
}

/// Two cuts anywhere, the second while the first is being mended; and then the next update.
#[test]
fn row_31_after_two_power_cuts_a_device_has_settled_and_takes_the_next_update() {
    let cut = || (0..60_u64, prop::sample::select(&TEARS[..]));
    let lives = (
        prop::sample::select(&Story::ALL[..]),
        prop::sample::select(&[Enabled, Disabled][..]),
        [cut(), cut()],
    );
    let next = image("1.1.0", b"next");
    let config = Config { cases: DOUBLE_CUTS, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&lives, |(story, rollback, cuts)| {
        let mut world = story.world(rollback);
        world.cut_power(cuts);
        story.check(&mut world, &format!("{rollback:?}, {cuts:?}"));
        if world.board.secure_version() == 0 {
            world.cut_power([]);
            world.offer(&next, "r-2");
            assert!(world.live() == next, "{story:?}, {rollback:?}, {cuts:?}: {:?}", world.last());
            assert_eq!(world.last(), Some((State::Healthy, ErrorCode::NONE)));
        }
        Ok(())
    });
    if let Err(found) = outcome {
        panic!("{found}");
    }
}

/// The journal does not know how far the download is, the chunk list does (D8).
#[test]
fn a_power_cut_in_a_download_costs_a_chunk_and_not_the_download() {
    let (old, new) = (large_image("1.0.0", b"old"), large_image("1.1.0", b"new"));
    let world = || {
        let world = World::new(&old, &new, Enabled);
        world.backend.borrow_mut().chunks = Some(chunks_of(&new));
        world
    };
    let mut undisturbed = world();
    assert!(undisturbed.live() == new);
    assert_eq!(undisturbed.backend.borrow().lists, 0, "nobody needed the list");
    let verified_at = undisturbed.verified_at.unwrap();
    for operation in 0..undisturbed.board.flash().operations() {
        for tear in [Tear::Bytes(0), Tear::Bytes(2048), Tear::Bytes(usize::MAX)] {
            let mut world = world();
            world.cut_power([(operation, tear)]);
            let running = world.live();
            let backend = world.backend.borrow();
            let list_bytes = backend.lists * chunks_of(&new).len();
            let again = backend.fetched - list_bytes - new.len().min(backend.fetched);
            assert!(again <= 64 * 1024, "{operation} {tear:?}: {again} bytes once more");
            assert!(operation < verified_at || again == 0, "{operation} {tear:?}: {again}");
            assert!(running == new || world.last().unwrap().1 == ErrorCode::BOOT_RESET);
        }
    }
}

#[test]
fn no_power_cut_matters_to_a_server_without_chunk_lists() {
    let (old, new) = (large_image("1.0.0", b"old"), large_image("1.1.0", b"new"));
    let mut undisturbed = World::new(&old, &new, Enabled);
    assert!(undisturbed.live() == new);
    for operation in 0..undisturbed.board.flash().operations() {
        let mut world = World::new(&old, &new, Enabled);
        world.cut_power([(operation, Tear::Bytes(2048))]);
        let running = world.live();
        assert!(running == new || world.last().unwrap().1 == ErrorCode::BOOT_RESET);
    }
}
