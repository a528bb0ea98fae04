//! The power goes during every single flash operation of an update, and at several points within
//! it: the device always comes back, runs an image that somebody signed, and says what happened.

use waxwing_esp_image::model::Rollback;
use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use crate::world::{World, image, large_image};

/// Bytes of a torn write: none, words of a boot record, all of them.
const TORN_AFTER: [usize; 4] = [0, 24, 28, usize::MAX];

#[test]
fn no_power_cut_bricks_a_device_or_leaves_it_with_half_an_update() {
    sweep(&image("1.0.0", b"old"), &image("1.1.0", b"new"), Rollback::Enabled, &TORN_AFTER);
}

#[test]
fn no_power_cut_does_so_where_the_boot_loader_never_goes_back() {
    sweep(&image("1.0.0", b"old"), &image("1.1.0", b"new"), Rollback::Disabled, &TORN_AFTER);
}

#[test]
fn no_power_cut_does_so_in_a_download_with_marks_of_progress() {
    let (old, new) = (large_image("1.0.0", b"old"), large_image("1.1.0", b"new"));
    sweep(&old, &new, Rollback::Enabled, &[2048]);
}

fn sweep(old: &[u8], new: &[u8], rollback: Rollback, torn_after: &[usize]) {
    let mut undisturbed = World::new(old, new, rollback);
    assert!(undisturbed.live() == new);
    let operations = undisturbed.board.flash().operations();
    assert!(operations > 20, "{operations} operations are no update");
    for operation in 0..operations {
        for bytes in torn_after {
            let mut world = World::new(old, new, rollback);
            world.cut_power(operation, *bytes);
            check(&mut world, old, new, &format!("{rollback:?} {operation} {bytes}"));
        }
    }
}

/// After a cut the device runs the new image, healthy; or the old one, because the cut hit the
/// trial of the new one, and says so.
#[track_caller]
fn check(world: &mut World, old: &[u8], new: &[u8], cut: &str) {
    let running = world.live();
    let backend = world.backend.borrow();
    let last = backend.reports.last().copied();
    if running == new {
        assert_eq!(last, Some((State::Healthy, ErrorCode::NONE)), "{cut}");
    } else {
        assert!(running == old, "{cut}: runs something else");
        assert_eq!(last, Some((State::RolledBack, ErrorCode::BOOT_RESET)), "{cut}");
    }
}
