//! Downloads that are interrupted, with and without a chunk list, and servers that answer badly.

use super::*;
use crate::download::Opened;

const RECALL: Action = Action::Recall { list: LIST };

/// A device that was reset in the middle of a download and has been told again to install.
fn reset_in_a_download() -> Device {
    let update = Some(Update::new(deployment()));
    let mut device = Device::with(Record { update, ..Record::default() });
    device.poll();
    device.on(answered(install_listed()), Action::AskToDownload);
    device.on(Event::Permitted(Permission::Now), RECALL);
    device
}

fn open(from: u32) -> Action {
    Action::Open { sha256: NEW, from }
}

#[test]
fn after_a_reset_the_chunk_list_says_where_to_go_on() {
    let mut device = reset_in_a_download();
    device.on(Event::Transferred(4096), open(4096));
    device.on(opened(206, 4096), Action::Transfer { offset: 4096, bytes: 4096 });
}

#[test]
fn what_is_whole_in_flash_is_not_fetched_but_still_compared() {
    let mut device = reset_in_a_download();
    device.on(Event::Transferred(LENGTH), Action::Compare);
    device.on(Event::Compared(GOOD), Action::Inspect);
}

#[test]
fn a_list_that_promises_more_than_the_image_is_believed_up_to_its_end() {
    let mut device = reset_in_a_download();
    device.on(Event::Transferred(u32::MAX), Action::Compare);
}

/// D8: it saves downloads and vouches for nothing.
#[test]
fn a_list_that_lies_ends_in_a_whole_download_and_never_in_an_activation() {
    let mut device = reset_in_a_download();
    device.on(Event::Transferred(LENGTH), Action::Compare);
    for attempt in 2..=3 {
        device.on(Event::Compared(Comparison { flash: false, network: None }), Action::Save);
        device.on_wait(Event::Done);
        device.now += Policy::DEVICE.back_off_max;
        device.on(Event::Tick, Action::Poll);
        device.on(answered(Decision::Unchanged), Action::AskToDownload);
        if attempt == 2 {
            device.on(Event::Permitted(Permission::Now), RECALL);
            device.on(Event::Transferred(LENGTH), Action::Compare);
        } else {
            device.on(Event::Permitted(Permission::Now), open(0));
        }
    }
}

#[test]
fn without_a_usable_list_the_download_begins_anew() {
    let refused = Event::Opened(Opened { status: 404, ..Opened::default() });
    for answer in [
        refused,
        Event::Failed(ErrorCode::DOWNLOAD_STATUS),
        Event::Failed(ErrorCode::DOWNLOAD_HASH),
    ] {
        let mut device = reset_in_a_download();
        device.on(answer, open(0));
    }
}

#[test]
fn a_list_that_does_not_arrive_is_asked_for_once_more() {
    for code in [ErrorCode::DOWNLOAD_STALLED, ErrorCode::DOWNLOAD_TRUNCATED] {
        let mut device = reset_in_a_download();
        device.on_wait(Event::Failed(code));
        device.now += Policy::DEVICE.back_off_max;
        device.on(Event::Tick, Action::Poll);
        device.on(answered(Decision::Unchanged), Action::AskToDownload);
        device.on(Event::Permitted(Permission::Now), RECALL);
        device.on(Event::Failed(code), open(0));
    }
}

#[test]
fn flash_that_cannot_be_read_fails_the_deployment() {
    let mut device = reset_in_a_download();
    device.on(Event::Failed(ErrorCode::FLASH_REREAD), Action::Save);
    device.check_outcome(Reached::Failed, ErrorCode::FLASH_REREAD);
}

#[test]
fn a_first_download_asks_for_no_list_and_keeps_no_journal_of_its_progress() {
    let mut device = Device::new();
    device.poll();
    device.on(answered(install_listed()), Action::AskToDownload);
    device.on(Event::Permitted(Permission::Now), Action::Save);
    device.on(Event::Done, open(0));
    device.on(opened(200, 0), Action::Transfer { offset: 0, bytes: 4096 });
    device.on(Event::Transferred(4096), Action::Transfer { offset: 4096, bytes: 4096 });
    device.on(Event::Transferred(4096), Action::Transfer { offset: 8192, bytes: 100 });
    device.on(Event::Transferred(100), Action::Compare);
}

#[test]
fn within_one_boot_a_broken_download_needs_no_list() {
    let mut device = reset_in_a_download();
    device.on(Event::Transferred(4096), open(4096));
    device.on(opened(206, 4096), Action::Transfer { offset: 4096, bytes: 4096 });
    device.on(Event::Transferred(4096), Action::Transfer { offset: 8192, bytes: 100 });
    device.on_wait(Event::Failed(ErrorCode::DOWNLOAD_TRUNCATED));
    device.now += Policy::DEVICE.back_off_max;
    device.on(Event::Tick, Action::Poll);
    device.on(answered(Decision::Unchanged), Action::AskToDownload);
    device.on(Event::Permitted(Permission::Now), open(8192));
}

/// A restart of the server must not fail the deployments of a fleet.
#[test]
fn a_busy_server_is_waited_for_as_long_as_it_asks_and_is_held_against_nobody() {
    let wait = Duration::from_mins(20);
    let busy = || {
        let retry_after = Some(wait);
        Event::Opened(Opened { status: 503, retry_after, ..Opened::default() })
    };
    for (mut device, next) in
        [(Device::fetched_to(4096), open(4096)), (reset_in_a_download(), RECALL)]
    {
        for _ in 0..3 * Policy::DEVICE.stalls_max {
            let Action::Wait { until } = device.step(busy()) else { panic!("does not wait") };
            assert!((wait..=wait * 3 / 2).contains(&until.abs_diff(device.now)));
            device.now = until;
            device.on(Event::Tick, Action::Poll);
            device.on(answered(Decision::Unchanged), Action::AskToDownload);
            device.on(Event::Permitted(Permission::Now), next);
        }
    }
}

#[test]
fn a_server_that_is_too_busy_for_a_poll_is_asked_again_when_it_says() {
    let wait = Duration::from_mins(20);
    let mut device = Device::new();
    device.poll();
    for _ in 0..20 {
        let action = device.step(Event::Busy(wait));
        let Action::Wait { until } = action else { panic!("{action:?}") };
        assert!((wait..=wait * 3 / 2).contains(&until.abs_diff(device.now)));
        device.now = until;
        device.on(Event::Tick, Action::Poll);
    }
}

/// D18: no longer than without an answer, and to the last minute.
#[test]
fn a_busy_server_gets_until_the_deadline_of_a_trial_and_is_asked_once_more_then() {
    let mut device = Device::on_trial();
    device.on(Event::Done, Action::SelfTest);
    device.on(Event::SelfTested(SelfTest::Passed), Action::Poll);
    let until = device.now + Policy::DEVICE.no_contact_max;
    device.on(Event::Busy(Duration::from_hours(5)), Action::Wait { until });
    device.now = until;
    device.on(Event::Tick, Action::Poll);
    device.on(Event::Busy(Duration::from_hours(5)), Action::Save);
    let code = ErrorCode::NO_CONTACT;
    assert_eq!(device.phase(), Some(Phase::Rejecting { slots: SLOTS, code }));
}

#[test]
fn a_busy_server_stops_neither_an_activation_nor_a_soak_for_good() {
    let wait = Duration::from_mins(20);
    let mut device = Device::new();
    device.poll();
    device.download();
    device.on(Event::Done, Action::AskToReboot);
    device.on(Event::Permitted(Permission::Now), Action::Poll);
    device.on_wait(Event::Busy(wait));
    device.now += wait * 3 / 2;
    device.on(Event::Tick, Action::AskToReboot);

    let mut device = Device::soaking();
    device.on_wait(Event::Health(Health::Good));
    device.on(Event::PollRequested, Action::Poll);
    device.on_wait(Event::Busy(wait));
    device.now += Duration::from_mins(1);
    device.on(Event::Tick, Action::CheckHealth);
}

/// The server offers it again, as often as the plan says.
#[test]
fn a_download_that_failed_for_want_of_a_network_goes_on_where_it_was_when_it_is_offered_again() {
    let mut device = Device::new();
    device.poll();
    device.on(answered(install_listed()), Action::AskToDownload);
    device.on(Event::Permitted(Permission::Now), Action::Save);
    device.on(Event::Done, Action::Open { sha256: NEW, from: 0 });
    for _ in 1..Policy::DEVICE.stalls_max {
        device.on_wait(Event::Failed(ErrorCode::DOWNLOAD_STALLED));
        device.now += Policy::DEVICE.back_off_max;
        device.on(Event::Tick, Action::Poll);
        device.on(answered(Decision::Unchanged), Action::AskToDownload);
        device.step(Event::Permitted(Permission::Now));
    }
    device.on(Event::Failed(ErrorCode::DOWNLOAD_STALLED), Action::Save);
    device.check_outcome(Reached::Failed, ErrorCode::DOWNLOAD_STALLED);
    device.on_wait(Event::Done);
    device.on(Event::PollRequested, Action::Poll);
    device.on_wait(answered(Decision::Nothing));
    device.on(Event::PollRequested, Action::Poll);
    device.on(answered(install_listed()), Action::AskToDownload);
    device.on(Event::Permitted(Permission::Now), Action::Save);
    device.on(Event::Done, Action::Recall { list: LIST });
}

#[test]
fn a_download_that_never_gets_further_fails() {
    let mut device = Device::fetched_to(4096);
    for _ in 1..Policy::DEVICE.stalls_max {
        device.on_wait(Event::Failed(ErrorCode::DOWNLOAD_STALLED));
        device.now += Policy::DEVICE.back_off_max;
        device.on(Event::Tick, Action::Poll);
        device.on(answered(Decision::Unchanged), Action::AskToDownload);
        device.step(Event::Permitted(Permission::Now));
    }
    device.on(Event::Failed(ErrorCode::DOWNLOAD_STALLED), Action::Save);
    device.check_outcome(Reached::Failed, ErrorCode::DOWNLOAD_STALLED);
}

#[test]
fn downloads_that_broke_off_are_not_held_against_the_next_update() {
    let open = Action::Open { sha256: NEW, from: 0 };
    let next = Deployment { rollout: "r-2".parse().unwrap(), ..deployment() };
    for taken_back in [true, false] {
        let mut device = Device::new();
        device.poll();
        device.accept();
        device.on(Event::Done, open);
        for _ in 2..Policy::DEVICE.stalls_max {
            device.break_off();
            device.on(answered(Decision::Unchanged), Action::AskToDownload);
            device.on(Event::Permitted(Permission::Now), open);
        }
        device.break_off();
        let offer = answered(Decision::Install(Offer::for_test(next.clone())));
        if taken_back {
            device.on(answered(Decision::Nothing), Action::Save);
            device.on_wait(Event::Done);
            device.now += Policy::DEVICE.poll_max;
            device.on(Event::Tick, Action::Poll);
            device.on(offer, Action::AskToDownload);
        } else {
            device.on(offer, Action::Save);
            device.on(Event::Done, Action::AskToDownload);
        }
        device.on(Event::Permitted(Permission::Now), Action::Save);
        device.on(Event::Done, open);
        device.break_off();
        assert_eq!(device.agent.deployment(), Some(&next), "taken back: {taken_back}");
    }
}
