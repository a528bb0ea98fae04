//! What the application says about an update, and what becomes of it.

use super::*;
use crate::journal::PutOff;
use crate::ports::Deferrals;
use waxwing_wire::report::Deferral;

const SAID: [Permission; 4] = [
    Permission::Defer(Duration::from_mins(7)),
    Permission::Later(Duration::from_mins(7)),
    Permission::Never,
    Permission::Now,
];

#[test]
fn a_download_begins_now_or_is_offered_again_later_or_is_skipped_as_the_application_says() {
    for said in SAID {
        let mut device = Device::new();
        device.poll();
        device.on(answered(install()), Action::AskToDownload);
        let asked = device.now;
        match said {
            Permission::Defer(wait) | Permission::Later(wait) => {
                device.on(Event::Permitted(said), Action::Wait { until: asked + wait });
                assert_eq!(device.reported(), [], "nothing has begun");
                device.now += wait;
                device.on(Event::Tick, Action::Poll);
                device.on(answered(Decision::Unchanged), Action::AskToDownload);
            }
            Permission::Never => {
                device.on(Event::Permitted(said), Action::Save);
                device.check_outcome(Reached::Skipped, ErrorCode::NONE);
                device.on_wait(Event::Done);
                device.now += Policy::DEVICE.poll_max;
                device.on(Event::Tick, Action::Poll);
                device.on_wait(answered(install()));
            }
            Permission::Now => {
                device.on(Event::Permitted(said), Action::Save);
                device.on(Event::Done, Action::Open { sha256: NEW, from: 0 });
                assert_eq!(device.reported(), [Reached::Downloading]);
            }
        }
    }
}

#[test]
fn a_device_restarts_now_or_is_asked_again_later_or_keeps_its_image_as_the_application_says() {
    for said in SAID {
        let mut device = Device::new();
        device.poll();
        device.download();
        device.on(Event::Done, Action::AskToReboot);
        let asked = device.now;
        match said {
            Permission::Later(wait) => {
                device.on_wait(Event::Permitted(said));
                device.now = asked + wait;
                device.on(Event::Tick, Action::AskToReboot);
            }
            Permission::Never => {
                device.on(Event::Permitted(said), Action::Save);
                device.check_outcome(Reached::Skipped, ErrorCode::NONE);
                device.on_wait(Event::Done);
            }
            // D17: the server is asked once more. Nobody said that the user may put it off.
            Permission::Defer(_) | Permission::Now => {
                device.on(Event::Permitted(said), Action::Poll);
            }
        }
    }
}

/// A device that the application does not let restart.
fn deferred(wait: Duration) -> Device {
    let mut device = Device::new();
    device.poll();
    device.download();
    device.on(Event::Done, Action::AskToReboot);
    device.on_wait(Event::Permitted(Permission::Later(wait)));
    device
}

#[test]
fn nobody_is_asked_for_a_restart_in_a_circle_or_never_again() {
    let mut hasty = deferred(Duration::ZERO);
    let asked = hasty.now;
    hasty.on(Event::Tick, Action::Wait { until: asked + Policy::DEVICE.poll_min });
    for wait in [Duration::from_hours(24 * 31), Duration::MAX] {
        let mut device = deferred(wait);
        device.now += Policy::DEVICE.poll_max;
        device.on(Event::Tick, Action::AskToReboot);
    }
}

#[test]
fn polls_go_on_while_a_restart_waits_and_an_offer_that_is_gone_is_forgotten() {
    for asked_for in [Event::PollRequested, Event::Tick] {
        let mut device = deferred(Duration::from_hours(3));
        let until = device.now + Duration::from_hours(3);
        let Action::Wait { until: poll_at } = device.last else { panic!("{:?}", device.last) };
        if matches!(asked_for, Event::Tick) {
            device.now = poll_at;
        }
        for answer in [
            Event::Failed(ErrorCode::NO_CONTACT),
            Event::Busy(Duration::from_mins(1)),
            answered(Decision::Unchanged),
            answered(install()),
        ] {
            device.on(asked_for.clone(), Action::Poll);
            device.on_wait(answer);
            let Action::Wait { until: next } = device.last else { panic!("{:?}", device.last) };
            assert!(
                next > device.now && next <= until,
                "no restart before the application says so"
            );
            if matches!(asked_for, Event::Tick) {
                device.now = next;
            }
        }
        device.on(asked_for, Action::Poll);
        device.on(answered(Decision::Nothing), Action::Save);
        assert_eq!(device.phase(), None);
        device.on_wait(Event::Done);
        device.now = until;
        device.on(Event::Tick, Action::Poll);
    }
}

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A device that asks for a restart its user may put off this often, and until then.
fn deferrable(times: u8, until: u64) -> Device {
    let mut device = Device::new();
    device.poll();
    device.on(answered(put_off_at_most(times, until)), Action::AskToDownload);
    device.on(Event::Permitted(Permission::Now), Action::Save);
    device.on(Event::Done, Action::Open { sha256: NEW, from: 0 });
    device.transfer_all();
    device.on(Event::Compared(GOOD), Action::Inspect);
    device.on(Event::Done, Action::AskToReboot);
    device
}

fn put_off_at_most(times: u8, until: u64) -> Decision {
    Decision::Install(Offer::for_test(deployment()).with_deferrals(times, until))
}

/// Has the user put the restart off, and lets the time pass without polls.
#[track_caller]
fn put_off(device: &mut Device, wait: Duration, granted: Duration) {
    device.on(Event::Permitted(Permission::Defer(wait)), Action::Save);
    device.on_wait(Event::Done);
    device.now += granted.saturating_sub(Duration::from_secs(1));
    assert!(device.step(Event::Tick) != Action::AskToReboot, "asked too early");
    if device.last == Action::Poll {
        device.on_wait(answered(Decision::Unchanged));
    }
    device.now += Duration::from_secs(1);
    device.on(Event::Tick, Action::AskToReboot);
}

fn told(device: &Device) -> Vec<Option<Deferral>> {
    let unsent = device.agent.unsent().iter();
    let verified = unsent.filter(|unsent| unsent.report.state == Reached::Verified);
    verified.map(|unsent| unsent.report.deferred).collect()
}

#[test]
fn a_user_puts_a_restart_off_as_often_as_the_plan_says_for_a_day_at_most_and_not_once_more() {
    let mut device = deferrable(2, u64::MAX);
    assert_eq!(device.agent.deferrals(), Deferrals { left: 2, longest: DAY });
    put_off(&mut device, HOUR, HOUR);
    assert_eq!(device.agent.deferrals(), Deferrals { left: 1, longest: DAY });
    put_off(&mut device, Duration::MAX, DAY);
    assert_eq!(device.agent.deferrals().left, 0);
    let times: Vec<_> = told(&device).iter().map(|it| it.map(|it| it.times)).collect();
    assert_eq!(times, [None, Some(1), Some(2)]);
    device.on(Event::Permitted(Permission::Defer(HOUR)), Action::Poll);
    device.on(answered(Decision::Unchanged), Action::Compare);
}

#[test]
fn a_user_puts_a_restart_off_until_the_date_at_the_latest() {
    let mut device = deferrable(9, ATTESTED_S + 2 * 3600);
    assert_eq!(device.agent.deferrals(), Deferrals { left: 9, longest: 2 * HOUR });
    device.on(Event::Permitted(Permission::Defer(DAY)), Action::Save);
    device.on_wait(Event::Done);
    let deferral = Deferral { times: 1, until: ATTESTED_S + 2 * 3600 };
    assert_eq!(told(&device).last(), Some(&Some(deferral)));
    device.now += 2 * HOUR;
    device.on(Event::Tick, Action::AskToReboot);
    assert_eq!(device.agent.deferrals().left, 0);
    device.on(Event::Permitted(Permission::Defer(HOUR)), Action::Poll);
    assert_eq!(deferrable(9, ATTESTED_S).agent.deferrals().left, 0, "it is over");
}

#[test]
fn a_busy_device_is_waited_for_whatever_its_user_has_used_up() {
    let mut device = deferrable(1, u64::MAX);
    put_off(&mut device, HOUR, HOUR);
    let asked = device.now;
    device.on_wait(Event::Permitted(Permission::Later(HOUR)));
    device.now = asked + HOUR;
    device.on(Event::Tick, Action::AskToReboot);
    device.on(Event::Permitted(Permission::Never), Action::Save);
    device.check_outcome(Reached::Skipped, ErrorCode::NONE);
}

#[test]
fn after_a_reset_a_deferral_is_neither_forgotten_nor_asked_for_again_before_it_is_over() {
    let mut device = deferrable(1, u64::MAX);
    device.on(Event::Permitted(Permission::Defer(HOUR)), Action::Save);
    device.on_wait(Event::Done);
    let mut device = device.reboot(SLOTS.old, SlotState::Valid);
    device.poll();
    let again = put_off_at_most(1, u64::MAX);
    device.on(answered(again), Action::AskToDownload);
    device.on(Event::Permitted(Permission::Now), Action::Compare);
    device.on(Event::Compared(GOOD), Action::Inspect);
    let checked = device.now;
    device.on_wait(Event::Done);
    let deferral = Deferral { times: 1, until: ATTESTED_S + 3600 };
    assert_eq!(told(&device).last(), Some(&Some(deferral)));
    device.now = checked + HOUR;
    device.on(Event::Tick, Action::AskToReboot);
    assert_eq!(device.agent.deferrals().left, 0);
}

#[test]
fn a_deferral_outlives_that_the_offer_is_taken_back_and_so_does_the_image() {
    let mut device = deferrable(1, u64::MAX);
    device.on(Event::Permitted(Permission::Defer(HOUR)), Action::Save);
    device.on_wait(Event::Done);
    device.on(Event::PollRequested, Action::Poll);
    device.on(answered(Decision::Nothing), Action::Save);
    device.on_wait(Event::Done);
    let mut restarted = Device::with(device.agent.record().clone());
    restarted.poll();
    device.on(Event::PollRequested, Action::Poll);
    for mut device in [device, restarted] {
        device.on(answered(install_listed()), Action::AskToDownload);
        device.on(Event::Permitted(Permission::Now), Action::Save);
        device.on(Event::Done, Action::Recall { list: LIST });
        device.step(Event::Transferred(LENGTH));
        while device.last == Action::Save {
            device.step(Event::Done);
        }
        assert_eq!(device.last, Action::Compare, "nothing is fetched again");
    }
    let of_another = PutOff {
        rollout: "r-0".parse().unwrap(),
        sha256: NEW,
        deferral: Deferral { times: 1, until: 0 },
    };
    let record = Record { put_off: Some(of_another), ..Record::default() };
    assert_eq!(record.deferral_of(&deployment()), None);
}
