//! What becomes of what is too much.

use super::*;

/// One message at once.
const LIMITS: Limits = Limits { messages_per_s: 1, bytes_per_s: 1000, burst_s: 1 };

fn open(version: Version) -> Device {
    let mut device = Device::open(version);
    device.session.limits = LIMITS;
    device
}

#[test]
fn a_message_too_many_is_refused_with_its_reason() {
    for qos in [0b10, 0b100] {
        let mut device = open(Version::V5);
        device.receive(&publish(Version::V5, qos, TELEMETRY, 1, "x"));
        let actions = device.receive(&publish(Version::V5, qos, TELEMETRY, 2, "x"));
        assert_eq!(actions, [], "answers keep their order");
        let actions = device.on(Event::Answered(Ok(())));
        let Action::Send(answer) = &actions[1] else { panic!("{actions:?}") };
        assert_eq!((&answer[2..5], actions.len()), (&[0, 2, 0x97][..], 2));
        let quota = (Part::Publish, Reason::QuotaExceeded);
        assert_eq!(device.session.take_refused(), [quota]);
        let message = publish(Version::V5, qos, TELEMETRY, 3, "x");
        let actions = device.after(Duration::from_secs(1), Event::Received(&message));
        assert_eq!(actions, [deliver(Kind::Telemetry, "x")]);
    }
}

#[test]
fn a_message_too_many_that_nobody_answers_is_left_out_and_counted() {
    for version in BOTH {
        let mut device = open(version);
        device.receive(&publish(version, 0, TELEMETRY, 0, "x"));
        device.on(Event::Answered(Ok(())));
        assert_eq!(device.receive(&publish(version, 0, TELEMETRY, 0, "x")), []);
        let quota = (Part::Publish, Reason::QuotaExceeded);
        assert_eq!(device.session.take_refused(), [quota]);
    }
}

#[test]
fn an_old_device_that_sends_too_much_gets_no_answer_and_is_let_go() {
    let mut device = open(Version::V3);
    device.receive(&publish(Version::V3, 0b10, TELEMETRY, 1, "x"));
    device.on(Event::Answered(Ok(())));
    let actions = device.receive(&publish(Version::V3, 0b10, TELEMETRY, 2, "x"));
    assert_eq!(actions, [close()]);
    let quota = (Part::Connection, Reason::QuotaExceeded);
    assert_eq!(device.session.take_refused(), [quota]);
}

#[test]
fn too_many_bytes_are_too_much_as_well() {
    let mut device = open(Version::V5);
    let long = "x".repeat(2000);
    let actions = device.receive(&publish(Version::V5, 0b10, TELEMETRY, 1, &long));
    assert_eq!(code(&actions), Some((0x40, 0x97)));
}

#[test]
fn who_asks_for_signs_of_life_all_the_time_is_let_go() {
    let mut device = open(Version::V5);
    let actions = device.receive(&PING.repeat(5));
    assert_eq!(actions[4..], [disconnect(0x97), close()]);
    let mut device = open(Version::V5);
    for _ in 0..20 {
        let actions = device.after(Duration::from_millis(500), Event::Received(&PING));
        assert_eq!(actions, [Action::Send(vec![0xd0, 0])]);
    }
}
