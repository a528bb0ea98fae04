//! Roots that follow each other.

use waxwing_esp_image::model::Rollback;

use crate::world::{World, image};

/// A chip has a watchdog, and a root may take it a second.
#[test]
fn others_run_between_two_roots() {
    let mut world = World::new(&image("1.0.0", b"old"), &image("1.1.0", b"new"), Rollback::Enabled);
    assert_eq!(world.pauses_in_a_poll(), 0);
    world.backend.borrow_mut().roots = 5;
    assert_eq!(world.pauses_in_a_poll(), 5);
    assert_eq!(world.pauses_in_a_poll(), 0, "they are kept");
    assert!(world.live() == image("1.1.0", b"new"));
}
