//! The boot records, without a boot loader.

use waxwing_esp_image::otadata::{Entry, Layout, OtaData, Refused, Sector, Slot, State};

const BLANK: [u8; 32] = [0xff; 32];

/// A good record, encoded without the code under test.
fn record(seq: u32, state: u32) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[..4].copy_from_slice(&seq.to_le_bytes());
    bytes[24..28].copy_from_slice(&state.to_le_bytes());
    bytes[28..].copy_from_slice(&crc32_le(seq).to_le_bytes());
    bytes
}

/// CRC-32 as the ROM computes it with start value `UINT32_MAX`.
fn crc32_le(seq: u32) -> u32 {
    let mut crc = 0;
    for byte in seq.to_le_bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

const NEW: u32 = 0;
const PENDING: u32 = 1;
const VALID: u32 = 2;
const INVALID: u32 = 3;
const ABORTED: u32 = 4;

fn otadata(first: [u8; 32], second: [u8; 32]) -> OtaData {
    OtaData::read(&first, &second, Layout::new(2, false).unwrap())
}

fn torn(mut record: [u8; 32]) -> [u8; 32] {
    record[31] ^= 0x40;
    record
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
    // esp32-build.md section 4: sequence number 0 is (0 - 1) mod 2, an unknown state boots.
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
    // The boot loader fell back from ota_1, whose image is damaged: spare the record of ota_0,
    // although the other one has the higher number.
    check_activate(record(1, VALID), record(2, VALID), 0, Sector::Second, 2);
    check_activate(record(5, VALID), record(8, PENDING), 0, Sector::Second, 6);
}

#[track_caller]
fn check_activate(first: [u8; 32], second: [u8; 32], running: u8, sector: Sector, seq: u32) {
    let activation =
        otadata(first, second).activate(Slot::Ota(running), Slot::Ota(1 - running)).unwrap();
    assert_eq!(activation.protect, None);
    assert_eq!(activation.switch.sector, sector);
    assert_eq!(activation.switch.bytes, record(seq, NEW));
}

#[test]
fn a_running_slot_without_a_record_gets_one_first() {
    let activation =
        otadata(record(4, VALID), record(2, VALID)).activate(Slot::Ota(0), Slot::Ota(1)).unwrap();
    let protect = activation.protect.unwrap();
    assert_eq!((protect.sector, protect.bytes), (Sector::Second, record(5, VALID)));
    assert_eq!(activation.switch.sector, Sector::First);
    assert_eq!(activation.switch.bytes, record(6, NEW));
}

#[test]
fn sequence_numbers_never_reach_the_value_of_erased_flash() {
    let last = u32::MAX - 1;
    // u32::MAX - 1 is even: it names ota_1.
    let data = otadata(record(last, VALID), record(last - 1, VALID));
    let activation = data.activate(Slot::Ota(1), Slot::Ota(0)).unwrap();
    let protect = activation.protect.unwrap();
    assert_eq!((protect.sector, protect.bytes), (Sector::Second, record(2, VALID)));
    assert_eq!(activation.switch.sector, Sector::First);
    assert_eq!(activation.switch.bytes, record(3, NEW));
}

#[test]
fn the_factory_image_needs_no_record() {
    let layout = Layout::new(3, true).unwrap();
    let activate = |first, second, target| {
        let data = OtaData::read(&first, &second, layout);
        data.activate(Slot::Factory, Slot::Ota(target)).unwrap()
    };
    let fresh = activate(BLANK, BLANK, 2);
    assert_eq!((fresh.protect, fresh.switch.sector), (None, Sector::First));
    assert_eq!(fresh.switch.bytes, record(3, NEW));
    // No record for the target may be left, or a failed trial would be followed by a boot without.
    let stale = activate(record(4, VALID), record(3, VALID), 0);
    assert_eq!((stale.protect, stale.switch.sector), (None, Sector::First));
    assert_eq!(stale.switch.bytes, record(4, NEW));
    let twice = activate(record(4, VALID), record(1, VALID), 0);
    assert_eq!(twice.protect.unwrap().bytes, record(1, INVALID));
    assert_eq!(twice.switch.sector, Sector::First);
    assert_eq!(twice.switch.bytes, record(1, NEW));
}

#[test]
fn activation_is_refused_where_it_could_not_be_undone() {
    let data = otadata(record(1, VALID), record(2, PENDING));
    assert_eq!(data.activate(Slot::Ota(1), Slot::Ota(0)), Err(Refused::OnTrial));
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
fn a_slot_is_found_by_its_newest_whole_record() {
    let data = otadata(record(2, VALID), record(4, ABORTED));
    assert_eq!(data.record_of(Slot::Ota(1)).unwrap().state, State::Aborted);
    assert_eq!(data.record_of(Slot::Ota(0)), None);
    let data = otadata(record(2, VALID), torn(record(4, ABORTED)));
    assert_eq!(data.record_of(Slot::Ota(1)).unwrap().state, State::Valid);
    assert_eq!(data.record_of(Slot::Factory), None);
}
