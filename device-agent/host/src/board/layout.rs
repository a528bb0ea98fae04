//! Where things lie in flash.

use waxwing_agent::ports::Slot;
use waxwing_agent_flash::layout::JOURNAL;
use waxwing_esp_image::SECTOR_BYTES;
use waxwing_esp_image::partition::{self, Kind, Partition, TABLE_AT, TableError};

use crate::flash::{Flash, FlashFault};

const NVS_AT: u32 = 0x9000;
const NVS_BYTES: u32 = 0x5000;
const OTADATA_AT: u32 = 0xe000;
const FIRST_SLOT_AT: u32 = 0x1_0000;
/// Alignment of app partitions: a page of the flash cache.
const SLOT_ALIGNMENT: u32 = 0x1_0000;
/// Pages of the journal: taking turns, each sector is erased a few times per update.
const JOURNAL_PAGES: u8 = 4;

/// The partitions of a board: two slots, boot records and a journal, no factory image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    slot_bytes: u32,
}

impl Layout {
    /// Lays out a chip with two slots of at least `slot_bytes`.
    pub const fn new(slot_bytes: u32) -> Self {
        let slots = slot_bytes.div_ceil(SLOT_ALIGNMENT);
        Self { slot_bytes: slots.saturating_mul(SLOT_ALIGNMENT) }
    }

    /// Returns how many bytes an image may have.
    pub const fn slot_bytes(&self) -> u32 {
        self.slot_bytes
    }

    /// Returns how many sectors the chip needs.
    pub fn sectors(&self) -> usize {
        let journal = self.journal();
        usize::try_from((journal.offset + journal.bytes) / SECTOR_BYTES).unwrap_or(0)
    }

    /// Returns the partition a slot is in.
    pub fn partition_of(&self, slot: Slot) -> Option<Partition> {
        match slot {
            Slot::Ota(0) => {
                Some(Partition::new("ota_0", Kind::Ota(0), FIRST_SLOT_AT, self.slot_bytes))
            }
            Slot::Ota(1) => {
                let offset = FIRST_SLOT_AT.saturating_add(self.slot_bytes);
                Some(Partition::new("ota_1", Kind::Ota(1), offset, self.slot_bytes))
            }
            Slot::Factory | Slot::Ota(_) => None,
        }
    }

    pub(super) fn journal(self) -> Partition {
        let offset = FIRST_SLOT_AT.saturating_add(self.slot_bytes.saturating_mul(2));
        let bytes = u32::from(JOURNAL_PAGES) * SECTOR_BYTES;
        Partition::new("waxwing", JOURNAL, offset, bytes)
    }

    pub(super) fn otadata() -> Partition {
        Partition::new("otadata", Kind::OtaData, OTADATA_AT, 2 * SECTOR_BYTES)
    }

    /// Writes the partition table and the image a device is born with.
    ///
    /// # Errors
    ///
    /// When the slots do not fit into a 32-bit address, or the image into its slot.
    pub fn manufacture(&self, flash: &mut Flash, image: &[u8]) -> Result<(), LayoutError> {
        if image.len() > usize::try_from(self.slot_bytes).unwrap_or(usize::MAX) {
            return Err(LayoutError::ImageTooLarge);
        }
        let nvs = Partition::new("nvs", Kind::Nvs, NVS_AT, NVS_BYTES);
        let slots = [0, 1].map(|slot| self.partition_of(Slot::Ota(slot)));
        let partitions: Vec<Partition> = [Some(nvs), Some(Self::otadata())]
            .into_iter()
            .chain(slots)
            .chain([Some(self.journal())])
            .flatten()
            .collect();
        let table = partition::write(&partitions).map_err(LayoutError::Table)?;
        flash.burn(TABLE_AT, &table).map_err(LayoutError::Flash)?;
        flash.burn(FIRST_SLOT_AT, image).map_err(LayoutError::Flash)
    }
}

/// A device cannot be made like that.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LayoutError {
    /// Flash cannot be written.
    #[error("flash cannot be written")]
    Flash(#[source] FlashFault),
    /// The image is larger than a slot.
    #[error("image does not fit into its slot")]
    ImageTooLarge,
    /// The slots are too large.
    #[error("slots do not fit into flash")]
    Table(#[source] TableError),
}
