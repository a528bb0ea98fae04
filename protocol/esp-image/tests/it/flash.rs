//! Flash in memory that obeys the rules of NOR and loses power on command.

use waxwing_esp_image::Flash;
use waxwing_esp_image::SECTOR_BYTES;
use waxwing_esp_image::model::{BootError, BootLoader, Rollback};
use waxwing_esp_image::otadata::{Layout, OtaData, Sector, Slot, Write};
use waxwing_esp_image::partition::{self, Kind, Partition, TABLE_AT};
use waxwing_esp_image::write::AppBuilder;

use crate::CHIP;

const OTADATA_AT: u32 = 0xd000;
const FACTORY_AT: u32 = 0x1_0000;
const SLOT_BYTES: u32 = 0x1_0000;

/// The power went out in the middle of an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PowerCut;

/// A device with small slots and a good image in each of them.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    bytes: Vec<u8>,
    layout: Layout,
    /// Steps until the power goes out: an erased half of a sector, or a programmed word.
    steps_left: Option<u32>,
}

impl Device {
    pub(crate) fn new(layout: Layout) -> Self {
        let slots = u32::from(layout.ota_slots());
        let end = FACTORY_AT + SLOT_BYTES * (slots + 1);
        let mut device = Self { bytes: vec![0xff; end as usize], layout, steps_left: None };
        device.put(TABLE_AT, &partition::write(&partitions(layout)).unwrap());
        for slot in (0..layout.ota_slots()).map(Slot::Ota).chain([Slot::Factory]) {
            if slot != Slot::Factory || layout.has_factory() {
                device.put(slot_at(slot), &image(slot));
            }
        }
        device
    }

    /// Overwrites both records.
    pub(crate) fn with_otadata(mut self, first: [u8; 32], second: [u8; 32]) -> Self {
        self.put(OTADATA_AT, &first);
        self.put(OTADATA_AT + SECTOR_BYTES, &second);
        self
    }

    /// Damages the image in a slot.
    pub(crate) fn with_damaged(mut self, slot: Slot) -> Self {
        self.bytes[slot_at(slot) as usize + 300] ^= 1;
        self
    }

    /// Lets the power go out after so many steps.
    pub(crate) fn with_power_for(mut self, steps: u32) -> Self {
        self.steps_left = Some(steps);
        self
    }

    pub(crate) fn with_power(mut self) -> Self {
        self.steps_left = None;
        self
    }

    pub(crate) fn put(&mut self, at: u32, bytes: &[u8]) {
        self.bytes[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn slot_mut(&mut self, slot: Slot) -> &mut [u8] {
        &mut self.bytes[slot_at(slot) as usize..][..SLOT_BYTES as usize]
    }

    pub(crate) fn records(&self) -> [[u8; 32]; 2] {
        Sector::BOTH.map(|sector| {
            let at = (OTADATA_AT + sector.offset()) as usize;
            self.bytes[at..at + 32].try_into().unwrap()
        })
    }

    pub(crate) fn otadata(&self) -> OtaData {
        let [first, second] = self.records();
        OtaData::read(&first, &second, self.layout)
    }

    /// Resets; returns the slot that runs.
    pub(crate) fn boot(&mut self, rollback: Rollback) -> Result<Slot, BootError<PowerCut>> {
        let boot = BootLoader { chip: CHIP, rollback }.boot(self)?;
        // Each image says which slot it was made for.
        assert_eq!(
            boot.app.descriptor.unwrap().version.as_str(),
            Some(&*format!("{:?}", boot.slot))
        );
        Ok(boot.slot)
    }

    /// Carries out what the codec planned.
    pub(crate) fn apply(&mut self, write: &Write) -> Result<(), PowerCut> {
        let at = OTADATA_AT + write.sector.offset();
        self.erase_sector(at)?;
        self.write(at, &write.bytes)
    }

    fn step(&mut self) -> Result<(), PowerCut> {
        match &mut self.steps_left {
            Some(0) => Err(PowerCut),
            Some(steps) => {
                *steps -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Flash for Device {
    type Error = PowerCut;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), PowerCut> {
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), PowerCut> {
        assert!(offset.is_multiple_of(SECTOR_BYTES));
        let sector = offset as usize..(offset + SECTOR_BYTES) as usize;
        self.step()?;
        // A cut during an erase leaves bits anywhere between what they were and one.
        for byte in &mut self.bytes[sector.clone()] {
            *byte |= 0x5a;
        }
        self.step()?;
        self.bytes[sector].fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), PowerCut> {
        for (index, word) in bytes.chunks(4).enumerate() {
            self.step()?;
            let at = offset as usize + 4 * index;
            for (cell, byte) in self.bytes[at..].iter_mut().zip(word) {
                *cell &= byte;
            }
        }
        Ok(())
    }
}

fn partitions(layout: Layout) -> Vec<Partition> {
    let mut partitions = vec![Partition::new("otadata", Kind::OtaData, OTADATA_AT, 0x2000)];
    if layout.has_factory() {
        partitions.push(Partition::new("factory", Kind::Factory, FACTORY_AT, SLOT_BYTES));
    }
    partitions.extend(
        (0..layout.ota_slots()).map(|slot| {
            Partition::new("ota", Kind::Ota(slot), slot_at(Slot::Ota(slot)), SLOT_BYTES)
        }),
    );
    partitions
}

fn slot_at(slot: Slot) -> u32 {
    match slot {
        Slot::Factory => FACTORY_AT,
        Slot::Ota(slot) => FACTORY_AT + SLOT_BYTES * (u32::from(slot) + 1),
    }
}

fn image(slot: Slot) -> Vec<u8> {
    AppBuilder::new(CHIP).version(&format!("{slot:?}")).build().unwrap()
}
