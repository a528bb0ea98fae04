//! The boot records, without a boot loader.

use waxwing_esp_image::otadata::{Entry, Layout, OtaData, Refused, Sector, Slot, State};

use crate::records::{ABORTED, BLANK, INVALID, NEW, PENDING, VALID, record, torn};

fn otadata(first: [u8; 32], second: [u8; 32]) -> OtaData {
    OtaData::read(&first, &second, Layout::new(2, false).unwrap())
}

#[test]
fn the_higher_number_among_bootable_records_boots() {
    check_selected(BLANK, BLANK, Slot::Ota(0));
    check_selected(record(1, VALID), BLANK, Slot::Ota(0));
    check_selected(record(1, VALID), record(2, NEW), Slot::Ota(1));
    check_selected(record(3, VALID), record(2, VALID), Slot::Ota(0));
    check_selected(record(1, VALID), record(2, INVALID), Slot::Ota(0));
    check_selected(record(1, VALID), record(2, ABORTED), Slot::Ota(0));
    check_selected(record(1, VALID), torn(record(2, VALID)), Slot::Ota(0));
    check_selected(record(1, VALID), [0; 32], Slot::Ota(0));
    check_selected(record(1, ABORTED), record(2, ABORTED), Slot::Ota(0));
    // Measured on the real one: number 0 is (0 - 1) mod 2, an unknown state boots.
    check_selected(record(0, VALID), BLANK, Slot::Ota(1));
    check_selected(record(1, VALID), record(2, 0x77), Slot::Ota(1));
}

#[track_caller]
fn check_selected(first: [u8; 32], second: [u8; 32], expected: Slot) {
    assert_eq!(otadata(first, second).selected(), expected);
}

#[test]
fn records_survive_decoding_and_encoding() {
    for bytes in [BLANK, record(7, VALID), torn(record(9, 0x77)), [0; 32]] {
        assert_eq!(Entry::read(&bytes).encode(), bytes);
    }
}

#[test]
fn activation_is_one_write_beside_the_record_of_the_running_slot() {
    // Fresh device, then after an update, then after a rollback, then with a torn record.
    check_activate(record(1, VALID), BLANK, 0, Sector::Second, 2);
    check_activate(record(1, VALID), record(2, VALID), 1, Sector::First, 3);
    check_activate(record(1, VALID), record(2, ABORTED), 0, Sector::Second, 2);
    check_activate(record(1, VALID), record(2, INVALID), 0, Sector::Second, 2);
    check_activate(record(1, VALID), torn(record(2, NEW)), 0, Sector::Second, 2);
    check_activate(torn(record(3, VALID)), record(2, VALID), 1, Sector::First, 3);
}

#[track_caller]
fn check_activate(first: [u8; 32], second: [u8; 32], running: u8, sector: Sector, seq: u32) {
    let data = otadata(first, second);
    assert_eq!(data.protect(Slot::Ota(running)), Ok(None));
    let write = data.activate(Slot::Ota(running), Slot::Ota(1 - running)).unwrap();
    assert_eq!((write.sector, write.bytes), (sector, record(seq, NEW)));
}

#[test]
fn a_running_slot_that_the_boot_loader_fell_back_to_is_protected_first() {
    // Its own record is there: the one followed in vain is retired.
    check_protect(record(1, VALID), record(2, VALID), Sector::Second, record(2, INVALID));
    check_protect(record(5, VALID), record(8, PENDING), Sector::Second, record(8, INVALID));
    // It is not: a new one, beside the one that decides.
    check_protect(record(4, VALID), record(2, VALID), Sector::Second, record(5, VALID));
    check_protect(BLANK, record(2, VALID), Sector::First, record(3, VALID));
    check_protect(torn(record(1, VALID)), record(2, NEW), Sector::First, record(3, VALID));
    check_protect(record(1, ABORTED), BLANK, Sector::First, record(1, VALID));
}

/// Checks the only write for a running `ota_0`.
#[track_caller]
fn check_protect(first: [u8; 32], second: [u8; 32], sector: Sector, bytes: [u8; 32]) {
    let data = otadata(first, second);
    assert_eq!(data.activate(Slot::Ota(0), Slot::Ota(1)), Err(Refused::Unprotected));
    let write = data.protect(Slot::Ota(0)).unwrap().unwrap();
    assert_eq!((write.sector, write.bytes), (sector, bytes));
    let data = match sector {
        Sector::First => otadata(bytes, second),
        Sector::Second => otadata(first, bytes),
    };
    assert_eq!(data.selected(), Slot::Ota(0));
    assert_eq!(data.protect(Slot::Ota(0)), Ok(None));
}

#[test]
fn sequence_numbers_never_reach_the_value_of_erased_flash() {
    // u32::MAX - 1 is even: it names ota_1.
    let last = record(u32::MAX - 1, VALID);
    let data = otadata(last, record(u32::MAX - 2, VALID));
    let write = data.protect(Slot::Ota(1)).unwrap().unwrap();
    assert_eq!((write.sector, write.bytes), (Sector::Second, record(2, VALID)));
    let data = otadata(last, write.bytes);
    assert_eq!(data.protect(Slot::Ota(1)), Ok(None));
    let write = data.activate(Slot::Ota(1), Slot::Ota(0)).unwrap();
    assert_eq!((write.sector, write.bytes), (Sector::First, record(3, NEW)));
}

#[test]
fn the_factory_image_runs_when_no_record_is_bootable() {
    let layout = Layout::new(3, true).unwrap();
    let read = |first, second| OtaData::read(&first, &second, layout);
    let fresh = read(BLANK, BLANK);
    assert_eq!(fresh.protect(Slot::Factory), Ok(None));
    let write = fresh.activate(Slot::Factory, Slot::Ota(2)).unwrap();
    assert_eq!((write.sector, write.bytes), (Sector::First, record(3, NEW)));
    // It runs because the images in the slots do not: both records are retired.
    let (four, five) = (record(4, VALID), record(5, VALID));
    let write = read(four, five).protect(Slot::Factory).unwrap().unwrap();
    assert_eq!((write.sector, write.bytes), (Sector::First, record(4, INVALID)));
    let write = read(write.bytes, five).protect(Slot::Factory).unwrap().unwrap();
    assert_eq!((write.sector, write.bytes), (Sector::Second, record(5, INVALID)));
    let retired = read(record(4, INVALID), record(5, INVALID));
    assert_eq!(retired.protect(Slot::Factory), Ok(None));
}

#[test]
fn activation_is_refused_where_it_could_not_be_undone() {
    let data = otadata(record(1, VALID), record(2, PENDING));
    assert_eq!(data.activate(Slot::Ota(1), Slot::Ota(0)), Err(Refused::OnTrial));
    assert_eq!(data.protect(Slot::Ota(1)), Err(Refused::OnTrial));
    assert_eq!(data.activate(Slot::Ota(0), Slot::Ota(0)), Err(Refused::Running));
    assert_eq!(data.activate(Slot::Ota(0), Slot::Ota(2)), Err(Refused::NoSuchSlot));
    assert_eq!(data.activate(Slot::Ota(0), Slot::Factory), Err(Refused::NoSuchSlot));
    let data = otadata(record(1, VALID), record(2, NEW));
    assert_eq!(data.activate(Slot::Ota(1), Slot::Ota(0)), Err(Refused::OnTrial));
}

#[test]
fn confirming_rewrites_the_record_of_the_running_slot() {
    let confirm = |first, second| otadata(first, second).confirm(Slot::Ota(1));
    let write = confirm(record(1, VALID), record(2, PENDING)).unwrap();
    assert_eq!((write.sector, write.bytes), (Sector::Second, record(2, VALID)));
    assert_eq!(confirm(record(1, VALID), record(2, VALID)), None);
    // No good record: a new one, beside the one that decides.
    let write = confirm(record(1, VALID), torn(record(2, NEW))).unwrap();
    assert_eq!((write.sector, write.bytes), (Sector::Second, record(2, VALID)));
    let write = confirm(record(1, VALID), record(2, ABORTED)).unwrap();
    assert_eq!((write.sector, write.bytes), (Sector::Second, record(2, VALID)));
    assert_eq!(otadata(BLANK, BLANK).confirm(Slot::Factory), None);
}

#[test]
fn rejecting_needs_something_to_go_back_to() {
    let reject = |first, second| otadata(first, second).reject(Slot::Ota(1));
    let write = reject(record(1, VALID), record(2, PENDING)).unwrap();
    assert_eq!((write.sector, write.bytes), (Sector::Second, record(2, INVALID)));
    assert_eq!(reject(BLANK, record(2, PENDING)), Err(Refused::NoFallback));
    assert_eq!(reject(record(1, ABORTED), record(2, PENDING)), Err(Refused::NoFallback));
    assert_eq!(reject(record(4, VALID), record(2, PENDING)), Err(Refused::NoFallback));
    assert_eq!(reject(record(1, VALID), BLANK), Err(Refused::NoFallback));
    let with_factory = Layout::new(2, true).unwrap();
    assert!(OtaData::read(&BLANK, &record(2, PENDING), with_factory).reject(Slot::Ota(1)).is_ok());
}

#[test]
fn a_slot_is_found_by_the_record_that_counts() {
    let data = otadata(record(2, PENDING), record(4, ABORTED));
    assert_eq!(data.record_of(Slot::Ota(1)).unwrap().state, State::PendingVerify);
    assert_eq!(data.protect(Slot::Ota(1)), Err(Refused::OnTrial), "by the same record");
    let data = otadata(record(2, INVALID), record(4, ABORTED));
    assert_eq!(data.record_of(Slot::Ota(1)).unwrap().state, State::Aborted);
    assert_eq!(data.record_of(Slot::Ota(0)), None);
    let data = otadata(record(2, VALID), torn(record(4, ABORTED)));
    assert_eq!(data.record_of(Slot::Ota(1)).unwrap().state, State::Valid);
    assert_eq!(data.record_of(Slot::Factory), None);
}
