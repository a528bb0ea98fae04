//! The two records that say which slot boots, and what an agent does with whatever it finds there.

use waxwing_esp_image::otadata::{Entry, Layout, OtaData, Sector, Slot, State, Write};

/// Two records, behind a byte that says how many slots there are, which one runs, and whether the
/// numbers of the records get their right CRC.
pub fn check(bytes: &[u8]) {
    let Some((how, records)) = bytes.split_first_chunk::<2>() else { return };
    let Some(records) = records.first_chunk::<64>() else { return };
    let Some(layout) = Layout::new(how[0] & 0x1f, how[0] & 0x40 != 0) else { return };
    let (first, second) = (half(records, 0), half(records, 32));
    let (first, second) =
        if how[0] & 0x80 == 0 { (first, second) } else { (with_crc(first), with_crc(second)) };
    for record in [first, second] {
        assert_eq!(Entry::read(&record).encode(), record, "another record when written again");
    }
    let data = OtaData::read(&first, &second, layout);
    assert!(exists(data.selected(), layout), "a slot that does not exist boots");
    if let Some(active) = data.active() {
        let entry = data.entry(active);
        assert!(entry.is_intact() && !matches!(entry.state, State::Invalid | State::Aborted));
    }
    let running = Slot::Ota(how[1] % layout.ota_slots());
    protect_and_activate(data, running, how[1] / 16 % layout.ota_slots());
    if let Some(write) = data.confirm(running) {
        assert_eq!(after(&data, &write).confirm(running), None, "confirming does not end");
    }
    if let Ok(write) = data.reject(running) {
        assert_ne!(after(&data, &write).selected(), running, "what was given up boots again");
    }
}

/// After at most three writes the running slot is protected; then another one can be made to boot,
/// and a cut in the middle of that write brings the running one back.
fn protect_and_activate(mut data: OtaData, running: Slot, target: u8) {
    let mut writes = 0;
    while let Ok(Some(write)) = data.protect(running) {
        writes += 1;
        assert!(writes <= 3, "protecting does not end");
        data = after(&data, &write);
    }
    let target = Slot::Ota(target);
    let Ok(write) = data.activate(running, target) else { return };
    assert_ne!(target, running);
    assert_eq!(after(&data, &write).selected(), target, "another slot boots than was activated");
    let cut = Write { bytes: [0xff; 32], ..write };
    assert_eq!(after(&data, &cut).selected(), running, "a power cut loses the running image");
}

fn after(data: &OtaData, write: &Write) -> OtaData {
    let bytes = |sector| {
        if write.sector == sector { write.bytes } else { data.entry(sector).encode() }
    };
    OtaData::read(&bytes(Sector::First), &bytes(Sector::Second), data.layout())
}

fn exists(slot: Slot, layout: Layout) -> bool {
    match slot {
        Slot::Factory => layout.has_factory(),
        Slot::Ota(slot) => slot < layout.ota_slots(),
    }
}

fn half(records: &[u8; 64], at: usize) -> [u8; 32] {
    let mut half = [0; 32];
    half.copy_from_slice(&records[at..at + 32]);
    half
}

/// The CRC of ESP-IDF (`esp_rom_crc32_le` from all ones), bit by bit.
fn with_crc(mut record: [u8; 32]) -> [u8; 32] {
    let mut crc = 0_u32;
    for byte in &record[..4] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xedb8_8320 };
        }
    }
    record[28..].copy_from_slice(&(!crc).to_le_bytes());
    record
}
