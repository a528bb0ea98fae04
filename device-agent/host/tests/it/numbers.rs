//! What an update costs at most: a count and a ratio, the same on every machine.

use crate::cost::{Erases, Time, erases, image, time, world};

/// Hashes of the image that an update may cost here. Four are its own: the download, two looks at flash, the
/// boot loader. The rest is metadata, which is the same for any image. A build for tests takes 8 to 11 from run to
/// run; this finds what goes badly wrong, `cargo xtask bench device` keeps the goal of 9, and reads are counted.
const HASHES_MAX: f64 = 14.0;

#[test]
fn an_update_erases_hardly_more_sectors_than_the_image_has() {
    let Erases { count, count_max, of_a_sector_max } = erases();
    assert!(count <= count_max, "{count} erases, at most {count_max}");
    assert_eq!(of_a_sector_max, 1, "a sector was erased twice");
}

/// Bytes of flash that are read from the first start to the end of the soak, in hundredths of an image: the boot
/// loader and the agent look at the old one, the agent twice and the boot loader once at the new one, and
/// the journal is small.
const READS_PERCENT_MAX: u64 = 520;

#[test]
fn an_update_reads_flash_no_more_often_than_it_must() {
    let (old, new) = (image("1.0.0", 1), image("1.1.0", 2));
    let mut world = world(&old, &new);
    assert!(world.live() == new);
    let percent = world.board.flash().bytes_read() * 100 / u64::try_from(new.len()).unwrap();
    assert!(percent <= READS_PERCENT_MAX, "{percent} % of the image");
}

#[test]
fn an_update_costs_little_more_processor_time_than_its_hashes() {
    let Time { update, hash } = time();
    let ratio = update / hash;
    assert!(ratio <= HASHES_MAX, "{ratio:.1} times the hash of the image");
}
