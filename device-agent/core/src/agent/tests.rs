//! The machine, told step by step; then any order of events against what must never happen.

mod commands;
mod device;
mod hooks;
mod resume;
mod surprises;
mod walk;

use semver::Version;
use waxwing_wire::report::State as Reached;

use self::device::{
    Device, GOOD, LIST, answered, deployment, firmware, install, install_listed, opened, view,
};
use super::*;
use crate::journal::{FailedImage, Phase, Slots, Update};
use crate::offer::{Decision, Offer};
use crate::ports::{ResetReason, SlotState, slot_after};

const OLD: Digest = Digest([1; 32]);
const NEW: Digest = Digest([2; 32]);
const LENGTH: u32 = 2 * 4096 + 100;
const SLOTS: Slots = Slots { new: Slot::Ota(1), old: Slot::Ota(0), old_sha256: OLD };
const ATTESTED_S: u64 = 1_795_167_000;

#[test]
fn an_offer_becomes_a_healthy_device() {
    let mut device = Device::new();
    device.poll();
    device.download();
    device.prepare_to_activate();
    let new = SLOTS.new;
    device.on(Event::Done, Action::Activate { slot: new, sha256: NEW });
    device.on(Event::Done, Action::Save);
    device.on(Event::Done, Action::Reboot);

    let mut device = device.reboot(SLOTS.new, SlotState::PendingVerify);
    device.on(Event::Tick, Action::Save);
    assert_eq!(device.phase(), Some(Phase::Trial { slots: SLOTS, boots: 1 }));
    device.on(Event::Done, Action::SelfTest);
    device.on(Event::SelfTested(SelfTest::Passed), Action::Poll);
    device.on(answered(Decision::Unchanged), Action::Save);
    assert_eq!(device.phase(), Some(Phase::Confirming(SLOTS)));
    device.on(Event::Done, Action::Confirm);
    device.on(Event::Done, Action::Save);
    device.on(Event::Done, Action::CheckHealth);
    device.now += Duration::from_mins(1);
    device.on(Event::Health(Health::Good), Action::Save);
    assert_eq!(device.agent.record().security_version, 7);
    let expected = [
        Reached::Downloading,
        Reached::Verified,
        Reached::Activated,
        Reached::Booted,
        Reached::Confirmed,
        Reached::Healthy,
    ];
    assert_eq!(device.reported(), expected);
}

#[test]
fn the_journal_announces_an_activation_before_it_happens() {
    let mut device = Device::ready_to_activate();
    assert_eq!(device.phase(), Some(Phase::Activating(SLOTS)));
    assert_eq!(device.step(Event::Done), Action::Activate { slot: SLOTS.new, sha256: NEW });
}

#[test]
fn nothing_is_activated_when_the_journal_cannot_be_written() {
    let mut device = Device::ready_to_activate();
    device.on_wait(Event::Failed(ErrorCode::FLASH_WRITE));
    assert_eq!(device.agent.deployment(), None);
}

#[test]
fn an_image_on_trial_without_a_journal_is_given_up() {
    let mut device = Device::on_trial();
    device.on(Event::Failed(ErrorCode::FLASH_WRITE), Action::Reject);
    device.on(Event::Done, Action::Reboot);
}

#[test]
fn an_offer_taken_back_before_the_activation_is_not_activated() {
    let mut device = Device::new();
    device.poll();
    device.download();
    device.on(Event::Done, Action::AskToReboot);
    device.on(Event::Permitted(Permission::Now), Action::Poll);
    device.on(answered(Decision::Nothing), Action::Save);
    device.on_wait(Event::Done);
    assert_eq!(device.agent.deployment(), None);
}

#[test]
fn a_failed_poll_before_the_activation_is_repeated_not_skipped() {
    let mut device = Device::new();
    device.poll();
    device.download();
    device.on(Event::Done, Action::AskToReboot);
    device.on(Event::Permitted(Permission::Now), Action::Poll);
    device.on_wait(Event::Failed(ErrorCode::NO_CONTACT));
    device.now += Policy::DEVICE.back_off_max;
    device.on(Event::Tick, Action::AskToReboot);
    device.on(Event::Permitted(Permission::Now), Action::Poll);
}

#[test]
fn how_long_the_server_could_not_be_reached_is_known_until_it_answers() {
    let mut device = Device::new();
    device.poll();
    assert_eq!(device.agent.out_s(device.now), None);
    device.accept();
    device.on(Event::Done, Action::Open { sha256: NEW, from: 0 });
    device.on_wait(Event::Failed(ErrorCode::NO_CONTACT));
    assert_eq!(device.agent.out_s(device.now), Some(0));
    device.now += Policy::DEVICE.back_off_max;
    device.on(Event::Tick, Action::Poll);
    device.on_wait(Event::Failed(ErrorCode::NO_CONTACT));
    assert_eq!(device.agent.out_s(device.now), Some(24 * 3600), "since the first failure");
    device.now += Policy::DEVICE.back_off_max;
    device.on(Event::Tick, Action::Poll);
    device.on(answered(Decision::Nothing), Action::Save);
    assert_eq!(device.agent.out_s(device.now), None);
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let mut device = Device::new();
    device.poll();
    device.accept();
    device.on(Event::Done, Action::Open { sha256: NEW, from: 0 });
    device.on(opened(200, 0), Action::Transfer { offset: 0, bytes: 4096 });
    device.on(Event::Transferred(4096), Action::Transfer { offset: 4096, bytes: 4096 });
    device.on(Event::Failed(ErrorCode::DOWNLOAD_TRUNCATED), Action::Save);
    device.on_wait(Event::Done);

    let mut device = device.reboot(SLOTS.old, SlotState::Valid);
    device.poll();
    device.on(answered(install()), Action::AskToDownload);
    device.on(Event::Permitted(Permission::Now), Action::Open { sha256: NEW, from: 4096 });
    device.on(opened(206, 4096), Action::Transfer { offset: 4096, bytes: 4096 });
    device.on(Event::Transferred(4096), Action::Transfer { offset: 8192, bytes: 100 });
}

#[test]
fn a_server_that_ignores_the_range_starts_the_download_again() {
    let mut device = Device::fetched_to(4096);
    device.on(opened(200, 0), Action::Save);
    assert_eq!(device.phase(), Some(Phase::Fetching { stored: 0 }));
    device.on(Event::Done, Action::Transfer { offset: 0, bytes: 4096 });
}

#[test]
fn another_range_than_asked_for_is_not_written() {
    let mut device = Device::fetched_to(4096);
    device.on_wait(opened(206, 0));
}

#[test]
fn a_short_piece_is_fetched_again() {
    let mut device = Device::fetched_to(4096);
    let transfer = Action::Transfer { offset: 4096, bytes: 4096 };
    device.on(opened(206, 4096), transfer);
    device.on(Event::Transferred(4095), transfer);
}

#[test]
fn an_image_with_another_hash_is_tried_three_times_and_never_activated() {
    for (network, code) in [(None, ErrorCode::DOWNLOAD_HASH), (Some(true), ErrorCode::FLASH_REREAD)]
    {
        let mut device = Device::new();
        device.poll();
        device.accept();
        for attempt in 1..=Policy::DEVICE.attempts_max {
            device.on(Event::Done, Action::Open { sha256: NEW, from: 0 });
            device.transfer_all();
            device.on(Event::Compared(Comparison { flash: false, network }), Action::Save);
            if attempt < Policy::DEVICE.attempts_max {
                device.on_wait(Event::Done);
                device.now += Policy::DEVICE.back_off_max;
                device.on(Event::Tick, Action::Poll);
                device.on(answered(Decision::Unchanged), Action::AskToDownload);
                device.step(Event::Permitted(Permission::Now));
            }
        }
        device.check_outcome(Reached::Failed, code);
    }
}

#[test]
fn an_image_that_does_not_fit_fails_with_its_code() {
    let mut device = Device::new();
    device.poll();
    device.download();
    device.on(Event::Failed(ErrorCode::IMAGE_CHIP), Action::Save);
    device.check_outcome(Reached::Failed, ErrorCode::IMAGE_CHIP);
}

#[test]
fn what_was_settled_is_not_begun_again() {
    let mut device = Device::new();
    device.poll();
    device.download();
    device.on(Event::Failed(ErrorCode::IMAGE_CHIP), Action::Save);
    device.on_wait(Event::Done);
    device.now += Policy::DEVICE.poll_max;
    device.on(Event::Tick, Action::Poll);
    device.on_wait(answered(install()));
}

#[test]
fn an_image_that_failed_too_often_is_refused_in_every_rollout() {
    let failed = vec![FailedImage { sha256: NEW, times: Policy::DEVICE.attempts_max }];
    let mut device = Device::with(Record { failed, ..Record::default() });
    device.poll();
    device.on(answered(install()), Action::Save);
    device.check_outcome(Reached::Failed, ErrorCode::POLICY_ATTEMPTS);
}

#[test]
fn a_device_that_already_runs_the_image_says_so_once() {
    let running = Deployment { sha256: OLD, ..deployment() };
    let offer = || answered(Decision::Install(Offer::for_test(running.clone())));
    let mut device = Device::new();
    device.poll();
    device.on(offer(), Action::Save);
    device.check_outcome(Reached::Healthy, ErrorCode::NONE);
    device.on_wait(Event::Done);
    device.now += Policy::DEVICE.poll_max;
    device.on(Event::Tick, Action::Poll);
    device.on_wait(offer());
    assert_eq!(device.reported(), [Reached::Healthy]);
}

#[test]
fn a_refused_release_is_reported_with_its_code_once() {
    let code = ErrorCode::POLICY_SECURITY_VERSION;
    let refused = || answered(Decision::Refused { deployment: Some(deployment()), code });
    let mut device = Device::new();
    device.poll();
    device.on(refused(), Action::Save);
    device.check_outcome(Reached::Failed, code);
    device.on_wait(Event::Done);
    device.now += Policy::DEVICE.poll_max;
    device.on(Event::Tick, Action::Poll);
    device.on_wait(refused());
    assert_eq!(device.reported(), [Reached::Failed]);
}

#[test]
fn a_failed_self_test_rejects_the_image_and_is_reported_by_the_old_one() {
    let mut device = Device::on_trial();
    device.on(Event::Done, Action::SelfTest);
    device.on(Event::SelfTested(SelfTest::Failed(3)), Action::Save);
    device.on(Event::Done, Action::Reject);
    device.on(Event::Done, Action::Reboot);

    let mut device = device.reboot(SLOTS.old, SlotState::Valid);
    device.on(Event::Tick, Action::Save);
    device.check_outcome(Reached::RolledBack, ErrorCode::SELF_TEST);
    assert_eq!(device.agent.record().failures_of(&NEW), 1);
}

#[test]
fn a_self_test_that_never_ends_times_out() {
    let mut device = Device::on_trial();
    device.on(Event::Done, Action::SelfTest);
    device.on_wait(Event::SelfTested(SelfTest::Running));
    device.now += Policy::DEVICE.self_test_max;
    device.on(Event::Tick, Action::SelfTest);
    device.on(Event::SelfTested(SelfTest::Running), Action::Save);
    let code = ErrorCode::TRIAL_TIMEOUT;
    assert_eq!(device.phase(), Some(Phase::Rejecting { slots: SLOTS, code }));
}

#[test]
fn no_contact_has_its_own_deadline_and_code() {
    let mut device = Device::on_trial();
    device.on(Event::Done, Action::SelfTest);
    device.on(Event::SelfTested(SelfTest::Passed), Action::Poll);
    device.now += Policy::DEVICE.self_test_max;
    device.on_wait(Event::Failed(ErrorCode::NO_CONTACT));
    device.now += Policy::DEVICE.no_contact_max;
    device.on(Event::Tick, Action::Poll);
    device.on(Event::Failed(ErrorCode::NO_CONTACT), Action::Save);
    let code = ErrorCode::NO_CONTACT;
    assert_eq!(device.phase(), Some(Phase::Rejecting { slots: SLOTS, code }));
    let mut device = device.reboot(SLOTS.old, SlotState::Valid);
    device.on(Event::Tick, Action::Save);
    device.check_outcome(Reached::RolledBack, code);
    assert_eq!(device.agent.record().failures_of(&NEW), 0, "not the image's fault");
}

#[test]
fn a_watched_image_that_gets_unwell_gives_way_to_the_old_one() {
    let mut device = Device::soaking();
    device.on(Event::Health(Health::Bad(9)), Action::Save);
    device.on(Event::Done, Action::Reject);
    device.on(Event::Done, Action::Reboot);
    let mut device = device.reboot(SLOTS.old, SlotState::Valid);
    device.on(Event::Tick, Action::Save);
    device.check_outcome(Reached::RolledBack, ErrorCode::SELF_TEST);
}

#[test]
fn the_floor_rises_when_there_is_no_way_back_any_more_and_not_before() {
    let mut device = Device::soaking();
    let floor = |device: &Device| device.agent.record().security_version;
    assert_eq!(floor(&device), 0, "the old image may still come back");
    device.now += Duration::from_mins(1);
    device.on(Event::Health(Health::Good), Action::Save);
    assert_eq!(floor(&device), 7);

    let mut device = Device::soaking();
    device.on(Event::Health(Health::Bad(9)), Action::Save);
    let mut device = device.reboot(SLOTS.old, SlotState::Valid);
    device.on(Event::Tick, Action::Save);
    device.check_outcome(Reached::RolledBack, ErrorCode::SELF_TEST);
    assert_eq!(floor(&device), 0, "the old image runs and is not below its floor");
}

#[test]
fn no_director_keeps_the_way_back_open_for_longer_than_a_week() {
    let for_ever = Deployment { soak_s: u32::MAX, ..deployment() };
    let phase = Phase::Soaking { slots: SLOTS, resets: 0, soaked_s: 0 };
    let update = Some(Update { phase, ..Update::new(for_ever) });
    let record = Record { update, ..Record::default() };
    let mut device = Device::booted(record, SLOTS.new, SlotState::Valid);
    device.on(Event::Tick, Action::CheckHealth);
    device.now = Duration::from_secs(7 * 24 * 3600 - 1);
    device.on_wait(Event::Health(Health::Good));
    device.now += Duration::from_secs(1);
    device.on(Event::Tick, Action::Save);
    device.on(Event::Done, Action::CheckHealth);
    device.on(Event::Health(Health::Good), Action::Save);
    device.check_outcome(Reached::Healthy, ErrorCode::NONE);
    assert_eq!(device.agent.security_version(), 7);
}

#[test]
fn an_old_image_without_a_boot_record_gets_another_and_is_confirmed() {
    let mut device = Device::soaking();
    device.on(Event::Health(Health::Bad(9)), Action::Save);
    device.on(Event::Done, Action::Reject);
    let code = ErrorCode::FLASH_WRITE;
    device.on(Event::Failed(code), Action::Activate { slot: SLOTS.old, sha256: OLD });
    device.on(Event::Done, Action::Reboot);
    let mut device = device.reboot(SLOTS.old, SlotState::PendingVerify);
    device.on(Event::Tick, Action::Confirm);
    device.on(Event::Done, Action::Save);
    device.check_outcome(Reached::RolledBack, ErrorCode::SELF_TEST);
}

#[test]
fn polls_go_on_while_an_image_is_watched_but_nothing_new_begins() {
    let mut device = Device::soaking();
    device.on_wait(Event::Health(Health::Good));
    device.on(Event::PollRequested, Action::Poll);
    let mut next = deployment();
    next.sha256 = Digest([3; 32]);
    device.on_wait(answered(Decision::Install(Offer::for_test(next))));
    assert_eq!(device.agent.deployment(), Some(&deployment()));
}

#[test]
fn watching_goes_on_after_a_reset_where_the_journal_says() {
    let mut device = Device::soaking();
    device.on_wait(Event::Health(Health::Good));
    let phase = Phase::Soaking { slots: SLOTS, resets: 0, soaked_s: 50 };
    let mut record = device.agent.record().clone();
    record.update = Some(Update { phase, ..Update::new(deployment()) });
    device = Device::booted(record, SLOTS.new, SlotState::Valid);
    device.on(Event::Tick, Action::CheckHealth);
    device.now += Duration::from_secs(10);
    device.on(Event::Health(Health::Good), Action::Save);
    assert_eq!(device.reported().last(), Some(&Reached::Healthy));
}

#[test]
fn an_outcome_is_kept_until_it_is_acknowledged() {
    let mut device = Device::new();
    device.poll();
    device.download();
    device.on(Event::Failed(ErrorCode::IMAGE_CHIP), Action::Save);
    device.on_wait(Event::Done);
    let ids: Vec<MessageId> =
        device.agent.unsent().iter().map(|r| r.message_id().parse().unwrap()).collect();
    let mut device = device.reboot(SLOTS.old, SlotState::Valid);
    let again: Vec<String> = device.agent.unsent().iter().map(UnsentReport::message_id).collect();
    assert_eq!(again, ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    for id in &ids {
        device.agent.acknowledge(id);
    }
    device.on(Event::Tick, Action::Save);
    assert_eq!(device.agent.unsent(), []);
}

#[test]
fn two_boots_never_use_one_message_id_for_two_reports() {
    let boots: Vec<String> = (0..2)
        .map(|boot| {
            let mut device = Device::with(Record::default());
            device.agent.memory = Memory::new(
                firmware(OLD),
                Policy::DEVICE,
                Record::default(),
                view(SLOTS.old, SlotState::Valid),
                Seed { jitter: 1, boot },
                0,
            );
            device.poll();
            device.step(answered(Decision::Install(Offer::for_test(Deployment {
                sha256: OLD,
                ..deployment()
            }))));
            device.agent.unsent()[0].message_id()
        })
        .collect();
    assert_ne!(boots[0], boots[1]);
}

#[test]
fn reports_say_when_by_the_attested_time() {
    let mut device = Device::new();
    device.poll();
    device.on(answered(install()), Action::AskToDownload);
    device.now += Duration::from_secs(30);
    device.on(Event::Permitted(Permission::Now), Action::Save);
    assert_eq!(device.agent.unsent()[0].report.measured_at, ATTESTED_S + 30);
}

#[test]
fn a_command_to_poll_is_obeyed_at_once() {
    let mut device = Device::new();
    device.on_wait(Event::Tick);
    device.on(Event::PollRequested, Action::Poll);
}

#[test]
fn a_device_that_cannot_go_back_stays_and_says_so() {
    let code = ErrorCode::SELF_TEST;
    let mut record = Record::default();
    let phase = Phase::Rejecting { slots: SLOTS, code };
    record.update = Some(Update { phase, ..Update::new(deployment()) });
    for _ in 0..8 {
        let mut device = Device::booted(record, SLOTS.new, SlotState::Undefined);
        device.on(Event::Tick, Action::Save);
        device.on(Event::Done, Action::Reject);
        device.on(Event::Failed(ErrorCode::FLASH_WRITE), Action::Reboot);
        record = device.agent.record().clone();
    }
    let mut device = Device::booted(record, SLOTS.new, SlotState::Undefined);
    device.on(Event::Tick, Action::Save);
    device.check_outcome(Reached::Failed, ErrorCode::BOOT_REJECTED);
}

#[test]
fn the_floor_is_the_higher_of_journal_and_firmware() {
    let record = |security_version| Record { security_version, ..Record::default() };
    assert_eq!(Device::with(record(9)).agent.security_version(), 9);
    assert_eq!(Device::with(record(0)).agent.security_version(), 3);
}
