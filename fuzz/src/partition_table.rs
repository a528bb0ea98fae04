//! The partition table.

use md5::{Digest as _, Md5};
use waxwing_esp_image::partition::{Kind, Table, write};

/// Length of an entry.
const ENTRY: usize = 32;

/// Tried as it is and with its MD5 made right. What is accepted has no partition on another one, and
/// is the same table when written again.
pub fn check(bytes: &[u8]) {
    check_table(bytes);
    let entries = bytes.chunks_exact(ENTRY).take_while(|it| it.starts_with(&[0xaa, 0x50])).count();
    let mut whole = bytes[..entries * ENTRY].to_vec();
    let md5 = Md5::digest(&whole);
    whole.extend([0xeb, 0xeb]);
    whole.extend([0xff; 14]);
    whole.extend_from_slice(&md5);
    check_table(&whole);
}

fn check_table(bytes: &[u8]) {
    let Ok(table) = Table::parse(bytes) else { return };
    let partitions: Vec<_> = table.partitions().collect();
    for (index, one) in partitions.iter().enumerate() {
        let end = u64::from(one.offset) + u64::from(one.bytes);
        assert!(one.bytes > 0 && u32::try_from(end).is_ok(), "no stretch of flash");
        assert_eq!(one.offset % 4096, 0);
        let apart = |other: &waxwing_esp_image::partition::Partition| {
            end <= u64::from(other.offset)
                || u64::from(other.offset) + u64::from(other.bytes) <= u64::from(one.offset)
        };
        assert!(partitions[index + 1..].iter().all(apart), "two partitions in one place");
    }
    if let Some(layout) = table.layout() {
        assert!((0..layout.ota_slots()).all(|slot| table.find(Kind::Ota(slot)).is_some()));
        assert_eq!(layout.has_factory(), table.find(Kind::Factory).is_some());
    }
    let again = write(&partitions).expect("it was accepted before");
    let again: Vec<_> = Table::parse(&again).expect("it was written by us").partitions().collect();
    assert_eq!(again, partitions, "another table when written again");
}
