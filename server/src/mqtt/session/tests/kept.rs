//! What outlives a connection, and what of it the device is told when it is back.

use std::collections::BTreeSet;

use mqtt_protocol_core::mqtt::packet::Qos;

use super::device::letter;
use super::*;
use crate::mqtt::codec::PacketId;
use crate::mqtt::keeper::KEPT_PACKET_MIN;
use crate::mqtt::session::connect::SESSION_EXPIRY_S_MAX;

fn kept_session(version: Version) -> ConnectBytes {
    let for_ever = vec![0x11, 0xff, 0xff, 0xff, 0xff];
    match version {
        Version::V3 => ConnectBytes { flags: 0, ..connect(version) },
        Version::V5 => ConnectBytes { flags: 0, properties: for_ever, ..connect(version) },
    }
}

fn place(position: u64) -> Place {
    let packet = KEPT_PACKET_MIN + u16::try_from(position).unwrap();
    Place { position, packet: PacketId::new(packet).unwrap() }
}

#[test]
fn what_was_not_acknowledged_comes_again_on_the_next_connection() {
    for version in BOTH {
        let mut device = Device::open_with(&kept_session(version));
        device.receive(&subscribe(version, 5, COMMAND, 1));
        device.receive(&publish(version, 0b100, TELEMETRY, 9, "x"));
        device.on(Event::Answered(Ok(())));
        device.on(Event::Command(letter("one", Some(place(1)))));
        device.on(Event::Command(letter("lost", None)));
        device.on(Event::Lost);
        let rest = device.session.into_rest().unwrap();
        let taken = BTreeSet::from([PacketId::new(9).unwrap()]);
        assert_eq!(rest, Rest { expiry_s: SESSION_EXPIRY_S_MAX, sent: vec![1], taken });
        let mut device = Device::new();
        device.receive(&kept_session(version).bytes());
        let commands =
            vec![(letter("one", Some(place(1))), true), (letter("two", Some(place(2))), false)];
        let subscribed = Subscribed { commands: Some(Qos::AtLeastOnce), feeds: Vec::new() };
        let session = keeper::Session { subscribed, commands, taken: rest.taken };
        let actions = device.attached(Some(session));
        let Action::Send(connack) = &actions[0] else { panic!("{actions:?}") };
        assert_eq!(connack[2], 1, "session present");
        let again = publish(version, 0b1010, COMMAND, KEPT_PACKET_MIN + 1, "one");
        let first = publish(version, 0b10, COMMAND, KEPT_PACKET_MIN + 2, "two");
        let expected = [Action::Listen(true), Action::Send(again), Action::Send(first)];
        assert_eq!(actions[1..], expected);
        let actions = device.receive(&puback(KEPT_PACKET_MIN + 1));
        assert_eq!(actions, [Action::Taken(place(1))]);
        let again = device.receive(&publish(version, 0b1100, TELEMETRY, 9, "x"));
        assert_eq!(again, [Action::Send(pubrec(9))], "taken on the connection before");
    }
}

#[test]
fn a_subscription_of_a_session_that_is_kept_is_noted_before_it_is_acknowledged() {
    for version in BOTH {
        let mut device = Device::open_with(&kept_session(version));
        let actions = device.receive(&subscribe(version, 5, COMMAND, 1));
        let commands = Some(Qos::AtLeastOnce);
        let subscribed = Subscribed { commands, feeds: Vec::new() };
        assert_eq!(actions[..2], [Action::Listen(true), Action::Note(subscribed)]);
        assert_eq!(code(&actions), Some((0x90, 1)));
        // The same once more is nothing new.
        let actions = device.receive(&subscribe(version, 6, COMMAND, 1));
        assert_eq!(actions[0], Action::Listen(true));
        let actions = device.receive(&unsubscribe(version, 7, COMMAND));
        let none = Action::Note(Subscribed::default());
        assert_eq!(actions[..2], [Action::Listen(false), none]);
    }
}

#[test]
fn commands_go_out_under_the_name_that_was_subscribed_to_also_on_the_next_connection() {
    const EXISTING: &str = "device/d-1/response";

    for version in BOTH {
        let mut device = Device::open_with(&kept_session(version));
        let actions = device.receive(&subscribe(version, 5, EXISTING, 1));
        let subscribed =
            Subscribed { commands: Some(Qos::AtLeastOnce), feeds: vec![EXISTING.to_owned()] };
        assert_eq!(actions[1], Action::Note(subscribed.clone()));
        let message = publish(version, 0b10, EXISTING, 1, "x");
        assert_eq!(device.command("x"), [Action::Send(message)]);
        let actions = device.receive(&unsubscribe(version, 6, COMMAND));
        assert_eq!(actions.len(), 1, "nobody subscribed to that: {actions:?}");

        let mut device = Device::new();
        device.receive(&kept_session(version).bytes());
        let commands = vec![(letter("one", Some(place(1))), true)];
        let session = keeper::Session { subscribed, commands, taken: BTreeSet::new() };
        let again = publish(version, 0b1010, EXISTING, KEPT_PACKET_MIN + 1, "one");
        assert_eq!(device.attached(Some(session)).last(), Some(&Action::Send(again)));

        device.receive(&subscribe(version, 7, COMMAND, 1));
        let message = publish(version, 0b10, COMMAND, 1, "x");
        assert_eq!(device.command("x"), [Action::Send(message)], "the last name counts");
    }
}

#[test]
fn a_command_that_no_answer_is_awaited_for_is_taken_when_it_is_sent() {
    let mut device = Device::open_with(&kept_session(Version::V3));
    device.receive(&subscribe(Version::V3, 5, COMMAND, 0));
    let actions = device.on(Event::Command(letter("x", Some(place(1)))));
    let message = publish(Version::V3, 0, COMMAND, 0, "x");
    assert_eq!(actions, [Action::Send(message), Action::Taken(place(1))]);
}

#[test]
fn what_a_device_wants_of_its_session_is_asked_for_within_the_limit() {
    for version in BOTH {
        let actions = Device::new().receive(&kept_session(version).bytes());
        let wish = Wish { clean_start: false, expiry_s: SESSION_EXPIRY_S_MAX };
        assert_eq!(actions, [Action::Attach(wish)]);
        let actions = Device::new().receive(&connect(version).bytes());
        assert_eq!(actions, [Action::Attach(Wish { clean_start: true, expiry_s: 0 })]);
    }
}

#[test]
fn a_clean_start_forgets_what_was_kept() {
    let session = keeper::Session {
        subscribed: Subscribed { commands: Some(Qos::AtLeastOnce), feeds: Vec::new() },
        commands: vec![(letter("x", Some(place(1))), false)],
        ..keeper::Session::default()
    };
    let mut device = Device::new();
    device.receive(&connect(Version::V5).bytes());
    let actions = device.attached(Some(session));
    assert!(matches!(&actions[..], [Action::Send(connack)] if connack[2] == 0));
}

#[test]
fn a_session_that_was_not_to_be_kept_is_not() {
    let mut device = Device::open(Version::V5);
    device.receive(&DISCONNECT);
    assert!(device.session.into_rest().is_none());
    // Nor can it be asked for at the end.
    let mut device = Device::open(Version::V5);
    let late = packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 1]);
    assert_eq!(device.receive(&late), [disconnect(0x82), close()]);
}
