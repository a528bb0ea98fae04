//! What a device may read of another one.

use std::collections::BTreeSet;

use super::*;

const OTHERS: &str = "waxwing/v1/d-2/telemetry";

fn said(kind: Kind) -> Event<'static> {
    let (device, payload) = ("d-2".parse().unwrap(), Bytes::from_static(b"21"));
    Event::Said(Arc::new(Said { device, kind, payload }))
}

fn feed() -> Filter {
    Filter { device: Some("d-2".parse().unwrap()), kind: Some(Kind::Telemetry) }
}

#[test]
fn a_device_hears_another_one_as_long_as_that_is_granted() {
    for version in BOTH {
        let mut device = Device::open(version);
        let refusal = if version == Version::V3 { 0x80 } else { 0x87 };
        let actions = device.receive(&subscribe(version, 5, OTHERS, 1));
        assert_eq!(code(&actions), Some((0x90, refusal)));
        assert_eq!(device.grant("d-2", &[Kind::Telemetry]), []);
        let actions = device.receive(&subscribe(version, 5, OTHERS, 1));
        assert_eq!(actions[0], Action::Hear(vec![feed()]));
        assert_eq!(code(&actions), Some((0x90, 0)));
        let message = publish(version, 0, OTHERS, 0, "21");
        assert_eq!(device.on(said(Kind::Telemetry)), [Action::Send(message)]);
        assert_eq!(device.on(said(Kind::State)), [], "not granted, not subscribed to");
        assert_eq!(device.grant("d-2", &[Kind::State]), [Action::Hear(Vec::new())]);
        assert_eq!(device.on(said(Kind::Telemetry)), [], "was on its way");
        let actions = device.receive(&unsubscribe(version, 6, OTHERS));
        assert!(matches!(&actions[..], [Action::Send(_)]), "{actions:?}");
    }
}

#[test]
fn a_grant_to_read_is_no_grant_to_write() {
    let mut device = Device::open(Version::V5);
    device.grant("d-2", &[Kind::Telemetry, Kind::State]);
    let actions = device.receive(&publish(Version::V5, 0b10, OTHERS, 9, ""));
    assert_eq!(code(&actions), Some((0x40, 0x87)));
}

#[test]
fn a_session_that_is_kept_goes_on_listening_to_what_is_still_granted() {
    let subscribed = Subscribed {
        commands: None,
        feeds: vec![OTHERS.to_owned(), "waxwing/v1/d-3/state".to_owned()],
    };
    let session = keeper::Session { subscribed, commands: Vec::new(), taken: BTreeSet::new() };
    let mut device = Device::new();
    device.grant("d-2", &[Kind::Telemetry]);
    let properties = vec![0x11, 0, 0, 0, 60];
    device.receive(&ConnectBytes { flags: 0, properties, ..connect(Version::V5) }.bytes());
    let actions = device.attached(Some(session));
    let left = Subscribed { commands: None, feeds: vec![OTHERS.to_owned()] };
    assert_eq!(actions[1..], [Action::Note(left), Action::Hear(vec![feed()])]);
}
