//! The second-stage boot loader of ESP-IDF as a function over flash: which image does a reset
//! start, and what is written to otadata on the way?
//!
//! Follows `bootloader_utility.c` step by step and on raw bytes, deliberately not with the codec of
//! [`crate::otadata`]: the two check each other in tests. Not modelled: test apps, anti-rollback
//! by eFuse, chip revisions, flash encryption, Secure Boot, images of no segments.

use core::fmt;

use crate::app::{App, Checker};
use crate::bytes::{set_field, u32_at};
use crate::chip::Chip;
use crate::otadata::{ENTRY_BYTES, Layout, Slot};
use crate::partition::{Kind, Partition, TABLE_AT, TABLE_BYTES, Table};
use crate::{Flash, SECTOR_BYTES};

/// How a boot loader was built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BootLoader {
    /// The chip it runs on: it starts no image for another.
    pub chip: Chip,
    /// Whether it takes an image back that did not confirm itself.
    pub rollback: Rollback,
}

/// The option `CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rollback {
    /// As the boot loader that `espflash` brings along: NEW stays NEW.
    Disabled,
    /// NEW gets one boot; without a confirmation the next reset goes back.
    Enabled,
}

/// An image was started.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Boot {
    /// From where.
    pub slot: Slot,
    /// The image.
    pub app: App,
    /// SHA-256 of it, without what may lie behind it.
    pub sha256: [u8; 32],
}

impl BootLoader {
    /// Resets the device.
    ///
    /// # Errors
    ///
    /// [`BootError::Flash`] when flash fails, as by a power cut: reset again.
    /// [`BootError::NoTable`] and [`BootError::NoImage`] when the device is a brick.
    pub fn boot<F: Flash>(self, flash: &mut F) -> Result<Boot, BootError<F::Error>> {
        let mut bytes = [0; TABLE_BYTES];
        flash.read(TABLE_AT, &mut bytes)?;
        let table = Table::parse(&bytes).map_err(|_| BootError::NoTable)?;
        let choice = self.choose(flash, table)?;
        self.load(flash, table, choice)
    }

    /// `bootloader_utility_get_selected_boot_partition`.
    fn choose<F: Flash>(self, flash: &mut F, table: Table<'_>) -> Result<Choice, F::Error> {
        let Some(otadata) = table.find(Kind::OtaData).map(|partition| partition.offset) else {
            return Ok(Choice { start: Slot::Factory, blank: None });
        };
        let mut records =
            [Record::read(flash, otadata)?, Record::read(flash, otadata + SECTOR_BYTES)?];
        if self.rollback == Rollback::Enabled {
            // The checksum is not looked at here.
            for record in &mut records {
                record.change_state(flash, PENDING_VERIFY, ABORTED)?;
            }
        }
        let [first, second] = &mut records;
        let app_count = table.layout().map_or(0, |layout| u32::from(layout.ota_slots()));
        if app_count == 0 || first.is_invalid() && second.is_invalid() {
            if table.find(Kind::Factory).is_some() {
                return Ok(Choice { start: Slot::Factory, blank: None });
            }
            let blank = first.is_initial() && second.is_initial();
            return Ok(Choice { start: Slot::Ota(0), blank: blank.then_some(otadata) });
        }
        let active = match (first.is_valid(), second.is_valid()) {
            (true, true) if second.seq() > first.seq() => second,
            (true, _) => first,
            (false, true) => second,
            // "Will try all partitions", from the factory image upwards.
            (false, false) => return Ok(Choice { start: Slot::Factory, blank: None }),
        };
        if self.rollback == Rollback::Enabled {
            active.change_state(flash, NEW, PENDING_VERIFY)?;
        }
        let slot = active.seq().wrapping_sub(1) % app_count;
        Ok(Choice { start: Slot::Ota(u8::try_from(slot).unwrap_or(0)), blank: None })
    }

    /// `bootloader_utility_load_boot_image`: down from the chosen slot to the factory image, then
    /// up. The states in otadata no longer matter here.
    fn load<F: Flash>(
        self,
        flash: &mut F,
        table: Table<'_>,
        choice: Choice,
    ) -> Result<Boot, BootError<F::Error>> {
        let count = table.layout().map_or(0, Layout::ota_slots);
        let above = match choice.start {
            Slot::Factory => 0,
            Slot::Ota(slot) => slot + 1,
        };
        let down = (0..above).rev().map(Slot::Ota).chain([Slot::Factory]);
        for slot in down.chain((above..count).map(Slot::Ota)) {
            let kind = match slot {
                Slot::Factory => Kind::Factory,
                Slot::Ota(slot) => Kind::Ota(slot),
            };
            let Some(partition) = table.find(kind) else { continue };
            let Some((app, sha256)) = self.verify(flash, partition)? else { continue };
            if let (Some(otadata), Slot::Ota(slot)) = (choice.blank, slot) {
                Record::new(otadata, u32::from(slot) + 1, VALID).store(flash)?;
            }
            return Ok(Boot { slot, app, sha256 });
        }
        Err(BootError::NoImage)
    }

    /// `esp_image_verify`: reads exactly the image, whatever lies behind it.
    fn verify<F: Flash>(
        self,
        flash: &mut F,
        partition: Partition,
    ) -> Result<Option<(App, [u8; 32])>, F::Error> {
        let mut checker = Checker::new();
        let mut buffer = [0; 512];
        let mut at = 0;
        while checker.missing_bytes() > 0 {
            let wanted = usize::try_from(checker.missing_bytes()).unwrap_or(usize::MAX);
            let len = wanted.min(buffer.len());
            let (piece, _) = buffer.split_at_mut(len);
            let end = at + u32::try_from(len).unwrap_or(u32::MAX);
            if end > partition.bytes {
                return Ok(None);
            }
            flash.read(partition.offset + at, piece)?;
            if checker.update(piece).is_err() {
                return Ok(None);
            }
            at = end;
        }
        let sha256 = checker.sha256();
        let app = checker.finish().ok().filter(|app| app.header.chip == self.chip);
        Ok(app.map(|app| (app, sha256)))
    }
}

/// What otadata led to.
#[derive(Clone, Copy, Debug)]
struct Choice {
    /// The slot to try first.
    start: Slot,
    /// Where otadata is, if it held nothing and the slot that boots must be written to it.
    blank: Option<u32>,
}

const NEW: u32 = 0;
const PENDING_VERIFY: u32 = 1;
const VALID: u32 = 2;
const INVALID: u32 = 3;
const ABORTED: u32 = 4;

/// An `esp_ota_select_entry_t` and where it lies.
struct Record {
    at: u32,
    bytes: [u8; ENTRY_BYTES],
}

impl Record {
    fn new(at: u32, seq: u32, state: u32) -> Self {
        let mut bytes = [0xff; ENTRY_BYTES];
        set_field::<0, 4, _>(&mut bytes, seq.to_le_bytes());
        set_field::<24, 4, _>(&mut bytes, state.to_le_bytes());
        set_field::<28, 4, _>(&mut bytes, crc32_le(u32::MAX, &seq.to_le_bytes()).to_le_bytes());
        Self { at, bytes }
    }

    fn read<F: Flash>(flash: &mut F, at: u32) -> Result<Self, F::Error> {
        let mut bytes = [0; ENTRY_BYTES];
        flash.read(at, &mut bytes)?;
        Ok(Self { at, bytes })
    }

    /// `write_otadata`.
    fn store<F: Flash>(&self, flash: &mut F) -> Result<(), F::Error> {
        flash.erase_sector(self.at)?;
        flash.write(self.at, &self.bytes)
    }

    fn change_state<F: Flash>(
        &mut self,
        flash: &mut F,
        from: u32,
        to: u32,
    ) -> Result<(), F::Error> {
        if self.state() != from {
            return Ok(());
        }
        set_field::<24, 4, _>(&mut self.bytes, to.to_le_bytes());
        self.store(flash)
    }

    fn seq(&self) -> u32 {
        u32_at::<0, _>(&self.bytes)
    }

    fn state(&self) -> u32 {
        u32_at::<24, _>(&self.bytes)
    }

    fn has_good_crc(&self) -> bool {
        u32_at::<28, _>(&self.bytes) == crc32_le(u32::MAX, &self.seq().to_le_bytes())
    }

    /// `bootloader_common_ota_select_invalid`.
    fn is_invalid(&self) -> bool {
        self.seq() == u32::MAX || matches!(self.state(), INVALID | ABORTED)
    }

    /// `bootloader_common_ota_select_valid`.
    fn is_valid(&self) -> bool {
        !self.is_invalid() && self.has_good_crc()
    }

    /// The condition behind `ota_has_initial_contents`.
    fn is_initial(&self) -> bool {
        self.seq() == u32::MAX || !self.has_good_crc()
    }
}

/// `esp_rom_crc32_le`.
fn crc32_le(start: u32, bytes: &[u8]) -> u32 {
    let mut crc = !start;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// Nothing was started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BootError<E> {
    /// Flash failed.
    Flash(E),
    /// No slot holds an image that can be started.
    NoImage,
    /// The partition table cannot be used.
    NoTable,
}

impl<E> From<E> for BootError<E> {
    fn from(error: E) -> Self {
        Self::Flash(error)
    }
}

impl<E: fmt::Display> fmt::Display for BootError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => write!(f, "flash: {error}"),
            Self::NoImage => f.write_str("no bootable app partitions"),
            Self::NoTable => f.write_str("partition table cannot be used"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for BootError<E> {}
