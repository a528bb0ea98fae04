//! What of a partition table the agent uses, and what a table must have.
//!
//! A device made for the agent has partitions of their own for journal, credentials and state:
//! [`standard_4mb`]. A device that is older cannot get them, for a partition table is not changed
//! safely in the field. Then a data partition that the product no longer needs is divided among
//! them, if it is large enough; otherwise the device is refused, and never half updated.
//!
//! | part | partition of its own | in a spare one |
//! |---|---|---|
//! | journal | 2 sectors or more, 4 recommended | its first 2 sectors |
//! | credentials | 1 sector or more, 4 recommended | the next 4 sectors |
//! | state | [`SECTORS_MIN`] or more, [`SECTORS_STANDARD`] recommended | the rest, as many or more |

use alloc::vec::Vec;
use core::fmt;

use waxwing_agent::ports::{Slot, slot_after};
use waxwing_esp_image::SECTOR_BYTES;
use waxwing_esp_image::otadata;
use waxwing_esp_image::partition::{Kind, Partition, Table};

use crate::state::{SECTORS_MIN, SECTORS_STANDARD};

/// The agent's journal.
pub const JOURNAL: Kind = Kind::Other(0x40, 0x57);
/// What was written when the device was made; firmware only reads it.
pub const CREDENTIALS: Kind = Kind::Other(0x40, 0x58);
/// What the device makes and learns itself.
pub const STATE: Kind = Kind::Other(0x40, 0x59);

/// Two records, so that a power cut cannot take both.
const JOURNAL_SECTORS_MIN: u32 = 2;
const CREDENTIALS_SECTORS_MIN: u32 = 1;
/// Two roots and the server's certificates need 12 KiB in bad cases.
const CREDENTIALS_SECTORS_SPARE: u32 = 4;
/// An update needs a slot that does not run.
const SLOTS_MIN: u8 = 2;

/// Returns the table of a new product with 4 MB of flash: two slots of 1920 KiB, and `nvs` for the
/// product itself.
pub fn standard_4mb() -> [Partition; 8] {
    [
        Partition::new("otadata", Kind::OtaData, 0x9000, 0x2000),
        Partition::new("phy_init", Kind::Phy, 0xb000, 0x1000),
        Partition::new("wx_cred", CREDENTIALS, 0xc000, 0x4000),
        Partition::new("ota_0", Kind::Ota(0), 0x1_0000, 0x1e_0000),
        Partition::new("ota_1", Kind::Ota(1), 0x1f_0000, 0x1e_0000),
        Partition::new("nvs", Kind::Nvs, 0x3d_0000, 0x8000),
        Partition::new("wx_state", STATE, 0x3d_8000, SECTORS_STANDARD * SECTOR_BYTES),
        Partition::new("wx_journal", JOURNAL, 0x3f_c000, 0x4000),
    ]
}

/// Where a device keeps what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layout {
    images: Vec<(Slot, Partition)>,
    slots: otadata::Layout,
    otadata: Partition,
    journal: Partition,
    credentials: Partition,
    state: Partition,
}

impl Layout {
    /// Reads a device's table. `spare` is the label of a data partition that the product gives up
    /// where the table has no partition for one of the agent's parts.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] when the device cannot be updated safely.
    pub fn of(table: Table<'_>, spare: Option<&str>) -> Result<Self, LayoutError> {
        let otadata = table.find(Kind::OtaData).ok_or(LayoutError::NoOtaData)?;
        let slots = table.layout().filter(|slots| slots.ota_slots() >= SLOTS_MIN);
        let slots = slots.ok_or(LayoutError::NoSecondSlot)?;
        let mut spare = Spare::find(table, spare)?;
        let journal = journal(table, &mut spare)?;
        let credentials = table.find(CREDENTIALS).map_or_else(
            || spare.take(CREDENTIALS_SECTORS_SPARE, LayoutError::NoCredentials),
            |own| at_least(own, CREDENTIALS_SECTORS_MIN, LayoutError::NoCredentials),
        )?;
        let state = table.find(STATE).map_or_else(
            || spare.rest(SECTORS_MIN, LayoutError::NoState),
            |own| at_least(own, SECTORS_MIN, LayoutError::NoState),
        )?;
        let images = table.partitions().filter_map(|partition| match partition.kind {
            Kind::Factory => Some((Slot::Factory, partition)),
            Kind::Ota(index) => Some((Slot::Ota(index), partition)),
            Kind::Nvs | Kind::OtaData | Kind::Other(..) | Kind::Phy | Kind::Test => None,
        });
        let layout = Self { images: images.collect(), slots, otadata, journal, credentials, state };
        layout.refuse_encrypted()
    }

    /// Our drivers write what they are given; the boot loader would read it as encrypted.
    fn refuse_encrypted(self) -> Result<Self, LayoutError> {
        let parts = [self.otadata, self.journal, self.credentials, self.state];
        let encrypted = parts.iter().any(|partition| partition.encrypted);
        if encrypted { Err(LayoutError::Encrypted) } else { Ok(self) }
    }

    /// Returns which slots there are.
    pub const fn slots(&self) -> otadata::Layout {
        self.slots
    }

    /// Returns the boot records.
    pub const fn otadata(&self) -> &Partition {
        &self.otadata
    }

    /// Returns the journal.
    pub const fn journal(&self) -> &Partition {
        &self.journal
    }

    /// Returns the credentials.
    pub const fn credentials(&self) -> &Partition {
        &self.credentials
    }

    /// Returns the state.
    pub const fn state(&self) -> &Partition {
        &self.state
    }

    /// Returns the slot whose image begins there in flash.
    pub fn slot_at(&self, offset: u32) -> Option<Slot> {
        self.images.iter().find(|(_, image)| image.offset == offset).map(|(slot, _)| *slot)
    }

    /// Returns the partition of a slot.
    pub fn image(&self, slot: Slot) -> Option<&Partition> {
        self.images.iter().find(|(of, _)| *of == slot).map(|(_, image)| image)
    }

    /// Returns the partition that an update goes to while `running` runs.
    pub fn target(&self, running: Slot) -> Option<&Partition> {
        self.image(slot_after(running, self.slots.ota_slots()))
    }
}

/// Finds the journal, whatever else the table lacks.
pub(crate) fn journal_of(table: Table<'_>, spare: Option<&str>) -> Option<Partition> {
    let mut spare = Spare::find(table, spare).ok()?;
    journal(table, &mut spare).ok().filter(|journal| !journal.encrypted)
}

fn journal(table: Table<'_>, spare: &mut Spare) -> Result<Partition, LayoutError> {
    table.find(JOURNAL).map_or_else(
        || spare.take(JOURNAL_SECTORS_MIN, LayoutError::NoJournal),
        |own| at_least(own, JOURNAL_SECTORS_MIN, LayoutError::NoJournal),
    )
}

/// What is left of the partition that the product gives up.
struct Spare(Option<Partition>);

impl Spare {
    fn find(table: Table<'_>, label: Option<&str>) -> Result<Self, LayoutError> {
        let Some(label) = label else { return Ok(Self(None)) };
        let found = table.partitions().find(|partition| partition.label.as_str() == Some(label));
        let is_data = |partition: &Partition| match partition.kind {
            Kind::Nvs | Kind::Other(1.., _) => true,
            Kind::Factory
            | Kind::Ota(_)
            | Kind::OtaData
            | Kind::Other(0, _)
            | Kind::Phy
            | Kind::Test => false,
        };
        match found {
            Some(partition) if !is_data(&partition) => Err(LayoutError::SpareInUse),
            found => Ok(Self(found)),
        }
    }

    fn take(&mut self, sectors: u32, missing: LayoutError) -> Result<Partition, LayoutError> {
        let whole = self.0.ok_or(missing)?;
        let bytes = sectors * SECTOR_BYTES;
        let left = whole.bytes.checked_sub(bytes).ok_or(missing)?;
        let behind = Partition { offset: whole.offset + bytes, bytes: left, ..whole };
        self.0 = (left > 0).then_some(behind);
        Ok(Partition { bytes, ..whole })
    }

    fn rest(&mut self, sectors_min: u32, missing: LayoutError) -> Result<Partition, LayoutError> {
        let rest = self.0.take().ok_or(missing)?;
        let bytes = rest.bytes / SECTOR_BYTES * SECTOR_BYTES;
        at_least(Partition { bytes, ..rest }, sectors_min, missing)
    }
}

fn at_least(
    partition: Partition,
    sectors: u32,
    missing: LayoutError,
) -> Result<Partition, LayoutError> {
    if partition.bytes < sectors * SECTOR_BYTES { Err(missing) } else { Ok(partition) }
}

/// Why a device with this table cannot be updated safely.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LayoutError {
    /// One of the agent's partitions is encrypted.
    Encrypted,
    /// No room for the credentials.
    NoCredentials,
    /// No room for the journal: a power cut could not be told from a failure.
    NoJournal,
    /// No boot records.
    NoOtaData,
    /// Fewer than two OTA slots.
    NoSecondSlot,
    /// No room for keys, certificates and trusted metadata.
    NoState,
    /// The partition to be given up is one that the boot loader or the radio needs.
    SpareInUse,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypted => "a partition of the agent is marked encrypted",
            Self::NoCredentials => "no partition wx_cred, and no spare one with 4 free sectors",
            Self::NoJournal => "no partition wx_journal, and no spare one with 2 free sectors",
            Self::NoOtaData => "no partition otadata",
            Self::NoSecondSlot => "fewer than two OTA slots",
            Self::NoState => {
                "no partition wx_state of 29 sectors, and no spare one with 29 free sectors"
            }
            Self::SpareInUse => "spare partition is an app's, the boot loader's or the radio's",
        })
    }
}

impl core::error::Error for LayoutError {}

#[cfg(test)]
mod tests {
    use waxwing_esp_image::partition::{TABLE_BYTES, write};

    use super::*;

    /// A device made before the agent: as ESP-IDF's own tables, with a partition for core dumps.
    fn old(coredump_bytes: u32) -> [Partition; 5] {
        [
            Partition::new("nvs", Kind::Nvs, 0x9000, 0x4000),
            Partition::new("otadata", Kind::OtaData, 0xd000, 0x2000),
            Partition::new("ota_0", Kind::Ota(0), 0x1_0000, 0x10_0000),
            Partition::new("ota_1", Kind::Ota(1), 0x11_0000, 0x10_0000),
            Partition::new("coredump", Kind::Other(1, 3), 0x21_0000, coredump_bytes),
        ]
    }

    fn read(partitions: &[Partition], spare: Option<&str>) -> Result<Layout, LayoutError> {
        let bytes: [u8; TABLE_BYTES] = write(partitions).unwrap();
        Layout::of(Table::parse(&bytes).unwrap(), spare)
    }

    fn without(kind: Kind) -> Vec<Partition> {
        standard_4mb().into_iter().filter(|partition| partition.kind != kind).collect()
    }

    #[test]
    fn the_standard_table_fills_four_megabytes_and_has_all_there_is() {
        let table = standard_4mb();
        let layout = read(&table, None).unwrap();
        assert_eq!(table.last().map(|last| last.offset + last.bytes), Some(4 << 20));
        for (partition, next) in table.iter().zip(&table[1..]) {
            assert_eq!(partition.offset + partition.bytes, next.offset, "a gap before {next:?}");
        }
        assert_eq!(layout.slot_at(0x1f_0000), Some(Slot::Ota(1)));
        assert_eq!(layout.target(Slot::Ota(1)), layout.image(Slot::Ota(0)));
        assert_eq!(layout.journal().kind, JOURNAL);
    }

    #[test]
    fn an_old_device_is_updated_in_the_room_its_product_gives_up() {
        let layout = read(&old(0x4_0000), Some("coredump")).unwrap();
        let parts = [layout.journal(), layout.credentials(), layout.state()];
        let parts = parts.map(|part| (part.offset, part.bytes));
        assert_eq!(parts, [(0x21_0000, 0x2000), (0x21_2000, 0x4000), (0x21_6000, 0x3_a000)]);
    }

    #[test]
    fn an_old_device_without_room_is_refused_by_what_it_lacks() {
        assert_eq!(read(&old(0x1_0000), None), Err(LayoutError::NoJournal));
        assert_eq!(read(&old(0x1_0000), Some("core")), Err(LayoutError::NoJournal));
        assert_eq!(read(&old(0x1000), Some("coredump")), Err(LayoutError::NoJournal));
        assert_eq!(read(&old(0x5000), Some("coredump")), Err(LayoutError::NoCredentials));
        assert_eq!(read(&old(0x6000), Some("coredump")), Err(LayoutError::NoState));
        let enough = (2 + 4 + SECTORS_MIN) * SECTOR_BYTES;
        let less = enough - SECTOR_BYTES;
        assert_eq!(read(&old(less), Some("coredump")), Err(LayoutError::NoState));
        assert!(read(&old(enough), Some("coredump")).is_ok());
    }

    #[test]
    fn a_table_with_some_of_the_partitions_needs_room_for_the_others_only() {
        assert_eq!(read(&without(STATE), None), Err(LayoutError::NoState));
        let mut table = without(STATE);
        table[5].bytes += SECTORS_STANDARD * SECTOR_BYTES;
        let layout = read(&table, Some("nvs")).unwrap();
        assert_eq!(layout.state().offset, 0x3d_0000);
        assert_eq!(layout.journal().kind, JOURNAL);
        assert_eq!(read(&without(CREDENTIALS), None), Err(LayoutError::NoCredentials));
    }

    #[test]
    fn what_the_boot_loader_or_the_radio_needs_is_never_given_up() {
        for label in ["ota_1", "otadata", "phy_init"] {
            assert_eq!(read(&without(STATE), Some(label)), Err(LayoutError::SpareInUse));
        }
    }

    #[test]
    fn a_device_that_could_not_be_updated_is_refused() {
        assert_eq!(read(&without(Kind::OtaData), None), Err(LayoutError::NoOtaData));
        assert_eq!(read(&without(Kind::Ota(1)), None), Err(LayoutError::NoSecondSlot));
        let mut small = standard_4mb();
        small[6].bytes = (SECTORS_MIN - 1) * SECTOR_BYTES;
        assert_eq!(read(&small, None), Err(LayoutError::NoState));
        let mut encrypted = standard_4mb();
        encrypted[7].encrypted = true;
        assert_eq!(read(&encrypted, None), Err(LayoutError::Encrypted));
    }
}
