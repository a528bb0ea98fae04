//! The partition table: where in flash the slots and the otadata are.
//!
//! 32 bytes per partition, then one entry with the MD5 of those before it, then erased flash.
//! Format: ESP-IDF, "Partition Tables". The MD5 finds damage, nothing more. A table without it is
//! refused: every boot loader since ESP-IDF 3.1 writes one.

use core::fmt;

use md5::{Digest, Md5};

use crate::SECTOR_BYTES;
use crate::app::Text;
use crate::bytes::{field, set_field, u8_at, u32_at};
use crate::otadata::{Layout, OTA_SLOTS_MAX};

/// Where the table lies unless the boot loader was built otherwise, as a flash offset.
pub const TABLE_AT: u32 = 0x8000;

/// Length of the table in bytes (`ESP_PARTITION_TABLE_MAX_LEN`).
pub const TABLE_BYTES: usize = 0xc00;

/// Most partitions that fit: the MD5 needs an entry, too.
pub const PARTITIONS_MAX: usize = TABLE_BYTES / ENTRY_BYTES - 1;

/// App partitions begin on a page of mapped flash.
const APP_ALIGNMENT_BYTES: u32 = 0x1_0000;

const ENTRY_BYTES: usize = 32;
const ENTRY_MAGIC: [u8; 2] = [0xaa, 0x50];
const MD5_MAGIC: [u8; 2] = [0xeb, 0xeb];
const MD5_AT: usize = 16;
const ENCRYPTED: u32 = 1;
const READ_ONLY: u32 = 2;

/// A table that was checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Table<'a> {
    entries: &'a [[u8; ENTRY_BYTES]],
}

impl<'a> Table<'a> {
    /// Checks the table at the beginning of these bytes.
    ///
    /// # Errors
    ///
    /// [`TableError`], the first reason why no device should run on this table.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TableError> {
        let bytes = bytes.get(..TABLE_BYTES).unwrap_or(bytes);
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        let len = entries.iter().take_while(|entry| entry.starts_with(&ENTRY_MAGIC)).count();
        let (entries, rest) = entries.split_at_checked(len).ok_or(TableError::MissingMd5)?;
        let md5 = rest.first().filter(|entry| entry.starts_with(&MD5_MAGIC));
        let md5 = md5.ok_or(TableError::MissingMd5)?;
        if field::<MD5_AT, 16, _>(md5) != md5_of(entries) {
            return Err(TableError::BadMd5);
        }
        let table = Self { entries };
        table.check()?;
        Ok(table)
    }

    /// Returns the partitions in the order of the table.
    pub fn partitions(self) -> impl Iterator<Item = Partition> + 'a {
        self.entries.iter().map(Partition::parse)
    }

    /// Returns the first partition of this kind.
    pub fn find(self, kind: Kind) -> Option<Partition> {
        self.partitions().find(|partition| partition.kind == kind)
    }

    /// Returns what the otadata codec has to know; `None` when there are no OTA slots.
    pub fn layout(self) -> Option<Layout> {
        Layout::new(self.ota_slots(), self.find(Kind::Factory).is_some())
    }

    /// Counts the OTA slots.
    fn ota_slots(self) -> u8 {
        let slots = self.partitions().filter(|partition| matches!(partition.kind, Kind::Ota(_)));
        slots.fold(0, |count, _| count.saturating_add(1))
    }

    fn check(self) -> Result<(), TableError> {
        for (index, partition) in self.partitions().enumerate() {
            partition.check()?;
            if self.partitions().skip(index + 1).any(|other| partition.overlaps(&other)) {
                return Err(TableError::Overlap(partition.label));
            }
        }
        // The boot loader counts the slots and takes them as 0 to count - 1.
        let gap = (0..self.ota_slots()).any(|slot| self.find(Kind::Ota(slot)).is_none());
        if gap { Err(TableError::SlotsWithGap) } else { Ok(()) }
    }
}

/// Encodes a table, erased flash behind it.
///
/// # Errors
///
/// [`TableError`] when [`Table::parse`] would refuse the result.
pub fn write(partitions: &[Partition]) -> Result<[u8; TABLE_BYTES], TableError> {
    let mut bytes = [0xff; TABLE_BYTES];
    let (entries, _) = bytes.as_chunks_mut::<ENTRY_BYTES>();
    let fits = partitions.len() <= PARTITIONS_MAX;
    let (written, rest) = entries
        .split_at_mut_checked(partitions.len())
        .filter(|_| fits)
        .ok_or(TableError::TooMany)?;
    for (entry, partition) in written.iter_mut().zip(partitions) {
        *entry = partition.encode();
    }
    if let Some(md5) = rest.first_mut() {
        set_field::<0, 2, _>(md5, MD5_MAGIC);
        set_field::<MD5_AT, 16, _>(md5, md5_of(written));
    }
    Table::parse(&bytes)?;
    Ok(bytes)
}

fn md5_of(entries: &[[u8; ENTRY_BYTES]]) -> [u8; 16] {
    let mut md5 = Md5::new();
    for entry in entries {
        md5.update(entry);
    }
    md5.finalize().into()
}

/// A stretch of flash with a name and a purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Partition {
    /// What it is for.
    pub kind: Kind,
    /// Flash offset in bytes.
    pub offset: u32,
    /// Length in bytes.
    pub bytes: u32,
    /// Name.
    pub label: Text<16>,
    /// Whether it is encrypted on devices with flash encryption.
    pub encrypted: bool,
    /// Whether drivers refuse to write to it.
    pub read_only: bool,
}

impl Partition {
    /// Describes a partition that is neither encrypted nor read-only. A label longer than 15 bytes
    /// is cut.
    pub fn new(label: &str, kind: Kind, offset: u32, bytes: u32) -> Self {
        let mut text = [0; 16];
        for (to, from) in text.iter_mut().take(15).zip(label.bytes()) {
            *to = from;
        }
        Self { kind, offset, bytes, label: Text(text), encrypted: false, read_only: false }
    }

    fn parse(entry: &[u8; ENTRY_BYTES]) -> Self {
        let flags = u32_at::<28, _>(entry);
        Self {
            kind: Kind::from_codes(u8_at::<2, _>(entry), u8_at::<3, _>(entry)),
            offset: u32_at::<4, _>(entry),
            bytes: u32_at::<8, _>(entry),
            label: Text(field::<12, 16, _>(entry)),
            encrypted: flags & ENCRYPTED != 0,
            read_only: flags & READ_ONLY != 0,
        }
    }

    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let (kind, subtype) = self.kind.codes();
        let encrypted = if self.encrypted { ENCRYPTED } else { 0 };
        let read_only = if self.read_only { READ_ONLY } else { 0 };
        let mut entry = [0; ENTRY_BYTES];
        set_field::<0, 2, _>(&mut entry, ENTRY_MAGIC);
        set_field::<2, 2, _>(&mut entry, [kind, subtype]);
        set_field::<4, 4, _>(&mut entry, self.offset.to_le_bytes());
        set_field::<8, 4, _>(&mut entry, self.bytes.to_le_bytes());
        set_field::<12, 16, _>(&mut entry, self.label.0);
        set_field::<28, 4, _>(&mut entry, (encrypted | read_only).to_le_bytes());
        entry
    }

    fn check(&self) -> Result<(), TableError> {
        let alignment = if self.kind.is_app() { APP_ALIGNMENT_BYTES } else { SECTOR_BYTES };
        if !self.offset.is_multiple_of(alignment) {
            return Err(TableError::Misaligned(self.label));
        }
        if self.bytes == 0 || self.offset.checked_add(self.bytes).is_none() {
            return Err(TableError::BadLength(self.label));
        }
        // Two sectors, so that a power cut can tear only one of the two records.
        if self.kind == Kind::OtaData && self.bytes < 2 * SECTOR_BYTES {
            return Err(TableError::BadLength(self.label));
        }
        Ok(())
    }

    fn overlaps(&self, other: &Self) -> bool {
        let end = |partition: &Self| partition.offset.saturating_add(partition.bytes);
        self.offset < end(other) && other.offset < end(self)
    }
}

/// What a partition is for (type and subtype).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The image a device was born with.
    Factory,
    /// Key-value storage of ESP-IDF.
    Nvs,
    /// An update slot, 0 to 15.
    Ota(u8),
    /// The two records that say which slot boots.
    OtaData,
    /// Anything else, as type and subtype.
    Other(u8, u8),
    /// Calibration of the radio.
    Phy,
    /// The image that the boot loader takes when a test pin is held.
    Test,
}

impl Kind {
    const fn from_codes(kind: u8, subtype: u8) -> Self {
        match (kind, subtype) {
            (0, 0x00) => Self::Factory,
            (0, 0x10..=0x1f) => Self::Ota(subtype & 0x0f),
            (0, 0x20) => Self::Test,
            (1, 0x00) => Self::OtaData,
            (1, 0x01) => Self::Phy,
            (1, 0x02) => Self::Nvs,
            _ => Self::Other(kind, subtype),
        }
    }

    const fn codes(self) -> (u8, u8) {
        match self {
            Self::Factory => (0, 0x00),
            Self::Nvs => (1, 0x02),
            Self::Ota(slot) if slot < OTA_SLOTS_MAX => (0, 0x10 | slot),
            // No such slot: an app of no known kind, which no boot loader starts.
            Self::Ota(_) => (0, 0xff),
            Self::OtaData => (1, 0x00),
            Self::Other(kind, subtype) => (kind, subtype),
            Self::Phy => (1, 0x01),
            Self::Test => (0, 0x20),
        }
    }

    const fn is_app(self) -> bool {
        self.codes().0 == 0
    }
}

/// Why bytes are no partition table to rely on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TableError {
    /// This partition is empty, too short for its purpose, or leaves the address space.
    BadLength(Text<16>),
    /// The MD5 does not fit the entries: damaged.
    BadMd5,
    /// This partition begins where flash cannot be erased or mapped separately.
    Misaligned(Text<16>),
    /// No MD5 behind the entries: no table, or cut off.
    MissingMd5,
    /// This partition overlaps a later one.
    Overlap(Text<16>),
    /// The OTA slots are not numbered 0, 1, 2 and so on.
    SlotsWithGap,
    /// More than [`PARTITIONS_MAX`] partitions.
    TooMany,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadLength(label) => write!(f, "partition {label:?} has an impossible length"),
            Self::BadMd5 => f.write_str("MD5 does not match the partition table"),
            Self::Misaligned(label) => write!(f, "partition {label:?} begins at a bad offset"),
            Self::MissingMd5 => f.write_str("no partition table, or one without MD5"),
            Self::Overlap(label) => write!(f, "partition {label:?} overlaps another"),
            Self::SlotsWithGap => f.write_str("OTA slots are not numbered from 0 without gaps"),
            Self::TooMany => f.write_str("more partitions than the table holds"),
        }
    }
}

impl core::error::Error for TableError {}
