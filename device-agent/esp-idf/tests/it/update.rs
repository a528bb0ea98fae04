//! Updates through both ports.

use waxwing_agent::chunks::{ChunkList, Recall};
use waxwing_agent::journal::{Deployment, Phase, Record, Update};
use waxwing_agent::local::{ImageRules, Local, VersionRule};
use waxwing_agent::ports::{
    AppHooks, BootControl, BootError, Deferrals, FlashError, Health, Journal, Permission,
    SECTOR_BYTES, SelfTest, Slot, SlotFlash, SlotState,
};
use waxwing_agent_esp_idf::{BootPort, OtaError, SlotPort, code, ports};
use waxwing_esp_image::otadata::Sector;
use waxwing_esp_image::write::AppBuilder;
use waxwing_wire::Digest;

use crate::idf::{CHIP, Device, FAULT, INVALID, NEW, PENDING, SLOT_BYTES, VALID, record};

const OLD: Slot = Slot::Ota(0);
const NEW_SLOT: Slot = Slot::Ota(1);
/// The ports do not hash: the agent did.
const SHA256: Digest = Digest([0; 32]);
/// SHA-256 of 32 zeros.
const ZEROS_SHA256: Digest = Digest([
    0x66, 0x68, 0x7a, 0xad, 0xf8, 0x62, 0xbd, 0x77, 0x6c, 0x8f, 0xc1, 0x8b, 0x8e, 0x9f, 0x8e, 0x20,
    0x08, 0x97, 0x14, 0x85, 0x6e, 0xe2, 0x33, 0xb3, 0x90, 0x2a, 0x59, 0x1d, 0x0d, 0x5f, 0x29, 0x25,
]);

fn image(version: &str) -> Vec<u8> {
    AppBuilder::new(CHIP).version(version).rodata(vec![0x5a; 9000]).build().unwrap()
}

fn open(device: &Device) -> (SlotPort<Device, Device>, BootPort<Device, Device>) {
    ports(device.clone(), device.clone())
}

/// Writes as the agent does: a sector at a time.
fn store(slot: &mut SlotPort<Device, Device>, image: &[u8]) -> Result<(), FlashError> {
    for (index, sector) in image.chunks(SECTOR_BYTES as usize).enumerate() {
        let offset = index as u32 * SECTOR_BYTES;
        slot.erase_sector(offset)?;
        slot.write(offset, sector)?;
    }
    Ok(())
}

/// Brings a device to the first boot of a new image.
fn on_trial() -> Device {
    let mut device = Device::new(&image("1.0.0"));
    let (mut slot, mut boot) = open(&device);
    boot.protect().unwrap();
    store(&mut slot, &image("1.1.0")).unwrap();
    boot.activate(NEW_SLOT, &SHA256).unwrap();
    assert_eq!(device.boot(), NEW_SLOT);
    device
}

#[test]
fn an_update_is_written_verified_and_booted_on_trial() {
    let mut device = Device::new(&image("1.0.0"));
    let (mut slot, mut boot) = open(&device);
    let view = boot.view().unwrap();
    assert_eq!((view.running, view.running_state), (OLD, SlotState::Valid));
    assert_eq!((view.target, view.target_state), (NEW_SLOT, SlotState::Blank));

    let new = image("1.1.0");
    store(&mut slot, &new).unwrap();
    let mut read_back = vec![0; new.len()];
    slot.read(0, &mut read_back).unwrap();
    assert_eq!(read_back, new);
    boot.activate(NEW_SLOT, &SHA256).unwrap();
    assert_eq!(boot.view().unwrap().target_state, SlotState::New);
    boot.reboot();
    assert!(device.is_restarted());

    assert_eq!(device.boot(), NEW_SLOT);
    let view = open(&device).1.view().unwrap();
    assert_eq!((view.running, view.running_state), (NEW_SLOT, SlotState::PendingVerify));
    assert_eq!((view.target, view.target_state), (OLD, SlotState::Valid));
}

#[test]
fn a_confirmed_image_stays() {
    let mut device = on_trial();
    let (_, mut boot) = open(&device);
    boot.confirm().unwrap();
    assert_eq!(boot.view().unwrap().running_state, SlotState::Valid);
    boot.confirm().unwrap();
    assert_eq!(device.boot(), NEW_SLOT);
    assert_eq!(device.boot(), NEW_SLOT);
}

#[test]
fn an_image_reset_during_its_trial_is_gone() {
    let mut device = on_trial();
    assert_eq!(device.boot(), OLD);
    assert_eq!(open(&device).1.view().unwrap().target_state, SlotState::Aborted);
}

#[test]
fn a_rejected_image_is_gone() {
    let mut device = on_trial();
    open(&device).1.reject().unwrap();
    assert!(device.is_restarted());
    assert_eq!(device.boot(), OLD);
    assert_eq!(open(&device).1.view().unwrap().target_state, SlotState::Invalid);
}

#[test]
fn nothing_is_written_over_the_way_back_during_a_trial() {
    let device = on_trial();
    let (mut slot, mut boot) = open(&device);
    assert_eq!(boot.protect(), Err(BootError::OnTrial));
    assert_eq!(slot.erase_sector(0), Err(FlashError::Device(code::NO_SLOT)));
    assert_eq!(boot.activate(OLD, &SHA256), Err(BootError::OnTrial));
    assert!(waxwing_esp_image::App::parse(&device.slot(OLD)).is_ok());
}

#[test]
fn the_old_image_can_be_activated_without_writing_it() {
    let mut device = on_trial();
    let (_, mut boot) = open(&device);
    boot.confirm().unwrap();
    boot.activate(OLD, &SHA256).unwrap();
    assert_eq!(device.boot(), OLD);
    assert_eq!(open(&device).1.view().unwrap().running_state, SlotState::PendingVerify);
}

#[test]
fn bytes_out_of_order_are_refused() {
    let device = Device::new(&image("1.0.0"));
    let (mut slot, _) = open(&device);
    let refused = Err(FlashError::Device(code::NOT_SEQUENTIAL));
    // Nothing was begun in this boot.
    assert_eq!(slot.erase_sector(SECTOR_BYTES), refused);
    assert_eq!(slot.write(0, &[0xe9]), refused);
    slot.erase_sector(0).unwrap();
    assert_eq!(slot.write(4, &[0; 4]), refused);
    slot.write(0, &[0xe9; SECTOR_BYTES as usize]).unwrap();
    assert_eq!(slot.erase_sector(2 * SECTOR_BYTES), refused);
    assert_eq!(slot.write(0, &[0xe9]), refused);
    slot.erase_sector(SECTOR_BYTES).unwrap();
    // From the beginning is always in order.
    slot.erase_sector(0).unwrap();
    store(&mut slot, &image("1.1.0")).unwrap();
}

#[test]
fn nothing_outside_the_slot_is_touched() {
    let device = Device::new(&image("1.0.0"));
    let (mut slot, _) = open(&device);
    assert_eq!(slot.slot_bytes(), SLOT_BYTES);
    let outside = Err(FlashError::OutOfSlot);
    assert_eq!(slot.erase_sector(SLOT_BYTES), outside);
    assert_eq!(slot.write(SLOT_BYTES - 1, &[0; 2]), outside);
    assert_eq!(slot.write(u32::MAX, &[0; 2]), outside);
    assert_eq!(slot.read(SLOT_BYTES, &mut [0]), outside);
}

#[test]
fn what_esp_idf_would_not_boot_is_not_activated() {
    let mut device = Device::new(&image("1.0.0"));
    let (mut slot, mut boot) = open(&device);
    let mut damaged = image("1.1.0");
    damaged[400] ^= 1;
    store(&mut slot, &damaged).unwrap();
    assert_eq!(boot.activate(NEW_SLOT, &SHA256), Err(BootError::ImageRefused));
    assert_eq!(device.boot(), OLD);
    let (mut slot, _) = open(&device);
    slot.erase_sector(0).unwrap();
    assert_eq!(slot.write(0, b"MZ"), Err(FlashError::Device(code::IMAGE)));
}

/// The boot loader fell back to `ota_0`; ESP-IDF would now spare the record of the broken `ota_1`
/// and overwrite that of the running slot.
#[test]
fn after_a_fallback_the_running_image_is_protected_before_anything_is_written() {
    let mut device = Device::new(&image("1.0.0"));
    device.put_record(Sector::Second, &record(2, VALID));
    assert_eq!(device.boot(), OLD);
    let (mut slot, mut boot) = open(&device);
    boot.protect().unwrap();
    assert_eq!(boot.view().unwrap().target_state, SlotState::Invalid);
    store(&mut slot, &image("1.1.0")).unwrap();
    // Complete but not activated: a reset must not start it.
    assert_eq!(device.clone().boot(), OLD);
    let (mut slot, mut boot) = open(&device);
    store(&mut slot, &image("1.1.0")).unwrap();
    boot.activate(NEW_SLOT, &SHA256).unwrap();
    assert_eq!(device.boot(), NEW_SLOT);
    assert_eq!(device.boot(), OLD, "and back");
}

/// As after a power cut that undid the activation: nothing is written, nobody has protected.
#[test]
fn activating_again_after_a_fallback_protects_by_itself() {
    let mut device = Device::new(&image("1.0.0"));
    device.put_record(Sector::Second, &record(2, VALID));
    assert_eq!(device.boot(), OLD);
    device.put_image(NEW_SLOT, &image("1.1.0"));
    open(&device).1.activate(NEW_SLOT, &SHA256).unwrap();
    assert_eq!(device.boot(), NEW_SLOT);
    assert_eq!(device.boot(), OLD, "and back");
}

/// ESP-IDF would mark the record that decides, and so the broken image.
#[test]
fn confirming_after_a_fallback_does_not_confirm_the_other_image() {
    let mut device = Device::new(&image("1.0.0"));
    device.put_record(Sector::First, &record(1, NEW));
    device.put_record(Sector::Second, &record(2, PENDING));
    device.put_image(NEW_SLOT, &[0; 1024]);
    // The device was not reset since, so the record of `ota_1` still decides.
    let (_, mut boot) = open(&device);
    boot.confirm().unwrap();
    assert_eq!(
        device.records().entry(Sector::First).state,
        waxwing_esp_image::otadata::State::Valid
    );
    assert_eq!(
        device.records().entry(Sector::Second).state,
        waxwing_esp_image::otadata::State::PendingVerify
    );
}

/// Where esp-ota would panic.
#[test]
fn confirming_without_any_record_makes_one() {
    let mut device = Device::new(&image("1.0.0"));
    device.put_record(Sector::First, &[0; 32]);
    let (_, mut boot) = open(&device);
    assert_eq!(boot.view().unwrap().running_state, SlotState::Blank);
    boot.confirm().unwrap();
    assert_eq!(boot.view().unwrap().running_state, SlotState::Valid);
}

#[test]
fn an_image_with_nothing_to_go_back_to_cannot_be_rejected() {
    let mut device = on_trial();
    device.put_record(Sector::First, &record(1, INVALID));
    assert_eq!(open(&device).1.reject(), Err(BootError::NoSlot));
    assert!(!device.is_restarted());
    assert_eq!(device.boot(), OLD, "the boot loader tries what there is");
}

/// ESP-IDF looks for any other bootable record, and would restart into the rejected image.
#[test]
fn a_second_record_for_the_running_slot_is_nothing_to_go_back_to() {
    let mut device = on_trial();
    device.put_record(Sector::First, &record(4, VALID));
    assert_eq!(open(&device).1.reject(), Err(BootError::NoSlot));
    device.put_record(Sector::First, &record(0, VALID));
    assert_eq!(open(&device).1.reject(), Err(BootError::NoSlot));
    assert!(!device.is_restarted());
}

#[test]
fn every_failure_of_esp_ota_is_an_error() {
    for (error, expected) in [
        (OtaError::Flash, code::FLASH),
        (OtaError::Memory, code::NO_MEMORY),
        (OtaError::Records, code::RECORDS),
        (OtaError::Unknown, code::UNKNOWN),
    ] {
        let device = Device::new(&image("1.0.0"));
        let (mut slot, mut boot) = open(&device);
        device.fail_ota(error);
        assert_eq!(slot.erase_sector(0), Err(FlashError::Device(expected)));
        slot.erase_sector(0).unwrap();
        device.fail_ota(error);
        assert_eq!(slot.write(0, &[0xe9]), Err(FlashError::Device(expected)));
        store(&mut slot, &image("1.1.0")).unwrap();
        device.fail_ota(error);
        assert_eq!(boot.activate(NEW_SLOT, &SHA256), Err(BootError::Device(expected)));
        let device = on_trial();
        device.fail_ota(error);
        assert_eq!(open(&device).1.reject(), Err(BootError::Device(expected)));
    }
}

#[test]
fn every_failure_of_the_board_is_an_error() {
    let device = Device::new(&image("1.0.0"));
    device.fail_board();
    let (mut slot, mut boot) = open(&device);
    let refused = BootError::Device(FAULT);
    assert_eq!(boot.view(), Err(refused));
    assert_eq!(boot.protect(), Err(refused));
    assert_eq!(boot.activate(NEW_SLOT, &SHA256), Err(refused));
    assert_eq!(boot.confirm(), Err(refused));
    assert_eq!(boot.reject(), Err(refused));
    assert_eq!(slot.read(0, &mut [0]), Err(FlashError::Device(FAULT)));
}

#[test]
fn success_that_the_records_do_not_show_is_an_error() {
    let device = on_trial();
    device.lie();
    let refused = Err(BootError::Device(code::NOT_RECORDED));
    assert_eq!(open(&device).1.confirm(), refused);

    let device = Device::new(&image("1.0.0"));
    let (mut slot, mut boot) = open(&device);
    store(&mut slot, &image("1.1.0")).unwrap();
    device.lie();
    assert_eq!(boot.activate(NEW_SLOT, &SHA256), refused);
}

/// A journal of two pages in memory.
struct Kept([Vec<u8>; 2]);

impl Journal for Kept {
    fn pages(&self) -> u8 {
        2
    }

    fn read_page(&mut self, page: u8, bytes: &mut [u8]) -> Result<(), FlashError> {
        bytes.fill(0xff);
        let kept = &self.0[usize::from(page)];
        bytes[..kept.len()].copy_from_slice(kept);
        Ok(())
    }

    fn replace_page(&mut self, page: u8, bytes: &[u8]) -> Result<(), FlashError> {
        self.0[usize::from(page)] = bytes.to_vec();
        Ok(())
    }
}

/// An application that agrees with everything.
struct App;

impl AppHooks for App {
    fn may_download(&mut self) -> Permission {
        Permission::Now
    }

    fn may_reboot(&mut self, _: Deferrals) -> Permission {
        Permission::Now
    }

    fn self_test(&mut self) -> SelfTest {
        SelfTest::Passed
    }

    fn health(&mut self) -> Health {
        Health::Good
    }
}

#[test]
fn a_download_that_a_reset_interrupted_begins_anew_and_a_whole_one_does_not() {
    let deployment = Deployment {
        rollout: "spring".parse().unwrap(),
        release: "1.1.0".parse().unwrap(),
        sha256: SHA256,
        length: 9000,
        security_version: 1,
        secure_version: 0,
        soak_s: 60,
    };
    for (stored, found) in [(8192, 0), (9000, 9000)] {
        let (slot, boot) = open(&Device::new(&image("1.0.0")));
        let phase = |stored| Some(Phase::Fetching { stored });
        let update = Update { phase: phase(stored).unwrap(), ..Update::new(deployment.clone()) };
        let record = Record { update: Some(update), ..Record::default() };
        let journal = Kept([record.encode(1).unwrap(), Vec::new()]);
        let version = VersionRule::Ignore;
        let rules = ImageRules { chip: CHIP, version, project: None, secure_version: 0 };
        let (mut local, record) = Local::open(slot, boot, journal, App, rules);
        assert_eq!(record.update.map(|update| update.phase), phase(found));
        // A chunk list changes nothing: one that is 32 zeros, and its own hash.
        let list = ChunkList::read(&[0; 32], &ZEROS_SHA256).unwrap();
        let mut recall = Recall::new(list, deployment.length);
        assert_eq!((local.recall(&mut recall), recall.good()), (Ok(true), 0));
    }
}
