//! The otadata partition: two records, one per sector, that say which slot boots.
//!
//! Reading is as lenient as the boot loader: a blank, torn or foreign record is a fact, not an
//! error. Writing never needs more than erasing one sector and programming 32 bytes in one go.
//!
//! A record's checksum covers its sequence number only, so the state word can tear unnoticed.
//! `seq - 1` modulo the number of slots is the slot; the bootable record with the higher number
//! wins. Boot loader with rollback:
//!
//! ```text
//!  activate ─▶ NEW ──boot──▶ PENDING_VERIFY ──confirm──▶ VALID
//!                                 │    └─────reject────▶ INVALID
//!                                 └──any other reset───▶ ABORTED
//! ```
//!
//! Without rollback the boot loader leaves NEW as it is. Source: ESP-IDF `bootloader_utility.c`,
//! `bootloader_common_loader.c`, `esp_ota_ops.c`.

mod change;
mod crc;

use core::num::NonZeroU8;

pub use self::change::{Refused, Write};
use crate::SECTOR_BYTES;
use crate::bytes::{field, set_field, u32_at};

/// Bytes of a sector that are used.
pub const ENTRY_BYTES: usize = 32;

/// Highest usable sequence number: all ones is erased flash.
const SEQ_MAX: u32 = u32::MAX - 1;

/// Most OTA slots a partition table can have.
pub const OTA_SLOTS_MAX: u8 = 16;

/// Both records, on a device with a certain layout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OtaData {
    first: Entry,
    second: Entry,
    layout: Layout,
}

impl OtaData {
    /// Decodes the beginnings of both sectors.
    pub fn read(first: &[u8; ENTRY_BYTES], second: &[u8; ENTRY_BYTES], layout: Layout) -> Self {
        Self { first: Entry::read(first), second: Entry::read(second), layout }
    }

    /// Returns the layout it was read with.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns the record in this sector.
    pub const fn entry(&self, sector: Sector) -> &Entry {
        match sector {
            Sector::First => &self.first,
            Sector::Second => &self.second,
        }
    }

    /// Returns the sector that decides which slot boots; `None` when no record does.
    pub fn active(&self) -> Option<Sector> {
        match (self.first.is_bootable(), self.second.is_bootable()) {
            (true, true) if self.second.seq > self.first.seq => Some(Sector::Second),
            (true, _) => Some(Sector::First),
            (false, true) => Some(Sector::Second),
            (false, false) => None,
        }
    }

    /// Returns the slot the boot loader tries first, before it looks at the image in it.
    ///
    /// With no bootable record that is the factory image, or `ota_0` where there is none.
    pub fn selected(&self) -> Slot {
        match self.active() {
            Some(sector) => Slot::Ota(self.layout.slot_of(self.entry(sector).seq)),
            None if self.layout.factory => Slot::Factory,
            None => Slot::Ota(0),
        }
    }

    /// Returns the record that names this slot, whatever its state. Of two, the one that the boot
    /// loader would follow, for changes are planned by that one; else the newer one. `None` when there
    /// is none or it is torn.
    pub fn record_of(&self, slot: Slot) -> Option<&Entry> {
        let sector = self.sector_naming(slot, Entry::is_bootable);
        let sector = sector.or_else(|| self.sector_naming(slot, Entry::is_intact));
        sector.map(|sector| self.entry(sector))
    }

    /// Returns the sector whose record names the slot and is `good`, the newest if both do.
    fn sector_naming(&self, slot: Slot, good: impl Fn(&Entry) -> bool) -> Option<Sector> {
        let newest_first = if self.second.seq > self.first.seq {
            Sector::BOTH.map(Sector::other)
        } else {
            Sector::BOTH
        };
        newest_first.into_iter().find(|sector| {
            let entry = self.entry(*sector);
            good(entry) && Slot::Ota(self.layout.slot_of(entry.seq)) == slot
        })
    }
}

/// A place an image can boot from.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Slot {
    /// The `factory` partition.
    Factory,
    /// `ota_0` to `ota_15`.
    Ota(u8),
}

/// What the partition table has for booting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    ota_slots: NonZeroU8,
    factory: bool,
}

impl Layout {
    /// Describes a table with 1 to 16 OTA slots; `None` for any other number.
    pub fn new(ota_slots: u8, factory: bool) -> Option<Self> {
        let ota_slots = NonZeroU8::new(ota_slots).filter(|slots| slots.get() <= OTA_SLOTS_MAX)?;
        Some(Self { ota_slots, factory })
    }

    /// Returns the number of OTA slots.
    pub const fn ota_slots(self) -> u8 {
        self.ota_slots.get()
    }

    /// Reports whether there is a factory partition.
    pub const fn has_factory(self) -> bool {
        self.factory
    }

    /// Returns the slot that a sequence number names.
    fn slot_of(self, seq: u32) -> u8 {
        let slot = seq.wrapping_sub(1) % u32::from(self.ota_slots.get());
        u8::try_from(slot).unwrap_or(0)
    }

    /// Returns the smallest usable sequence number above `seq` that names `slot`.
    fn next_seq(self, seq: u32, slot: u8) -> Option<u32> {
        let slots = u32::from(self.ota_slots.get());
        let steps = (u32::from(slot) + slots - seq % slots) % slots;
        seq.checked_add(1)?.checked_add(steps).filter(|next| *next <= SEQ_MAX)
    }
}

/// One of the two sectors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sector {
    /// At the beginning of the partition.
    First,
    /// Behind the first.
    Second,
}

impl Sector {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::First, Self::Second];

    /// Returns the offset in the otadata partition, in bytes.
    pub const fn offset(self) -> u32 {
        match self {
            Self::First => 0,
            Self::Second => SECTOR_BYTES,
        }
    }

    /// Returns the other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// A record as it lies in flash, good or not (`esp_ota_select_entry_t`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Sequence number.
    pub seq: u32,
    /// What is known about the image.
    pub state: State,
    label: [u8; 20],
    crc: u32,
}

impl Entry {
    /// Makes a good record.
    fn new(seq: u32, state: State) -> Self {
        Self { seq, state, label: [0xff; 20], crc: crc::of_seq(seq) }
    }

    /// Decodes a record, whatever it holds.
    pub fn read(bytes: &[u8; ENTRY_BYTES]) -> Self {
        Self {
            seq: u32_at::<0, _>(bytes),
            label: field::<4, 20, _>(bytes),
            state: State::from_word(u32_at::<24, _>(bytes)),
            crc: u32_at::<28, _>(bytes),
        }
    }

    /// Encodes the record.
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        set_field::<0, 4, _>(&mut bytes, self.seq.to_le_bytes());
        set_field::<4, 20, _>(&mut bytes, self.label);
        set_field::<24, 4, _>(&mut bytes, self.state.word().to_le_bytes());
        set_field::<28, 4, _>(&mut bytes, self.crc.to_le_bytes());
        bytes
    }

    /// Reports whether the record is neither blank nor torn. Its state may be torn all the same.
    pub fn is_intact(&self) -> bool {
        self.seq != u32::MAX && self.crc == crc::of_seq(self.seq)
    }

    /// Reports whether the boot loader would follow the record.
    pub fn is_bootable(&self) -> bool {
        self.is_intact() && !matches!(self.state, State::Invalid | State::Aborted)
    }

    /// Reports whether the boot loader would follow the record at every boot from now on: it is
    /// bootable and no trial hangs on it.
    fn is_settled(&self) -> bool {
        self.is_bootable() && !self.state.is_on_trial()
    }

    const fn with_state(self, state: State) -> Self {
        Self { state, ..self }
    }
}

/// What is known about the image of a record (`esp_ota_img_states_t`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Activated, never booted; or booted by a boot loader without rollback.
    New,
    /// Booted on trial.
    PendingVerify,
    /// Confirmed.
    Valid,
    /// Rejected by the application.
    Invalid,
    /// Reset during the trial.
    Aborted,
    /// Any other value, such as all ones: the boot loader takes it as bootable without a trial.
    Undefined(u32),
}

impl State {
    const fn from_word(word: u32) -> Self {
        match word {
            0 => Self::New,
            1 => Self::PendingVerify,
            2 => Self::Valid,
            3 => Self::Invalid,
            4 => Self::Aborted,
            other => Self::Undefined(other),
        }
    }

    const fn word(self) -> u32 {
        match self {
            Self::New => 0,
            Self::PendingVerify => 1,
            Self::Valid => 2,
            Self::Invalid => 3,
            Self::Aborted => 4,
            Self::Undefined(other) => other,
        }
    }

    const fn is_on_trial(self) -> bool {
        matches!(self, Self::New | Self::PendingVerify)
    }
}
