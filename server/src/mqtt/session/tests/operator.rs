//! An operator listens to devices, and does nothing else.

use super::*;
use crate::mqtt::testing::text;

/// A session of an operator that is open.
struct Operator(Device);

impl Operator {
    fn connecting() -> Device {
        let now = Duration::from_secs(1000);
        let scope = Scope::Operator("ada".to_owned());
        Device { session: Session::new(scope, "made-up".to_owned(), Limits::NONE, now), now }
    }

    fn open(version: Version) -> Self {
        let mut device = Self::connecting();
        device.receive(&ConnectBytes { client_id: "explorer", ..connect(version) }.bytes());
        let actions = device.attached(None);
        assert!(matches!(&actions[..], [Action::Send(connack)] if connack[3] == 0), "{actions:?}");
        Self(device)
    }

    fn subscribe(&mut self, version: Version, filter: &str, qos: u8) -> Vec<Action> {
        self.0.receive(&subscribe(version, 5, filter, qos))
    }

    /// Tells it what a device said.
    fn hear(&mut self, device: &str, kind: Kind) -> Vec<Action> {
        let (device, payload) = (device.parse().unwrap(), Bytes::from_static(b"x"));
        self.0.on(Event::Said(Arc::new(Said { device, kind, payload })))
    }
}

#[test]
fn an_operator_is_let_in_under_any_name_and_keeps_nothing() {
    for client_id in ["mqtt-explorer-1", "d-1", "ä#+/"] {
        let properties = vec![0x11, 0, 0, 0, 60];
        let connect = ConnectBytes { client_id, flags: 0, properties, ..connect(Version::V5) };
        let mut device = Operator::connecting();
        let wish = Wish { clean_start: false, expiry_s: 0 };
        assert_eq!(device.receive(&connect.bytes()), [Action::Attach(wish)]);
        assert_eq!(device.session.client_id(), client_id);
        let actions = device.attached(None);
        let Action::Send(connack) = &actions[0] else { panic!("{actions:?}") };
        for property in [&[0x11, 0, 0, 0, 0][..], &[0x28, 1]] {
            assert!(connack.windows(property.len()).any(|w| w == property), "{connack:02x?}");
        }
    }
    let mut device = Operator::connecting();
    device.receive(&ConnectBytes { client_id: "", ..connect(Version::V5) }.bytes());
    assert_eq!(device.session.client_id(), "made-up");
    let actions = device.attached(None);
    let assigned = [&[0x12], &text("made-up")[..]].concat();
    let Action::Send(connack) = &actions[0] else { panic!("{actions:?}") };
    assert!(connack.windows(assigned.len()).any(|w| w == assigned));
}

#[test]
fn a_name_as_long_as_a_novel_and_a_last_will_are_refused() {
    let long: &'static str = "x".repeat(300).leak();
    let connect = connect(Version::V5);
    for (packet, code) in [
        (ConnectBytes { client_id: long, ..connect.clone() }, 0x85),
        (connect.clone().with_will("waxwing/v1/d-1/state", 0), 0x87),
        (connect.with_will(TELEMETRY, 0), 0x87),
    ] {
        let actions = Operator::connecting().receive(&packet.bytes());
        assert_eq!(actions, [Action::Send(vec![0x20, 3, 0, code, 0]), close()]);
    }
}

#[test]
fn an_operator_hears_what_it_subscribes_to_and_is_told_so_afterwards() {
    for version in BOTH {
        let mut operator = Operator::open(version);
        assert_eq!(operator.hear("d-1", Kind::Telemetry), []);
        for qos in 0..3 {
            let filter = "waxwing/v1/+/telemetry";
            let actions = operator.subscribe(version, filter, qos);
            if qos == 0 {
                let feeds = vec![Filter::parse(filter).unwrap()];
                assert_eq!(actions[0], Action::Hear(feeds));
            }
            assert_eq!(code(&actions), Some((0x90, 0)), "granted with QoS 0");
        }
        operator.subscribe(version, "#", 0);
        let message = publish(version, 0, "waxwing/v1/d-2/telemetry", 0, "x");
        assert_eq!(operator.hear("d-2", Kind::Telemetry), [Action::Send(message)], "once");
        operator.0.receive(&unsubscribe(version, 6, "#"));
        assert_eq!(operator.hear("d-2", Kind::State), [], "was on its way");
        let actions = operator.0.receive(&unsubscribe(version, 7, "waxwing/v1/+/telemetry"));
        assert_eq!(actions[0], Action::Hear(Vec::new()));
        assert_eq!(operator.hear("d-2", Kind::Telemetry), []);
    }
}

#[test]
fn what_cannot_be_subscribed_to_is_refused_with_its_reason() {
    for (filter, reason) in [
        ("$SYS/#", 0x87),
        ("waxwing/v1/+/command", 0x87),
        ("a/b", 0x87),
        ("waxwing/v1/#/telemetry", 0x8f),
        ("$share/g/#", 0x9e),
    ] {
        let actions = Operator::open(Version::V5).subscribe(Version::V5, filter, 0);
        assert_eq!(code(&actions), Some((0x90, reason)), "{filter}");
        assert_eq!(actions.len(), 1);
        let actions = Operator::open(Version::V3).subscribe(Version::V3, filter, 0);
        assert_eq!(code(&actions), Some((0x90, 0x80)), "{filter}");
    }
}

#[test]
fn filters_of_one_connection_are_bounded() {
    let mut operator = Operator::open(Version::V5);
    let codes = (0..40).map(|number| {
        let filter = format!("waxwing/v1/d-{number}/state");
        code(&operator.subscribe(Version::V5, &filter, 0)).unwrap().1
    });
    let codes: Vec<_> = codes.collect();
    assert_eq!(codes, [[0; 32].as_slice(), &[0x97; 8]].concat());
}

#[test]
fn nobody_publishes_as_a_device() {
    for topic in [TELEMETRY, COMMAND, "waxwing/v1/ada/state", "a", "#"] {
        let v5 = || Operator::open(Version::V5).0;
        for flags in [0b10, 0b100] {
            let actions = v5().receive(&publish(Version::V5, flags, topic, 9, ""));
            let Action::Send(answer) = &actions[0] else { panic!("{actions:?}") };
            assert_eq!((actions.len(), answer[4]), (1, 0x87), "{topic}");
        }
        let actions = v5().receive(&publish(Version::V5, 0, topic, 0, ""));
        assert_eq!(actions, [disconnect(0x87), close()], "{topic}");
        for flags in [0, 0b10, 0b100] {
            let mut operator = Operator::open(Version::V3).0;
            let actions = operator.receive(&publish(Version::V3, flags, topic, 9, ""));
            assert_eq!(actions, [close()], "{topic}");
        }
    }
}

#[test]
fn what_is_larger_than_the_client_takes_is_left_out() {
    let mut device = Operator::connecting();
    let properties = vec![0x27, 0, 0, 0, 20];
    device.receive(&ConnectBytes { client_id: "x", properties, ..connect(Version::V5) }.bytes());
    // A client that takes so little cannot even be welcomed.
    assert_eq!(device.attached(None).last(), Some(&close()));
    let mut device = Operator::connecting();
    let properties = vec![0x27, 0, 0, 0, 60];
    device.receive(&ConnectBytes { client_id: "x", properties, ..connect(Version::V5) }.bytes());
    device.attached(None);
    let mut operator = Operator(device);
    operator.subscribe(Version::V5, "#", 0);
    let payload = Bytes::from("x".repeat(100));
    let said = Said { device: "d-1".parse().unwrap(), kind: Kind::State, payload };
    assert_eq!(operator.0.on(Event::Said(Arc::new(said))), []);
    assert_eq!(operator.hear("d-1", Kind::State).len(), 1);
}
