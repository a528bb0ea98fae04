//! What an update costs at most: a count and a ratio, the same on every machine.

use crate::cost::{Erases, Time, erases, time};

/// Hashes of the image that an update may cost here. Four are its own: the download, two looks at flash, the
/// boot loader. The rest is metadata, which is the same for any image. A build for tests takes 9, beside other
/// tests 11; this finds what goes badly wrong, and `cargo xtask bench device` has the goal.
const HASHES_MAX: f64 = 14.0;

#[test]
fn an_update_erases_hardly_more_sectors_than_the_image_has() {
    let Erases { count, count_max, of_a_sector_max } = erases();
    assert!(count <= count_max, "{count} erases, at most {count_max}");
    assert_eq!(of_a_sector_max, 1, "a sector was erased twice");
}

#[test]
fn an_update_costs_little_more_processor_time_than_its_hashes() {
    let Time { update, hash } = time();
    let ratio = update / hash;
    assert!(ratio <= HASHES_MAX, "{ratio:.1} times the hash of the image");
}
