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
                device.on(Event::Permitted(said), Action::Wait { until: asked + wait });
                device.now += wait;
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
