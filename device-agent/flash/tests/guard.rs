//! An image that never gets as far as its agent is taken back by the guard alone, on a boot loader
//! that takes nothing back.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "test code")]

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use waxwing_agent::boot::{Verdict, decide};
use waxwing_agent::guard::{give_up_trial, guard};
use waxwing_agent::journal::{Deployment, Pages, Phase, Record, Slots, Update};
use waxwing_agent::policy::Policy;
use waxwing_agent::ports::{BootControl as _, FlashError, Journal, ResetReason, Slot};
use waxwing_agent_flash::layout::{CREDENTIALS, JOURNAL, STATE};
use waxwing_agent_flash::start::{self, NotBegun};
use waxwing_agent_flash::{
    BootPort, JournalPort, Layout, LayoutError, Region, Restart, Started, layout,
};
use waxwing_esp_image::model::{BootLoader, Rollback};
use waxwing_esp_image::partition::{self, Kind, TABLE_AT, TABLE_BYTES, Table};
use waxwing_esp_image::write::AppBuilder;
use waxwing_esp_image::{Chip, Flash, SECTOR_BYTES};
use waxwing_wire::{Digest, ErrorCode, RolloutId};

/// A chip in memory, as two kinds of users see it.
#[derive(Clone)]
struct Cells(Rc<RefCell<Vec<u8>>>);

#[derive(Clone)]
struct BootLoaderView(Cells);

impl Cells {
    fn at(&self, offset: u32, bytes: usize) -> std::cell::RefMut<'_, [u8]> {
        let at = usize::try_from(offset).unwrap();
        std::cell::RefMut::map(self.0.borrow_mut(), |all| &mut all[at..at + bytes])
    }
}

impl Flash for Cells {
    type Error = FlashError;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        bytes.copy_from_slice(&self.at(offset, bytes.len()));
        Ok(())
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError> {
        self.at(offset, usize::try_from(SECTOR_BYTES).unwrap()).fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.at(offset, bytes.len()).iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }
}

impl Flash for BootLoaderView {
    type Error = Infallible;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.read(offset, bytes).unwrap();
        Ok(())
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), Infallible> {
        self.0.erase_sector(offset).unwrap();
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        self.0.write(offset, bytes).unwrap();
        Ok(())
    }
}

/// Counts restarts.
#[derive(Clone, Default)]
struct Restarts(Rc<RefCell<u32>>);

impl Restart for Restarts {
    fn restart(&mut self) {
        *self.0.borrow_mut() += 1;
    }
}

const SLOTS: Slots = Slots { new: Slot::Ota(1), old: Slot::Ota(0), old_sha256: Digest([1; 32]) };

struct Device {
    cells: Cells,
    layout: Layout,
    restarts: Restarts,
}

impl Device {
    fn new() -> Self {
        let cells = Cells(Rc::new(RefCell::new(vec![0xff; 4 << 20])));
        let table = partition::write(&layout::standard_4mb()).unwrap();
        cells.at(TABLE_AT, table.len()).copy_from_slice(&table);
        let layout = Layout::of(Table::parse(&table).unwrap(), None).unwrap();
        let image = AppBuilder::new(Chip::Esp32c3).code([0; 64]).build().unwrap();
        for slot in [Slot::Ota(0), Slot::Ota(1)] {
            let at = layout.image(slot).unwrap().offset;
            cells.at(at, image.len()).copy_from_slice(&image);
        }
        Self { cells, layout, restarts: Restarts::default() }
    }

    /// What the boot loader starts.
    fn boots(&self) -> Slot {
        let boot_loader = BootLoader { chip: Chip::Esp32c3, rollback: Rollback::Disabled };
        boot_loader.boot(&mut BootLoaderView(self.cells.clone())).unwrap().slot
    }

    fn boot_port(&self, running: Slot, reset: ResetReason) -> BootPort<Cells, Restarts> {
        let otadata = Region::new(self.cells.clone(), self.layout.otadata());
        let started = Started { running, reset, secure_version: 0 };
        BootPort::new(otadata, self.layout.slots(), started, self.restarts.clone())
    }

    fn journal(&self) -> JournalPort<Cells> {
        JournalPort::new(Region::new(self.cells.clone(), self.layout.journal()))
    }

    fn record(&self) -> Record {
        Pages::open(self.journal()).1
    }

    fn phase(&self) -> Phase {
        self.record().update.unwrap().phase
    }

    /// Puts an update into the journal and starts its image.
    fn with_update(phase: Phase) -> Self {
        let device = Self::new();
        assert_eq!(device.boots(), Slot::Ota(0));
        let mut boot = device.boot_port(Slot::Ota(0), ResetReason::PowerOn);
        boot.activate(Slot::Ota(1), &Digest([2; 32])).unwrap();
        let deployment = Deployment {
            rollout: RolloutId::parse("r-1").unwrap(),
            release: "1.1.0".parse().unwrap(),
            sha256: Digest([2; 32]),
            length: 4096,
            security_version: 1,
            secure_version: 0,
            soak_s: 60,
        };
        let update = Update { phase, ..Update::new(deployment) };
        let record = Record { update: Some(update), ..Record::default() };
        Pages::open(device.journal()).0.save(&record).unwrap();
        device
    }

    /// One boot of an image that crashes right behind the guard; true when the guard let it start.
    fn boot_and_crash(&self, reset: ResetReason) -> bool {
        let mut boot = self.boot_port(self.boots(), reset);
        guard(&mut boot, self.journal(), &Policy::DEVICE).is_some()
    }
}

#[test]
fn an_image_that_crashes_behind_the_guard_is_taken_back_after_two_starts() {
    let device = Device::with_update(Phase::Activating(SLOTS));
    assert_eq!(device.boots(), Slot::Ota(1));
    assert!(device.boot_and_crash(ResetReason::Requested));
    assert!(device.boot_and_crash(ResetReason::Crash));
    assert!(!device.boot_and_crash(ResetReason::Crash), "started a third time");
    assert_eq!(*device.restarts.0.borrow(), 1);
    assert_eq!(device.boots(), Slot::Ota(0));
    let code = ErrorCode::BOOT_RESET;
    assert_eq!(device.phase(), Phase::Rejecting { slots: SLOTS, code });
}

#[test]
fn an_image_whose_agent_never_starts_is_taken_back_and_a_confirmed_one_is_not() {
    let device = Device::with_update(Phase::Activating(SLOTS));
    let running = device.boots();
    assert_eq!(running, Slot::Ota(1));
    let mut boot = device.boot_port(running, ResetReason::Requested);
    guard(&mut boot, device.journal(), &Policy::DEVICE).unwrap();
    assert!(give_up_trial(&mut boot));
    assert_eq!(*device.restarts.0.borrow(), 1);
    assert_eq!(device.boots(), Slot::Ota(0));
    // The image before has nothing to prove, and reads what became of the other.
    let mut boot = device.boot_port(Slot::Ota(0), ResetReason::Requested);
    assert!(!give_up_trial(&mut boot));
    let view = boot.view().unwrap();
    let code = ErrorCode::BOOT_RESET;
    let verdict = decide(device.record().update.as_ref(), &view, &Policy::DEVICE);
    assert_eq!(verdict, Verdict::RolledBack(code));

    let device = Device::with_update(Phase::Confirming(SLOTS));
    let mut boot = device.boot_port(device.boots(), ResetReason::Requested);
    boot.confirm().unwrap();
    assert!(!give_up_trial(&mut boot));
    assert_eq!((*device.restarts.0.borrow(), device.boots()), (0, Slot::Ota(1)));
}

/// A table with which no agent runs: by mistake the new image knows another one, or it was damaged.
fn table_without(kind: Kind) -> [u8; TABLE_BYTES] {
    let left: Vec<_> = layout::standard_4mb().into_iter().filter(|it| it.kind != kind).collect();
    partition::write(&left).unwrap()
}

fn begins(device: &Device, table: &[u8]) -> Result<(), NotBegun> {
    let mut boot = device.boot_port(device.boots(), ResetReason::Requested);
    let table = Table::parse(table).unwrap();
    start::begin(&device.cells, table, None, &mut boot, &Policy::DEVICE).map(drop)
}

#[test]
fn an_image_whose_table_has_no_room_for_an_agent_is_counted_and_given_up_at_once() {
    for (kind, lacks, verdict) in [
        (STATE, LayoutError::NoState, Verdict::RolledBack(ErrorCode::BOOT_RESET)),
        (CREDENTIALS, LayoutError::NoCredentials, Verdict::RolledBack(ErrorCode::BOOT_RESET)),
        // Nothing can be counted, but what is activated again is counted by who does it.
        (JOURNAL, LayoutError::NoJournal, Verdict::ActivateAgain),
    ] {
        let device = Device::with_update(Phase::Activating(SLOTS));
        assert_eq!(device.boots(), Slot::Ota(1));
        assert_eq!(begins(&device, &table_without(kind)), Err(NotBegun::Layout(lacks)));
        assert_eq!((*device.restarts.0.borrow(), device.boots()), (1, Slot::Ota(0)), "{lacks}");
        let view = device.boot_port(Slot::Ota(0), ResetReason::Requested).view().unwrap();
        let found = decide(device.record().update.as_ref(), &view, &Policy::DEVICE);
        assert_eq!(found, verdict, "{lacks}");
    }
}

#[test]
fn a_device_whose_table_has_no_room_for_an_agent_runs_on_and_one_that_has_begins() {
    let device = Device::new();
    let without = begins(&device, &table_without(STATE));
    assert_eq!(without, Err(NotBegun::Layout(LayoutError::NoState)));
    assert_eq!(*device.restarts.0.borrow(), 0);
    let with = partition::write(&layout::standard_4mb()).unwrap();
    assert_eq!(begins(&device, &with), Ok(()));
    let device = Device::with_update(Phase::Trial { slots: SLOTS, boots: 2 });
    assert_eq!(begins(&device, &with), Err(NotBegun::Restarting));
}

#[test]
fn an_only_image_is_not_given_up() {
    let device = Device::new();
    let mut boot = device.boot_port(device.boots(), ResetReason::PowerOn);
    assert!(!give_up_trial(&mut boot));
    assert_eq!(device.boots(), Slot::Ota(0));
}

#[test]
fn a_confirmed_image_that_begins_to_crash_is_left_after_three_resets() {
    let device = Device::with_update(Phase::Confirming(SLOTS));
    device.boot_port(Slot::Ota(1), ResetReason::Requested).confirm().unwrap();
    let soaking = |resets| Phase::Soaking { slots: SLOTS, resets, soaked_s: 0 };
    let mut record = device.record();
    record.update.as_mut().unwrap().phase = soaking(0);
    Pages::open(device.journal()).0.save(&record).unwrap();
    assert!(device.boot_and_crash(ResetReason::Watchdog));
    assert!(device.boot_and_crash(ResetReason::Crash));
    assert_eq!(device.phase(), soaking(2));
    assert!(!device.boot_and_crash(ResetReason::Crash));
    assert_eq!(device.boots(), Slot::Ota(0));
}

/// A journal that can be read.
struct ReadOnly(JournalPort<Cells>);

impl Journal for ReadOnly {
    fn pages(&self) -> u8 {
        self.0.pages()
    }

    fn read_page(&mut self, page: u8, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.0.read_page(page, bytes)
    }

    fn replace_page(&mut self, _page: u8, _bytes: &[u8]) -> Result<(), FlashError> {
        Err(FlashError::Device(1))
    }
}

#[test]
fn an_image_on_trial_whose_starts_cannot_be_counted_is_taken_back() {
    let too_often = Phase::Trial { slots: SLOTS, boots: 9 };
    for phase in [Phase::Activating(SLOTS), Phase::Trial { slots: SLOTS, boots: 1 }, too_often] {
        let device = Device::with_update(phase);
        let mut boot = device.boot_port(device.boots(), ResetReason::Crash);
        assert!(guard(&mut boot, ReadOnly(device.journal()), &Policy::DEVICE).is_none());
        assert_eq!(*device.restarts.0.borrow(), 1);
        assert_eq!(device.boots(), Slot::Ota(0));
    }
}

#[test]
fn an_image_that_stays_starts_even_if_its_starts_cannot_be_counted() {
    let phase = Phase::Soaking { slots: SLOTS, resets: 0, soaked_s: 0 };
    let device = Device::with_update(phase);
    device.boot_port(Slot::Ota(1), ResetReason::Requested).confirm().unwrap();
    let mut boot = device.boot_port(device.boots(), ResetReason::Crash);
    assert!(guard(&mut boot, ReadOnly(device.journal()), &Policy::DEVICE).is_some());
    assert_eq!(device.boots(), Slot::Ota(1));
}

#[test]
fn the_agent_behind_the_guard_reads_the_boot_as_the_guard_did() {
    let device = Device::with_update(Phase::Activating(SLOTS));
    let mut boot = device.boot_port(Slot::Ota(1), ResetReason::Requested);
    let guarded = guard(&mut boot, device.journal(), &Policy::DEVICE).unwrap();
    assert_eq!(device.phase(), Phase::Trial { slots: SLOTS, boots: 1 });
    let (mut pages, mut record) = Pages::open(guarded);
    assert_eq!(record.update.as_ref().unwrap().phase, Phase::Activating(SLOTS));
    // What the agent saves takes the place of what the guard wrote.
    record.security_version = 7;
    pages.save(&record).unwrap();
    assert_eq!(device.record(), record);
}

#[test]
fn a_device_without_an_update_starts_without_a_write() {
    let device = Device::new();
    // The boot loader writes a record of its own at the first boot.
    assert_eq!(device.boots(), Slot::Ota(0));
    let before = device.cells.0.borrow().clone();
    assert!(device.boot_and_crash(ResetReason::Crash));
    assert!(*device.cells.0.borrow() == before, "something was written");
    let mut torn = device.journal();
    torn.replace_page(0, &[0; 64]).unwrap();
    assert!(
        device.boot_and_crash(ResetReason::Crash),
        "a torn journal keeps a device from starting"
    );
}
