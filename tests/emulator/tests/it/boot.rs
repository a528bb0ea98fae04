//! The real boot loader decides as our model of it does (`waxwing_esp_image::model`), and leaves the
//! same bytes. It is Espressif's binary from the `espflash` crate; `WAXWING_BOOT_LOADER` says where.

use std::path::PathBuf;
use std::time::Duration;

use waxwing_emulator::machine::End;
use waxwing_esp_image::Chip;
use waxwing_esp_image::Flash;
use waxwing_esp_image::model::{BootError, BootLoader, Rollback};
use waxwing_esp_image::otadata::Slot;
use waxwing_esp_image::partition::{self, Kind, Partition};
use waxwing_esp_image::write::AppBuilder;

use crate::run::Run;

const OTADATA: usize = 0xd000;
const SLOTS: [usize; 2] = [0x1_0000, 0x20_0000];
const SLOT_BYTES: u32 = 0x1f_0000;

/// A record of otadata, as it should be or damaged.
#[derive(Clone, Copy, Debug)]
enum Record {
    Blank,
    Good(u32, u32),
    BadChecksum(u32, u32),
    Zeros,
}

impl Record {
    fn bytes(self) -> [u8; 32] {
        match self {
            Self::Blank => [0xff; 32],
            Self::Zeros => [0; 32],
            Self::Good(sequence, state) => record(sequence, state, crc(sequence)),
            Self::BadChecksum(sequence, state) => record(sequence, state, !crc(sequence)),
        }
    }
}

fn record(sequence: u32, state: u32, crc: u32) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[..4].copy_from_slice(&sequence.to_le_bytes());
    bytes[24..28].copy_from_slice(&state.to_le_bytes());
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// CRC-32 of the sequence number, begun at zero.
fn crc(sequence: u32) -> u32 {
    !sequence.to_le_bytes().iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Damage {
    None,
    /// One bit of the code.
    Checksum,
    /// Two bits that the checksum does not see.
    Hash,
    /// The second half was never written.
    Truncated,
}

/// An application that says which slot it is, and nothing else.
fn image(slot: usize, damage: Damage) -> Vec<u8> {
    let code = [0x3c00_0537, 0x1205_0513, 0x4000_02b7, 0x0402_80e7, 0x0000_006f_u32];
    let mut image = AppBuilder::new(Chip::Esp32c3)
        .version("1.0.0")
        .project("slots")
        .rodata(format!("this is slot {slot}\n\0"))
        .code(code.map(u32::to_le_bytes).concat())
        .build()
        .unwrap();
    match damage {
        Damage::None => {}
        Damage::Checksum => image[0x1_0020] ^= 1,
        Damage::Hash => {
            image[0x1_0020] ^= 0x80;
            image[0x1_0024] ^= 0x80;
        }
        Damage::Truncated => image[0x8000..].fill(0xff),
    }
    image
}

fn flash(records: [Record; 2], damages: [Damage; 2]) -> Vec<u8> {
    let mut flash = vec![0xff; 0x40_0000];
    let boot_loader = std::fs::read(boot_loader()).unwrap();
    flash[..boot_loader.len()].copy_from_slice(&boot_loader);
    // Who writes it to a chip tells it the chip's capacity: 4 MB.
    flash[3] = flash[3] & 0x0f | 0x20;
    let slot = |number: u8| {
        let offset = u32::try_from(SLOTS[usize::from(number)]).unwrap();
        Partition::new(&format!("ota_{number}"), Kind::Ota(number), offset, SLOT_BYTES)
    };
    let otadata = Partition::new("otadata", Kind::OtaData, 0xd000, 0x2000);
    let table = partition::write(&[otadata, slot(0), slot(1)]).unwrap();
    flash[0x8000..0x8000 + table.len()].copy_from_slice(&table);
    for (number, record) in records.into_iter().enumerate() {
        flash[OTADATA + 0x1000 * number..][..32].copy_from_slice(&record.bytes());
    }
    for (number, damage) in damages.into_iter().enumerate() {
        let image = image(number, damage);
        flash[SLOTS[number]..][..image.len()].copy_from_slice(&image);
    }
    flash
}

fn boot_loader() -> PathBuf {
    let path = std::env::var_os("WAXWING_BOOT_LOADER").map(PathBuf::from);
    path.expect("WAXWING_BOOT_LOADER names the boot loader: `cargo xtask test` sets it")
}

/// Flash for the model: a reset never loses power here.
struct Cells(Vec<u8>);

impl Flash for Cells {
    type Error = std::convert::Infallible;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), Self::Error> {
        self.0[offset as usize..][..0x1000].fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        for (cell, byte) in self.0[offset as usize..].iter_mut().zip(bytes) {
            *cell &= byte;
        }
        Ok(())
    }
}

/// Boots in both, and compares the slot and all of flash.
#[track_caller]
fn check(records: [Record; 2], damages: [Damage; 2], expected: Option<u8>) {
    let case = format!("{records:?} {damages:?}");
    let flash = flash(records, damages);
    let mut cells = Cells(flash.clone());
    let model = BootLoader { chip: Chip::Esp32c3, rollback: Rollback::Disabled };
    let booted = match model.boot(&mut cells) {
        Ok(boot) => Some(boot.slot),
        Err(BootError::NoImage) => None,
        Err(error) => panic!("{case}: {error:?}"),
    };
    assert_eq!(booted, expected.map(Slot::Ota), "{case}: our model");
    let virtual_time = Duration::from_mins(1);
    let run = Run { until: Some("this is slot"), resets: 3, virtual_time, ..Run::of(flash) };
    let real = run.go();
    let slot = match real.summary.end {
        End::Text => real.said.split("this is slot ").nth(1).and_then(|text| text.chars().next()),
        End::Resets => None,
        End::NoBootLoader(_) | End::PowerCut | End::Time | End::Unknown(_) => {
            panic!("{case}: {:?}\n{}", real.summary.end, real.said)
        }
    };
    assert_eq!(
        slot,
        expected.and_then(|slot| char::from_digit(slot.into(), 10)),
        "{case}\n{}",
        real.said
    );
    assert!(real.flash == cells.0, "{case}: the real boot loader wrote something else");
}

const GOOD: [Damage; 2] = [Damage::None; 2];
const FIRST: Record = Record::Good(1, VALID);
const NEW: u32 = 0;
const PENDING: u32 = 1;
const VALID: u32 = 2;
const INVALID: u32 = 3;
const ABORTED: u32 = 4;

#[test]
fn erased_otadata_boots_the_first_slot_and_is_written() {
    check([Record::Blank, Record::Blank], GOOD, Some(0));
}

#[test]
fn the_higher_sequence_boots_whatever_its_trial() {
    for state in [NEW, PENDING, VALID, 0x77, u32::MAX] {
        check([FIRST, Record::Good(2, state)], GOOD, Some(1));
    }
}

#[test]
fn a_slot_that_was_given_up_does_not_boot() {
    for state in [INVALID, ABORTED] {
        check([FIRST, Record::Good(2, state)], GOOD, Some(0));
        check([Record::Good(1, state), Record::Good(2, state)], GOOD, Some(0));
    }
}

#[test]
fn a_damaged_record_is_passed_over() {
    check([FIRST, Record::BadChecksum(2, NEW)], GOOD, Some(0));
    check([FIRST, Record::Zeros], GOOD, Some(0));
    check([Record::BadChecksum(1, VALID), Record::Good(2, VALID)], GOOD, Some(1));
}

#[test]
fn with_two_damaged_records_every_slot_is_tried() {
    check([Record::BadChecksum(1, VALID), Record::BadChecksum(2, VALID)], GOOD, Some(0));
}

#[test]
fn sequence_zero_means_the_last_slot() {
    check([Record::Good(0, VALID), Record::Blank], GOOD, Some(1));
}

#[test]
fn a_damaged_image_is_not_booted() {
    for damage in [Damage::Checksum, Damage::Hash, Damage::Truncated] {
        check([FIRST, Record::Good(2, NEW)], [Damage::None, damage], Some(0));
    }
}

#[test]
fn without_a_good_image_the_device_resets_for_ever() {
    check([FIRST, Record::Good(2, NEW)], [Damage::Checksum; 2], None);
}
