//! A stand-in for a device with ESP-IDF: flash, `esp_ota_ops.c` as esp-ota calls it, and faults on
//! command.

use std::cell::RefCell;
use std::rc::Rc;

use waxwing_agent::ports::ResetReason;
use waxwing_agent_esp_idf::{Board, Completed, Ota, OtaError, Update};
use waxwing_esp_image::Flash;
use waxwing_esp_image::model::{BootLoader, Rollback};
use waxwing_esp_image::otadata::{Entry, Layout, OtaData, Sector, Slot, State, Write};
use waxwing_esp_image::partition::{self, Kind, Partition, TABLE_AT};
use waxwing_esp_image::{App, Chip, SECTOR_BYTES};

pub(crate) const CHIP: Chip = Chip::Esp32c3;
pub(crate) const SLOT_BYTES: u32 = 0x1_0000;
const OTADATA_AT: u32 = 0xd000;

/// What a driver says when it fails on command.
pub(crate) const FAULT: i32 = 0x6001;

/// A device with two slots; clones are the same device.
#[derive(Clone, Debug)]
pub(crate) struct Device(Rc<RefCell<State_>>);

#[derive(Debug)]
struct State_ {
    flash: Vec<u8>,
    running: Slot,
    restarted: bool,
    /// Lets the next call to esp-ota fail.
    ota_fault: Option<OtaError>,
    /// Lets every access to flash by the board fail.
    board_fault: bool,
    /// Lets esp-ota report success without doing anything.
    lies: bool,
}

impl Device {
    /// Starts from `ota_0`, as after manufacturing.
    pub(crate) fn new(image: &[u8]) -> Self {
        let flash = vec![0xff; (0x1_0000 + 2 * SLOT_BYTES) as usize];
        let state = State_ {
            flash,
            running: Slot::Ota(0),
            restarted: false,
            ota_fault: None,
            board_fault: false,
            lies: false,
        };
        let mut device = Self(Rc::new(RefCell::new(state)));
        let table = partition::write(&[
            Partition::new("otadata", Kind::OtaData, OTADATA_AT, 2 * SECTOR_BYTES),
            Partition::new("ota_0", Kind::Ota(0), slot_at(Slot::Ota(0)), SLOT_BYTES),
            Partition::new("ota_1", Kind::Ota(1), slot_at(Slot::Ota(1)), SLOT_BYTES),
        ]);
        device.put(TABLE_AT, &table.unwrap());
        device.put(slot_at(Slot::Ota(0)), image);
        device.boot();
        device
    }

    /// Resets; returns what runs.
    pub(crate) fn boot(&mut self) -> Slot {
        self.0.borrow_mut().restarted = false;
        let boot = BootLoader { chip: CHIP, rollback: Rollback::Enabled }.boot(self).unwrap();
        self.0.borrow_mut().running = boot.slot;
        boot.slot
    }

    pub(crate) fn put(&mut self, at: u32, bytes: &[u8]) {
        self.0.borrow_mut().flash[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn put_image(&mut self, slot: Slot, image: &[u8]) {
        self.put(slot_at(slot), image);
    }

    pub(crate) fn put_record(&mut self, sector: Sector, bytes: &[u8; 32]) {
        self.put(OTADATA_AT + sector.offset(), bytes);
    }

    pub(crate) fn slot(&self, slot: Slot) -> Vec<u8> {
        self.0.borrow().flash[slot_at(slot) as usize..][..SLOT_BYTES as usize].to_vec()
    }

    pub(crate) fn records(&self) -> OtaData {
        let [first, second] = Sector::BOTH.map(|sector| self.record(sector));
        OtaData::read(&first, &second, self.layout())
    }

    pub(crate) fn is_restarted(&self) -> bool {
        self.0.borrow().restarted
    }

    pub(crate) fn fail_ota(&self, error: OtaError) {
        self.0.borrow_mut().ota_fault = Some(error);
    }

    pub(crate) fn fail_board(&self) {
        self.0.borrow_mut().board_fault = true;
    }

    pub(crate) fn lie(&self) {
        self.0.borrow_mut().lies = true;
    }

    fn record(&self, sector: Sector) -> [u8; 32] {
        let at = (OTADATA_AT + sector.offset()) as usize;
        self.0.borrow().flash[at..at + 32].try_into().unwrap()
    }

    /// Returns the fault to fail with, once.
    fn ota_fault(&self) -> Result<(), OtaError> {
        self.0.borrow_mut().ota_fault.take().map_or(Ok(()), Err)
    }

    fn board_fault(&self) -> Result<(), i32> {
        if self.0.borrow().board_fault { Err(FAULT) } else { Ok(()) }
    }

    fn next_slot(&self) -> Slot {
        match self.running() {
            Slot::Ota(0) => Slot::Ota(1),
            Slot::Ota(_) | Slot::Factory => Slot::Ota(0),
        }
    }

    fn store(&mut self, sector: Sector, seq: u32, state: u32) {
        if self.0.borrow().lies {
            return;
        }
        let at = OTADATA_AT + sector.offset();
        self.erase_sector(at).unwrap();
        Flash::write(self, at, &record(seq, state)).unwrap();
    }
}

impl Board for Device {
    fn running(&self) -> Slot {
        self.0.borrow().running
    }

    fn layout(&self) -> Layout {
        Layout::new(2, false).unwrap()
    }

    fn slot_bytes(&self) -> u32 {
        SLOT_BYTES
    }

    fn reset_reason(&self) -> ResetReason {
        ResetReason::Requested
    }

    fn secure_version(&self) -> u32 {
        0
    }

    fn read_slot(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), i32> {
        self.board_fault()?;
        Flash::read(self, slot_at(self.next_slot()) + offset, bytes).map_err(|()| FAULT)
    }

    fn read_record(&mut self, sector: Sector) -> Result<[u8; 32], i32> {
        self.board_fault()?;
        Ok(self.record(sector))
    }

    fn write_record(&mut self, write: &Write) -> Result<(), i32> {
        self.board_fault()?;
        let at = OTADATA_AT + write.sector.offset();
        self.erase_sector(at).unwrap();
        Flash::write(self, at, &write.bytes).map_err(|()| FAULT)
    }

    fn restart(&mut self) {
        self.0.borrow_mut().restarted = true;
    }
}

impl Ota for Device {
    type Update = Writing;

    fn begin(&mut self) -> Result<Writing, OtaError> {
        self.ota_fault()?;
        let state = self.records().record_of(self.running()).map(|record| record.state);
        if state == Some(State::PendingVerify) {
            return Err(OtaError::OnTrial);
        }
        let slot = self.next_slot();
        for sector in 0..SLOT_BYTES / SECTOR_BYTES {
            self.erase_sector(slot_at(slot) + sector * SECTOR_BYTES).unwrap();
        }
        Ok(Writing { device: self.clone(), slot, written: 0 })
    }

    /// `esp_ota_current_ota_is_workable(true)`.
    fn mark_app_valid(&mut self) {
        let records = self.records();
        let active = records.active().expect("esp-ota panics: running firmware is factory");
        self.store(active, records.entry(active).seq, VALID);
    }

    /// `esp_ota_current_ota_is_workable(false)`.
    fn rollback_and_reboot(&mut self) -> Result<(), OtaError> {
        self.ota_fault()?;
        let records = self.records();
        let active = records.active().ok_or(OtaError::Unknown)?;
        if !records.entry(active.other()).is_bootable() {
            return Err(OtaError::NoFallback);
        }
        self.store(active, records.entry(active).seq, INVALID);
        self.restart();
        Ok(())
    }
}

/// `esp_ota::OtaUpdate`.
#[derive(Debug)]
pub(crate) struct Writing {
    device: Device,
    slot: Slot,
    written: u32,
}

impl Update for Writing {
    type Completed = Written;

    fn write(&mut self, bytes: &[u8]) -> Result<(), OtaError> {
        self.device.ota_fault()?;
        if self.written == 0 && bytes.first() != Some(&0xe9) {
            return Err(OtaError::ImageRefused);
        }
        Flash::write(&mut self.device, slot_at(self.slot) + self.written, bytes).unwrap();
        self.written += bytes.len() as u32;
        Ok(())
    }

    fn finalize(self) -> Result<Written, OtaError> {
        self.device.ota_fault()?;
        if self.written == 0 || App::parse(&self.device.slot(self.slot)).is_err() {
            return Err(OtaError::ImageRefused);
        }
        Ok(Written { device: self.device, slot: self.slot })
    }
}

/// `esp_ota::CompletedOtaUpdate`.
#[derive(Debug)]
pub(crate) struct Written {
    device: Device,
    slot: Slot,
}

impl Completed for Written {
    /// `esp_rewrite_ota_data`: spares the record with the highest number, whatever runs.
    fn set_as_boot_partition(&mut self) -> Result<(), OtaError> {
        self.device.ota_fault()?;
        let Slot::Ota(slot) = self.slot else { return Err(OtaError::NoSlot) };
        let wanted = (u32::from(slot) + 1) % 2;
        let records = self.device.records();
        let Some(active) = records.active() else {
            self.device.store(Sector::First, u32::from(slot) + 1, NEW);
            return Ok(());
        };
        let current = records.entry(active).seq;
        let seq = (current..current + 2).find(|seq| seq % 2 == wanted).unwrap();
        self.device.store(active.other(), seq, NEW);
        Ok(())
    }
}

impl Flash for Device {
    type Error = ();

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ()> {
        bytes.copy_from_slice(&self.0.borrow().flash[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), ()> {
        let mut state = self.0.borrow_mut();
        state.flash[offset as usize..][..SECTOR_BYTES as usize].fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ()> {
        let mut state = self.0.borrow_mut();
        for (cell, byte) in state.flash[offset as usize..].iter_mut().zip(bytes) {
            *cell &= byte;
        }
        Ok(())
    }
}

pub(crate) const NEW: u32 = 0;
pub(crate) const PENDING: u32 = 1;
pub(crate) const VALID: u32 = 2;
pub(crate) const INVALID: u32 = 3;

/// Encodes a record for one of the first sequence numbers, as ESP-IDF writes them.
pub(crate) fn record(seq: u32, state: u32) -> [u8; 32] {
    let mut crc = 0;
    for byte in seq.to_le_bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut bytes = [0xff; 32];
    bytes[..4].copy_from_slice(&seq.to_le_bytes());
    bytes[24..28].copy_from_slice(&state.to_le_bytes());
    bytes[28..].copy_from_slice(&(!crc).to_le_bytes());
    assert!(Entry::read(&bytes).is_intact());
    bytes
}

fn slot_at(slot: Slot) -> u32 {
    match slot {
        Slot::Factory => panic!("no factory partition"),
        Slot::Ota(slot) => 0x1_0000 + SLOT_BYTES * u32::from(slot),
    }
}
