//! The boot records under the model of the boot loader, and the model under what is known of the
//! real one.

use proptest::prelude::*;
use waxwing_esp_image::model::BootError;
use waxwing_esp_image::model::Rollback::{self, Disabled, Enabled};
use waxwing_esp_image::otadata::{Layout, OtaData, Refused, Slot, Write};

use crate::flash::{Device, PowerCut};
use crate::records::{ABORTED, BLANK, INVALID, NEW, PENDING, VALID, record, torn};

const OTA_0: Slot = Slot::Ota(0);
const OTA_1: Slot = Slot::Ota(1);

fn two_slots() -> Layout {
    Layout::new(2, false).unwrap()
}

/// What the boot loader of espflash 4.7.0 (ESP-IDF v6.1, no rollback) did on an emulated ESP32-C3.
#[test]
fn without_rollback_the_model_does_what_was_measured() {
    let check = |first, second, slot, first_after, second_after| {
        let mut device = Device::new(two_slots()).with_otadata(first, second);
        assert_eq!(device.boot(Disabled), Ok(slot));
        assert_eq!(device.records(), [first_after, second_after]);
    };
    let unchanged = |first, second, slot| check(first, second, slot, first, second);
    let one = record(1, VALID);
    check(BLANK, BLANK, OTA_0, one, BLANK);
    unchanged(one, record(2, NEW), OTA_1);
    unchanged(one, record(2, PENDING), OTA_1);
    unchanged(one, record(2, INVALID), OTA_0);
    unchanged(one, record(2, ABORTED), OTA_0);
    unchanged(one, torn(record(2, NEW)), OTA_0);
    unchanged(one, [0; 32], OTA_0);
    unchanged(torn(one), torn(record(2, NEW)), OTA_0);
    unchanged(record(1, ABORTED), record(2, ABORTED), OTA_0);
    unchanged(record(0, VALID), BLANK, OTA_1);
    unchanged(one, record(2, 0x77), OTA_1);
}

#[test]
fn damaged_images_are_passed_over_and_the_records_stay() {
    let records = [record(1, VALID), record(2, NEW)];
    let device = Device::new(two_slots()).with_otadata(records[0], records[1]);
    let mut damaged = device.clone().with_damaged(OTA_1);
    assert_eq!(damaged.boot(Disabled), Ok(OTA_0));
    assert_eq!(damaged.records(), records);
    // With rollback the record changes before the image is looked at.
    let mut damaged = device.clone().with_damaged(OTA_1);
    assert_eq!(damaged.boot(Enabled), Ok(OTA_0));
    assert_eq!(damaged.records(), [records[0], record(2, PENDING)]);
    let mut brick = device.with_damaged(OTA_0).with_damaged(OTA_1);
    assert_eq!(brick.boot(Enabled), Err(BootError::NoImage));
}

#[test]
fn the_walk_goes_down_to_the_factory_image_and_then_up() {
    let layout = Layout::new(4, true).unwrap();
    let device = Device::new(layout).with_otadata(record(2, VALID), BLANK);
    let mut order = Vec::new();
    let mut rest = device;
    while let Ok(slot) = rest.boot(Enabled) {
        order.push(slot);
        rest = rest.with_damaged(slot);
    }
    assert_eq!(order, [OTA_1, OTA_0, Slot::Factory, Slot::Ota(2), Slot::Ota(3)]);
}

#[test]
fn an_image_for_another_chip_or_longer_than_its_slot_is_not_started() {
    let mut other_chip = Device::new(two_slots());
    let image = crate::samples::small(waxwing_esp_image::Chip::Esp32s3);
    other_chip.slot_mut(OTA_0)[..image.len()].copy_from_slice(&image);
    assert_eq!(other_chip.boot(Enabled), Ok(OTA_1));

    let mut too_long = Device::new(two_slots());
    let image = crate::samples::complete(crate::CHIP);
    let slot = too_long.slot_mut(OTA_0);
    slot.copy_from_slice(&image[..slot.len()]);
    assert_eq!(too_long.boot(Enabled), Ok(OTA_1));
}

#[test]
fn with_rollback_a_new_image_has_one_boot_to_confirm_itself() {
    let one = record(1, VALID);
    let mut device = Device::new(two_slots()).with_otadata(one, record(2, NEW));
    assert_eq!(device.boot(Enabled), Ok(OTA_1));
    assert_eq!(device.records(), [one, record(2, PENDING)]);
    assert_eq!(device.boot(Enabled), Ok(OTA_0));
    assert_eq!(device.records(), [one, record(2, ABORTED)]);
    assert_eq!(device.boot(Enabled), Ok(OTA_0));
}

#[test]
fn a_pending_record_is_aborted_even_when_it_is_torn() {
    let one = record(1, VALID);
    let mut device = Device::new(two_slots()).with_otadata(one, torn(record(2, PENDING)));
    assert_eq!(device.boot(Enabled), Ok(OTA_0));
    assert_eq!(device.records(), [one, torn(record(2, ABORTED))]);
}

#[test]
fn with_a_factory_image_blank_records_stay_blank() {
    let layout = Layout::new(2, true).unwrap();
    let mut device = Device::new(layout);
    assert_eq!(device.boot(Enabled), Ok(Slot::Factory));
    assert_eq!(device.records(), [BLANK, BLANK]);
}

/// At every step of the write.
#[test]
fn a_cut_while_activating_boots_the_old_image() {
    let one = record(1, VALID);
    for steps in 0.. {
        let mut device = Device::new(two_slots()).with_otadata(one, BLANK).with_power_for(steps);
        let write = device.otadata().activate(OTA_0, OTA_1).unwrap();
        let done = device.apply(&write);
        let mut device = device.with_power();
        let slot = device.boot(Enabled).unwrap();
        if done.is_ok() {
            assert_eq!(slot, OTA_1);
            assert_eq!(steps, 10, "two for the erase, eight words");
            return;
        }
        assert_eq!(slot, OTA_0, "cut after {steps} steps");
        assert!(device.otadata().activate(OTA_0, OTA_1).is_ok());
    }
}

/// The window in which the boot loader itself loses the record: the old image boots although
/// nothing is wrong with the new one, and no trace of it is left.
#[test]
fn a_cut_while_the_boot_loader_starts_a_trial_boots_the_old_image_and_is_repairable() {
    let one = record(1, VALID);
    for steps in 0..10 {
        let mut device =
            Device::new(two_slots()).with_otadata(one, record(2, NEW)).with_power_for(steps);
        assert_eq!(device.boot(Enabled), Err(BootError::Flash(PowerCut)));
        let mut device = device.with_power();
        let slot = device.boot(Enabled).unwrap();
        let expected = if steps == 0 { OTA_1 } else { OTA_0 };
        assert_eq!(slot, expected, "cut after {steps} steps");
        if slot == OTA_0 {
            assert_eq!(device.otadata().record_of(OTA_1), None);
            let write = device.otadata().activate(OTA_0, OTA_1).unwrap();
            device.apply(&write).unwrap();
            assert_eq!(device.boot(Enabled), Ok(OTA_1));
        }
    }
}

/// Confirmation, rejection and the boot loader's own end of a trial: none of these cuts bricks, all
/// of them boot the old image, and it can start over.
#[test]
fn a_cut_while_a_trial_ends_boots_the_old_image() {
    let confirm = |device: &mut Device| {
        let write = device.otadata().confirm(OTA_1).unwrap();
        device.apply(&write).is_err()
    };
    let reject = |device: &mut Device| {
        let write = device.otadata().reject(OTA_1).unwrap();
        device.apply(&write).is_err()
    };
    let reset = |device: &mut Device| device.boot(Enabled) == Err(BootError::Flash(PowerCut));
    let ends: [&dyn Fn(&mut Device) -> bool; 3] = [&confirm, &reject, &reset];
    let on_trial = Device::new(two_slots()).with_otadata(record(1, VALID), record(2, PENDING));
    for (end, steps) in ends.iter().flat_map(|end| (0..10).map(move |steps| (end, steps))) {
        let mut device = on_trial.clone().with_power_for(steps);
        assert!(end(&mut device), "cut after {steps} steps");
        let mut device = device.with_power();
        assert_eq!(device.boot(Enabled), Ok(OTA_0), "cut after {steps} steps");
        let write = device.otadata().activate(OTA_0, OTA_1).unwrap();
        device.apply(&write).unwrap();
        assert_eq!(device.boot(Enabled), Ok(OTA_1));
    }
}

/// Records as they occur, and some that never should.
fn records() -> impl Strategy<Value = [u8; 32]> {
    let seq = prop_oneof![
        6 => 1u32..9,
        1 => Just(0),
        1 => (u32::MAX - 6)..=u32::MAX,
        1 => any::<u32>(),
    ];
    let state = prop_oneof![8 => 0u32..5, 1 => Just(u32::MAX), 1 => any::<u32>()];
    let good = (seq, state).prop_map(|(seq, state)| record(seq, state));
    prop_oneof![
        1 => Just(BLANK),
        1 => any::<[u8; 32]>(),
        1 => good.clone().prop_map(torn),
        7 => good,
    ]
}

fn layouts() -> impl Strategy<Value = Layout> {
    (1u8..=5, any::<bool>()).prop_map(|(slots, factory)| Layout::new(slots, factory).unwrap())
}

/// What the boot loader with rollback makes of a record before it chooses.
fn aborted(mut bytes: [u8; 32], rollback: Rollback) -> [u8; 32] {
    if rollback == Enabled && bytes[24..28] == PENDING.to_le_bytes() {
        bytes[24..28].copy_from_slice(&ABORTED.to_le_bytes());
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn codec_and_boot_loader_choose_the_same_slot(
        first in records(),
        second in records(),
        layout in layouts(),
        rollback in proptest::sample::select(&[Disabled, Enabled][..]),
    ) {
        let choice =
            OtaData::read(&aborted(first, rollback), &aborted(second, rollback), layout).selected();
        let mut device = Device::new(layout).with_otadata(first, second);
        prop_assert_eq!(device.boot(rollback), Ok(choice));
    }
}

proptest! {
    // Each case boots some fifty times.
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is in otadata and whichever images are damaged: a device that runs can be updated,
    /// comes back from a failed trial, and survives a power cut at every step on the way.
    #[test]
    fn a_running_device_can_be_updated_from_any_state(
        first in records(),
        second in records(),
        layout in layouts().prop_filter("two images", |l| l.ota_slots() > 1 || l.has_factory()),
        damaged in any::<u8>(),
        target in any::<prop::sample::Index>(),
    ) {
        let mut device = Device::new(layout).with_otadata(first, second);
        for slot in (0..layout.ota_slots()).filter(|slot| damaged >> slot & 1 == 1) {
            device = device.with_damaged(Slot::Ota(slot));
        }
        let Ok(running) = device.boot(Enabled) else { return Ok(()) };
        if let Some(write) = device.otadata().confirm(running) {
            device.apply(&write).unwrap();
        }
        let others: Vec<_> =
            (0..layout.ota_slots()).map(Slot::Ota).filter(|slot| *slot != running).collect();
        if others.is_empty() {
            return Ok(());
        }
        let target = others[target.index(others.len())];
        let mut writes = 0;
        while let Some(write) = device.otadata().protect(running).unwrap() {
            check_cuts(&device, &write, running)?;
            device.apply(&write).unwrap();
            writes += 1;
        }
        prop_assert!(writes <= 3);
        // The update itself: a good image in the slot, which nobody has verified yet.
        let image = Device::new(layout).slot_mut(target).to_vec();
        device.slot_mut(target).copy_from_slice(&image);
        prop_assert_eq!(device.clone().boot(Enabled), Ok(running), "before the activation");
        check_trial(&device, running, target)?;
    }
}

fn check_trial(device: &Device, running: Slot, target: Slot) -> Result<(), TestCaseError> {
    let activate = device.otadata().activate(running, target).unwrap();
    check_cuts(device, &activate, running)?;
    let mut trial = device.clone();
    trial.apply(&activate).unwrap();
    prop_assert_eq!(trial.boot(Enabled), Ok(target));
    prop_assert_eq!(trial.otadata().protect(target), Err(Refused::OnTrial));
    let mut unconfirmed = trial.clone();
    prop_assert_eq!(unconfirmed.boot(Enabled), Ok(running), "after a reset in the trial");
    prop_assert!(unconfirmed.otadata().activate(running, target).is_ok());

    let mut rejected = trial.clone();
    let reject = rejected.otadata().reject(target).unwrap();
    rejected.apply(&reject).unwrap();
    prop_assert_eq!(rejected.boot(Enabled), Ok(running), "after a rejection");

    let mut confirmed = trial;
    let confirm = confirmed.otadata().confirm(target).unwrap();
    confirmed.apply(&confirm).unwrap();
    prop_assert_eq!(confirmed.boot(Enabled), Ok(target));
    prop_assert_eq!(confirmed.boot(Enabled), Ok(target), "confirmed for good");
    Ok(())
}

/// Every cut before the write is complete boots the running image, or what a reset without the
/// write would have booted: where a trial failed to load, that is not always the same.
fn check_cuts(device: &Device, write: &Write, running: Slot) -> Result<(), TestCaseError> {
    let untouched = device.clone().boot(Enabled);
    for steps in 0..10 {
        let mut cut = device.clone().with_power_for(steps);
        prop_assert_eq!(cut.apply(write), Err(PowerCut));
        let slot = cut.with_power().boot(Enabled);
        prop_assert!(slot == Ok(running) || slot == untouched, "cut after {steps} steps: {slot:?}");
    }
    Ok(())
}
