//! What the application says about an update, and what becomes of it.

use super::*;

const SAID: [Permission; 3] =
    [Permission::Later(Duration::from_mins(7)), Permission::Never, Permission::Now];

#[test]
fn a_download_begins_now_or_is_offered_again_later_or_is_skipped_as_the_application_says() {
    for said in SAID {
        let mut device = Device::new();
        device.poll();
        device.on(answered(install()), Action::AskToDownload);
        let asked = device.now;
        match said {
            Permission::Later(wait) => {
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
            // D17: the server is asked once more.
            Permission::Now => device.on(Event::Permitted(said), Action::Poll),
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
