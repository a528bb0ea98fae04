//! What others did to flash, boot records or eFuses, and what they cannot do.

use super::*;

/// Row 32 of the attack matrix: between the first look and the activation, days may pass.
#[test]
fn an_image_that_changed_in_flash_since_it_was_verified_is_not_activated() {
    let mut device = Device::new();
    device.poll();
    device.download();
    device.on(Event::Done, Action::AskToReboot);
    let later = Permission::Later(Duration::from_hours(48));
    device.on_wait(Event::Permitted(later));
    device.now += Duration::from_hours(48);
    device.on(Event::Tick, Action::AskToReboot);
    device.on(Event::Permitted(Permission::Now), Action::Poll);
    device.on(answered(Decision::Unchanged), Action::Compare);
    device.on(Event::Compared(Comparison { flash: false, network: None }), Action::Save);
    assert_eq!(device.phase(), Some(Phase::Fetching { stored: 0 }));
    device.on_wait(Event::Done);
}

/// Somebody wrote to the boot records; the next reset, or the next update, would find it on trial.
#[test]
fn a_watched_image_that_its_record_has_on_trial_is_confirmed_again() {
    let phase = Phase::Soaking { slots: SLOTS, resets: 0, soaked_s: 9 };
    let update = Some(Update { phase, ..Update::new(deployment()) });
    let record = Record { update, ..Record::default() };
    for state in [SlotState::New, SlotState::PendingVerify] {
        let mut device = Device::booted(record.clone(), SLOTS.new, state);
        device.on(Event::Tick, Action::Save);
        device.on(Event::Done, Action::Confirm);
    }
}

#[test]
fn after_an_update_that_failed_an_unconfirmed_image_proves_itself() {
    let update = Some(Update { phase: Phase::Activating(SLOTS), ..Update::new(deployment()) });
    let record = Record { update, ..Record::default() };
    let mut device = Device::booted(record, Slot::Factory, SlotState::New);
    device.on(Event::Tick, Action::Save);
    device.check_outcome(Reached::Failed, ErrorCode::BOOT_REJECTED);
    device.on(Event::Done, Action::SelfTest);
    device.on(Event::SelfTested(SelfTest::Passed), Action::Poll);
    device.on(answered(Decision::Nothing), Action::Confirm);
}

/// D2: the eFuses have no way back.
#[test]
fn the_efuses_are_burned_when_the_image_has_soaked_and_the_journal_knows() {
    let phase = Phase::Soaking { slots: SLOTS, resets: 0, soaked_s: 0 };
    let burns = Deployment { secure_version: 1, ..deployment() };
    let update = Some(Update { phase, ..Update::new(burns) });
    let record = Record { update, ..Record::default() };
    let over = || {
        let mut device = Device::booted(record.clone(), SLOTS.new, SlotState::Valid);
        device.on(Event::Tick, Action::CheckHealth);
        device.now += Duration::from_mins(1);
        device
    };
    let burn = Action::Burn { secure_version: 1 };
    for outcome in [Event::Done, Event::Failed(ErrorCode::FLASH_WRITE)] {
        let mut device = over();
        device.on(Event::Health(Health::Good), Action::Save);
        device.on(Event::Done, burn);
        device.on(Event::Tick, burn);
        device.on(outcome, Action::Save);
        device.check_outcome(Reached::Healthy, ErrorCode::NONE);
    }
    let mut cut = over();
    cut.on(Event::Health(Health::Good), Action::Save);
    let mut cut = cut.reboot(SLOTS.new, SlotState::Valid);
    cut.on(Event::Tick, burn);
    cut.on(Event::Done, Action::Save);
    cut.check_outcome(Reached::Healthy, ErrorCode::NONE);
    let mut without_journal = over();
    without_journal.on(Event::Health(Health::Good), Action::Save);
    without_journal.on_wait(Event::Failed(ErrorCode::FLASH_WRITE));
    let mut unwell = over();
    unwell.on(Event::Health(Health::Bad(1)), Action::Save);
    unwell.on(Event::Done, Action::Reject);
}

/// Whatever the journal says: the image would not boot any more.
#[test]
fn the_efuses_never_rise_above_what_the_running_image_says_of_itself() {
    let phase = Phase::Soaking { slots: SLOTS, resets: 0, soaked_s: 0 };
    let burns = Deployment { secure_version: 2, ..deployment() };
    let update = Some(Update { phase, ..Update::new(burns) });
    let record = Record { update, ..Record::default() };
    let mut device = Device::booted(record, SLOTS.new, SlotState::Valid);
    assert_eq!(device.agent.firmware().secure_version, 1);
    device.on(Event::Tick, Action::CheckHealth);
    device.now += Duration::from_mins(1);
    device.on(Event::Health(Health::Good), Action::Save);
    device.on(Event::Done, Action::Burn { secure_version: 1 });
}

#[test]
fn an_image_of_somebody_else_stays_when_nothing_else_would_boot() {
    for state in [SlotState::New, SlotState::PendingVerify] {
        let mut device = Device::booted(Record::default(), SLOTS.new, state);
        device.on(Event::Tick, Action::SelfTest);
        device.on(Event::SelfTested(SelfTest::Failed(1)), Action::Reject);
        let mut alone = Device::booted(Record::default(), SLOTS.new, state);
        alone.on(Event::Tick, Action::SelfTest);
        alone.on(Event::SelfTested(SelfTest::Failed(1)), Action::Reject);
        device.on(Event::Done, Action::Reboot);
        // Confirmed, it can be updated; for ever unconfirmed, it could not.
        alone.on(Event::Failed(ErrorCode::FLASH_WRITE), Action::Confirm);
        alone.on_wait(Event::Failed(ErrorCode::FLASH_WRITE));
    }
}
