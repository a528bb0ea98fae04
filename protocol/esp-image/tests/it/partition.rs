//! Partition tables.

use proptest::prelude::*;
use waxwing_esp_image::partition::{
    self, Kind, PARTITIONS_MAX, Partition, TABLE_BYTES, Table, TableError,
};

/// The usual table of a device with 4 MB of flash and two slots.
fn two_slots() -> Vec<Partition> {
    vec![
        Partition::new("nvs", Kind::Nvs, 0x9000, 0x4000),
        Partition::new("otadata", Kind::OtaData, 0xd000, 0x2000),
        Partition::new("phy_init", Kind::Phy, 0xf000, 0x1000),
        Partition::new("ota_0", Kind::Ota(0), 0x1_0000, 0x1f_0000),
        Partition::new("ota_1", Kind::Ota(1), 0x20_0000, 0x1f_0000),
    ]
}

#[test]
fn a_table_is_read_back_as_it_was_written() {
    let bytes = partition::write(&two_slots()).unwrap();
    let table = Table::parse(&bytes).unwrap();
    assert_eq!(table.partitions().collect::<Vec<_>>(), two_slots());
    assert_eq!(table.layout().unwrap().ota_slots(), 2);
    assert!(!table.layout().unwrap().has_factory());
    assert_eq!(table.find(Kind::Ota(1)).unwrap().offset, 0x20_0000);
    assert_eq!(table.find(Kind::Factory), None);
}

#[test]
fn the_bytes_are_those_of_the_esp_idf_tools() {
    let bytes = partition::write(&two_slots()[..1]).unwrap();
    let nvs =
        b"\xaa\x50\x01\x02\x00\x90\x00\x00\x00\x40\x00\x00nvs\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(bytes[..32], nvs[..]);
    assert_eq!(bytes[32..48], [&[0xeb, 0xeb][..], &[0xff; 14]].concat());
    assert!(bytes[64..].iter().all(|byte| *byte == 0xff));
}

#[test]
fn every_flipped_bit_of_an_entry_is_noticed() {
    let good = partition::write(&two_slots()).unwrap();
    // The five entries, the magic of the MD5 and the MD5 itself.
    for bit in (0..5 * 32 * 8 + 16).chain((5 * 32 + 16) * 8..6 * 32 * 8) {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Table::parse(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn a_cut_or_blank_table_is_refused() {
    let good = partition::write(&two_slots()).unwrap();
    for len in 0..6 * 32 {
        assert_eq!(Table::parse(&good[..len]), Err(TableError::MissingMd5), "{len} bytes");
    }
    assert_eq!(Table::parse(&[0xff; TABLE_BYTES]), Err(TableError::MissingMd5));
}

#[test]
fn tables_no_device_should_run_on_are_refused() {
    let label = |text| Partition::new(text, Kind::Nvs, 0, 0).label;
    let refused = |change: fn(&mut Vec<Partition>)| {
        let mut partitions = two_slots();
        change(&mut partitions);
        partition::write(&partitions).unwrap_err()
    };
    assert_eq!(refused(|p| p[4].offset = 0x1f_0000), TableError::Overlap(label("ota_0")));
    assert_eq!(refused(|p| p[3].offset = 0x1_1000), TableError::Misaligned(label("ota_0")));
    assert_eq!(refused(|p| p[0].offset = 0x9001), TableError::Misaligned(label("nvs")));
    assert_eq!(refused(|p| p[0].bytes = 0), TableError::BadLength(label("nvs")));
    assert_eq!(refused(|p| p[4].bytes = u32::MAX), TableError::BadLength(label("ota_1")));
    assert_eq!(refused(|p| p[1].bytes = 0x1000), TableError::BadLength(label("otadata")));
    assert_eq!(refused(|p| p[4].kind = Kind::Ota(2)), TableError::SlotsWithGap);
    assert_eq!(refused(|p| p[4].kind = Kind::Ota(0)), TableError::SlotsWithGap);
}

#[test]
fn a_table_holds_as_many_partitions_as_fit_beside_the_md5() {
    let partitions = |count: usize| -> Vec<_> {
        let offset = |index| 0x1_0000 + 0x1000 * index as u32;
        (0..count)
            .map(|i| Partition::new("data", Kind::Other(1, 0x40), offset(i), 0x1000))
            .collect()
    };
    assert!(partition::write(&partitions(PARTITIONS_MAX)).is_ok());
    let error = partition::write(&partitions(PARTITIONS_MAX + 1)).unwrap_err();
    assert_eq!(error, TableError::TooMany);
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Table::parse(&bytes);
    }
}
