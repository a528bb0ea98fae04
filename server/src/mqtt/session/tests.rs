//! A session from CONNECT to its end, and what a client may not do.

#![expect(clippy::unchecked_time_subtraction, reason = "test code")]

mod clauses;
mod device;
mod kept;
mod limits;
mod operator;
mod readers;
mod walks;

use self::device::{Device, close, code, deliver, disconnect, normal};
use super::connect::KEEP_ALIVE_S_MAX;
use super::*;
use crate::mqtt::codec::{RECEIVE_MAX, Version};
use crate::mqtt::keeper::COMMANDS_MAX;
use crate::mqtt::testing::{
    COMMAND, ConnectBytes, DISCONNECT, PING, TELEMETRY, connect, packet, puback, pubcomp, publish,
    pubrec, pubrel, subscribe, unsubscribe,
};

const BOTH: [Version; 2] = [Version::V3, Version::V5];

#[test]
fn a_device_is_let_in_under_its_own_name_or_none() {
    for version in BOTH {
        for client_id in ["d-1", ""] {
            let mut device = Device::new();
            device.receive(&ConnectBytes { client_id, ..connect(version) }.bytes());
            assert!(
                matches!(&device.attached(None)[..], [Action::Send(connack)] if connack[3] == 0)
            );
        }
    }
}

#[test]
fn a_device_without_a_name_is_told_the_one_it_has() {
    let mut device = Device::new();
    device.receive(&ConnectBytes { client_id: "", ..connect(Version::V5) }.bytes());
    let actions = device.attached(None);
    let Action::Send(connack) = &actions[0] else { panic!("{actions:?}") };
    assert!(connack.windows(6).any(|w| w == [0x12, 0, 3, b'd', b'-', b'1']), "{connack:02x?}");
}

#[test]
fn the_limits_are_announced() {
    let mut device = Device::new();
    device.receive(&ConnectBytes { keep_alive_s: 0, ..connect(Version::V5) }.bytes());
    let actions = device.attached(None);
    let Action::Send(connack) = &actions[0] else { panic!("{actions:?}") };
    let keep_alive = KEEP_ALIVE_S_MAX.to_be_bytes();
    for property in [
        // Receive maximum, retain, wildcards, identifiers, shared, keep-alive.
        &[0x21, 0, 32][..],
        &[0x25, 0],
        &[0x28, 0],
        &[0x29, 0],
        &[0x2a, 0],
        &[0x13, keep_alive[0], keep_alive[1]],
    ] {
        assert!(connack.windows(property.len()).any(|w| w == property), "{property:02x?}");
    }
}

#[test]
fn a_connect_that_asks_for_too_much_is_refused_with_its_reason() {
    let v5 = connect(Version::V5);
    let foreign_id = ConnectBytes { client_id: "d-2", ..v5.clone() };
    let authentication = [0x15, 0, 1, b'x'];
    let delay = [5, 0x18, 0, 0, 0, 1];
    let mut delayed = v5.clone().with_will(TELEMETRY, 0);
    delayed.rest.splice(0..1, delay);
    for (packet, code) in [
        (foreign_id, 0x85),
        (ConnectBytes { properties: authentication.to_vec(), ..v5.clone() }, 0x8c),
        (v5.clone().with_will("waxwing/v1/d-2/state", 0), 0x87),
        (v5.clone().with_will(COMMAND, 0), 0x87),
        (v5.clone().with_will("#", 0), 0x87),
        (v5.clone().with_will(TELEMETRY, 0b10_0000), 0x9a),
        (delayed, 0x83),
    ] {
        let mut device = Device::new();
        let actions = device.receive(&packet.bytes());
        assert_eq!(actions, [Action::Send(vec![0x20, 3, 0, code, 0]), close()], "{packet:?}");
    }
}

#[test]
fn an_old_connect_that_asks_for_too_much_is_refused_with_its_code() {
    let v3 = connect(Version::V3);
    for (packet, code) in [
        (ConnectBytes { client_id: "d-2", ..v3.clone() }, 2),
        // A session to be kept needs a name.
        (ConnectBytes { client_id: "", flags: 0, ..v3.clone() }, 2),
        (v3.clone().with_will("waxwing/v1/d-2/state", 0), 5),
        (v3.clone().with_will(TELEMETRY, 0b10_0000), 5),
    ] {
        let mut device = Device::new();
        let actions = device.receive(&packet.bytes());
        assert_eq!(actions, [Action::Send(vec![0x20, 2, 0, code]), close()], "{packet:?}");
    }
}

#[test]
fn a_connection_without_a_connect_ends() {
    let mut device = Device::new();
    device.receive(&connect(Version::V5).bytes()[..10]);
    assert_eq!(device.after(CONNECT_TIMEOUT - Duration::from_millis(1), Event::Tick), []);
    assert_eq!(device.after(Duration::from_millis(1), Event::Tick), [close()]);
}

#[test]
fn a_message_is_acknowledged_only_once_it_was_taken() {
    for version in BOTH {
        let mut device = Device::open(version);
        let actions = device.receive(&publish(version, 0b10, TELEMETRY, 7, "21.5"));
        assert_eq!(actions, [deliver(Kind::Telemetry, "21.5")]);
        assert_eq!(device.on(Event::Tick), []);
        assert_eq!(device.on(Event::Answered(Ok(()))), [Action::Send(puback(7))]);
    }
}

#[test]
fn a_message_without_acknowledgement_is_taken_too() {
    let mut device = Device::open(Version::V3);
    let actions = device.receive(&publish(Version::V3, 0, TELEMETRY, 0, "21.5"));
    assert_eq!(actions, [deliver(Kind::Telemetry, "21.5")]);
    assert_eq!(device.on(Event::Answered(Ok(()))), []);
}

#[test]
fn messages_are_handed_over_as_they_come_and_answered_in_order() {
    let mut device = Device::open(Version::V5);
    let bytes = [
        publish(Version::V5, 0b10, TELEMETRY, 1, "a"),
        publish(Version::V5, 0b10, "waxwing/v1/d-2/state", 2, "b"),
        publish(Version::V5, 0b10, TELEMETRY, 3, "c"),
        PING.to_vec(),
    ];
    let actions = device.receive(&bytes.concat());
    let handed_over = [deliver(Kind::Telemetry, "a"), deliver(Kind::Telemetry, "c")];
    assert_eq!(actions[..2], handed_over);
    assert_eq!(actions[2..], [Action::Send(vec![0xd0, 0])]);
    let actions = device.on(Event::Answered(Ok(())));
    let refusal = Action::Send(vec![0x40, 4, 0, 2, 0x87, 0]);
    assert_eq!(normal(actions), normal(vec![Action::Send(puback(1)), refusal]));
    assert_eq!(device.on(Event::Answered(Ok(()))), [Action::Send(puback(3))]);
}

#[test]
fn a_device_that_sends_faster_than_the_server_stores_is_not_read() {
    let mut device = Device::open(Version::V3);
    for _ in 0..RECEIVE_MAX {
        assert!(device.session.wants_bytes());
        device.receive(&publish(Version::V3, 0, TELEMETRY, 0, "x"));
    }
    assert!(!device.session.wants_bytes());
    device.on(Event::Answered(Ok(())));
    assert!(device.session.wants_bytes());
}

#[test]
fn a_message_with_qos_2_is_taken_once_however_often_it_comes() {
    for version in BOTH {
        let mut device = Device::open(version);
        let message = publish(version, 0b100, TELEMETRY, 7, "21.5");
        let again = publish(version, 0b1100, TELEMETRY, 7, "21.5");
        assert_eq!(device.receive(&message), [deliver(Kind::Telemetry, "21.5")]);
        assert_eq!(device.receive(&again), [], "its answer is still to come");
        assert_eq!(device.on(Event::Answered(Ok(()))), [Action::Send(pubrec(7))]);
        assert_eq!(device.receive(&again), [Action::Send(pubrec(7))]);
        assert_eq!(device.receive(&pubrel(7)), [Action::Send(pubcomp(7))]);
        assert_eq!(device.receive(&message), [deliver(Kind::Telemetry, "21.5")]);
    }
}

#[test]
fn a_release_of_nothing_is_answered_as_far_as_the_version_can_say_so() {
    let mut device = Device::open(Version::V3);
    assert_eq!(device.receive(&pubrel(7)), [Action::Send(pubcomp(7))]);
    let mut device = Device::open(Version::V5);
    let actions = device.receive(&pubrel(7));
    assert!(
        matches!(&actions[..], [Action::Send(bytes)] if bytes[0] == 0x70 && bytes[2..5] == [0, 7, 0x92])
    );
}

#[test]
fn a_message_with_qos_2_that_is_refused_does_not_use_up_its_id() {
    let mut device = Device::open(Version::V5);
    let message = publish(Version::V5, 0b100, TELEMETRY, 7, "21.5");
    device.receive(&message);
    let actions = device.on(Event::Answered(Err(Refused::Malformed)));
    assert!(
        matches!(&actions[..], [Action::Send(bytes)] if bytes[0] == 0x50 && bytes[2..5] == [0, 7, 0x99])
    );
    assert_eq!(device.receive(&message), [deliver(Kind::Telemetry, "21.5")]);
    let mut device = Device::open(Version::V3);
    device.receive(&publish(Version::V3, 0b100, TELEMETRY, 7, "21.5"));
    assert_eq!(device.on(Event::Answered(Err(Refused::Malformed))), [close()]);
}

#[test]
fn ids_that_are_never_released_end_the_connection() {
    for (version, most) in [(Version::V5, RECEIVE_MAX), (Version::V3, 1024)] {
        let mut device = Device::open(version);
        for id in 1..=most {
            device.receive(&publish(version, 0b100, TELEMETRY, id, "x"));
            device.on(Event::Answered(Ok(())));
        }
        let actions = device.receive(&publish(version, 0b100, TELEMETRY, most + 1, "x"));
        assert_eq!(actions.last(), Some(&close()), "{version:?}");
    }
}

#[test]
fn a_foreign_topic_is_refused_as_far_as_the_version_can_say_so() {
    for topic in ["waxwing/v1/d-2/telemetry", COMMAND, "", "a/b", "$SYS/x"] {
        let mut device = Device::open(Version::V5);
        let actions = device.receive(&publish(Version::V5, 0b10, topic, 9, ""));
        assert_eq!(code(&actions), Some((0x40, 0x87)), "{topic}");
        let mut device = Device::open(Version::V5);
        let actions = device.receive(&publish(Version::V5, 0, topic, 0, ""));
        assert_eq!(actions, [disconnect(0x87), close()], "{topic}");
        for flags in [0, 0b10] {
            let mut device = Device::open(Version::V3);
            let actions = device.receive(&publish(Version::V3, flags, topic, 9, ""));
            assert_eq!(actions, [close()], "{topic}");
        }
    }
}

#[test]
fn retained_messages_end_the_connection() {
    for (flags, reason) in [(0b01, 0x9a), (0b11, 0x9a), (0b101, 0x9a)] {
        let mut device = Device::open(Version::V5);
        let actions = device.receive(&publish(Version::V5, flags, TELEMETRY, 1, ""));
        assert_eq!(actions, [disconnect(reason), close()]);
        let mut device = Device::open(Version::V3);
        let actions = device.receive(&publish(Version::V3, flags, TELEMETRY, 1, ""));
        assert_eq!(actions, [close()]);
    }
}

#[test]
fn a_refused_message_is_never_acknowledged_as_if_it_were_taken() {
    for (refused, reason) in
        [(Refused::Forbidden, 0x87), (Refused::Malformed, 0x99), (Refused::TooMany, 0x97)]
    {
        let mut device = Device::open(Version::V5);
        device.receive(&publish(Version::V5, 0b10, TELEMETRY, 7, ""));
        let actions = device.on(Event::Answered(Err(refused)));
        assert_eq!(code(&actions), Some((0x40, reason)));
        let mut device = Device::open(Version::V3);
        device.receive(&publish(Version::V3, 0b10, TELEMETRY, 7, ""));
        assert_eq!(device.on(Event::Answered(Err(refused))), [close()]);
    }
}

#[test]
fn a_message_that_cannot_be_stored_now_is_left_to_come_again() {
    let mut device = Device::open(Version::V5);
    device.receive(&publish(Version::V5, 0b10, TELEMETRY, 7, ""));
    let actions = device.on(Event::Answered(Err(Refused::Unavailable)));
    assert_eq!(actions, [disconnect(0x89), close()]);
}

#[test]
fn more_unacknowledged_messages_than_announced_end_the_connection() {
    let burst = |version| -> Vec<u8> {
        (1..=RECEIVE_MAX + 1).flat_map(|id| publish(version, 0b10, TELEMETRY, id, "x")).collect()
    };
    let mut device = Device::open(Version::V5);
    let actions = device.receive(&burst(Version::V5));
    assert_eq!(actions[actions.len() - 2..], [disconnect(0x93), close()]);
    // 3.1.1 has no such announcement: there the rest waits.
    let mut device = Device::open(Version::V3);
    device.receive(&burst(Version::V3));
    for id in 1..=RECEIVE_MAX + 1 {
        assert_eq!(device.on(Event::Answered(Ok(())))[0], Action::Send(puback(id)));
    }
}

#[test]
fn a_device_subscribes_to_its_own_commands_only() {
    for (version, refusal) in [(Version::V3, 0x80), (Version::V5, 0x87)] {
        for filter in ["waxwing/v1/d-2/command", "#", "waxwing/v1/+/command", TELEMETRY] {
            let mut device = Device::open(version);
            let actions = device.receive(&subscribe(version, 5, filter, 1));
            assert_eq!(code(&actions), Some((0x90, refusal)), "{filter}");
        }
        for (asked, granted) in [(0, 0), (1, 1), (2, 1)] {
            let mut device = Device::open(version);
            let actions = device.receive(&subscribe(version, 5, COMMAND, asked));
            assert_eq!(actions[0], Action::Listen(true));
            assert_eq!(code(&actions), Some((0x90, granted)));
        }
    }
}

#[test]
fn commands_go_out_with_qos_1_and_wait_for_their_window() {
    let mut connect = connect(Version::V5);
    connect.properties = vec![0x21, 0, 1];
    let mut device = Device::open_with(&connect);
    device.receive(&subscribe(Version::V5, 5, COMMAND, 1));
    let actions = device.command("one");
    assert_eq!(actions, [Action::Send(publish(Version::V5, 0b10, COMMAND, 1, "one"))]);
    assert_eq!(device.command("two"), []);
    let actions = device.receive(&puback(1));
    assert_eq!(actions, [Action::Send(publish(Version::V5, 0b10, COMMAND, 2, "two"))]);
}

#[test]
fn a_command_larger_than_the_device_takes_is_dropped() {
    let mut connect = connect(Version::V5);
    connect.properties = vec![0x27, 0, 0, 0, 100];
    let mut device = Device::open_with(&connect);
    device.receive(&subscribe(Version::V5, 5, COMMAND, 1));
    assert_eq!(device.command(&"x".repeat(100)), []);
    assert_eq!(device.command("y").len(), 1);
}

#[test]
fn a_device_that_takes_no_commands_is_let_go() {
    let mut device = Device::open(Version::V5);
    device.receive(&subscribe(Version::V5, 5, COMMAND, 1));
    for _ in 0..COMMANDS_MAX {
        device.command("x");
    }
    assert_eq!(device.command("x"), [disconnect(0x97), close()]);
}

#[test]
fn an_unsubscribed_device_gets_no_commands() {
    for version in BOTH {
        let mut device = Device::open(version);
        device.receive(&subscribe(version, 5, COMMAND, 1));
        let actions = device.receive(&unsubscribe(version, 6, COMMAND));
        assert_eq!(actions[0], Action::Listen(false));
        assert_eq!(device.command("x"), []);
    }
    let mut device = Device::open(Version::V5);
    let actions = device.receive(&unsubscribe(Version::V5, 6, COMMAND));
    assert_eq!(code(&actions), Some((0xb0, 0x11)));
}

#[test]
fn the_will_is_published_unless_the_device_said_goodbye() {
    let will = || Some(Message { kind: Kind::State, payload: Bytes::from_static(b"will") });
    for version in BOTH {
        let connect = connect(version).with_will("waxwing/v1/d-1/state", 0b1000);
        let device = || Device::open_with(&connect);
        assert_eq!(device().on(Event::Lost), [Action::Close { will: will() }]);
        assert_eq!(device().receive(&DISCONNECT), [close()]);
        let garbage = device().receive(&[0]);
        assert_eq!(garbage.last(), Some(&Action::Close { will: will() }));
        let revoked = device().on(Event::Stop(Reason::AdministrativeAction));
        assert_eq!(revoked.last(), Some(&close()));
    }
    let connect = connect(Version::V5).with_will("waxwing/v1/d-1/state", 0);
    let goodbye = Device::open_with(&connect).receive(&packet(0xe0, &[4]));
    assert_eq!(goodbye, [Action::Close { will: will() }]);
}

#[test]
fn what_came_before_the_goodbye_is_still_taken() {
    let mut device = Device::open(Version::V3);
    let bytes = [publish(Version::V3, 0, TELEMETRY, 0, "x"), DISCONNECT.to_vec()].concat();
    assert_eq!(device.receive(&bytes), [deliver(Kind::Telemetry, "x")]);
    assert_eq!(device.on(Event::Answered(Ok(()))), [close()]);
}

#[test]
fn a_silent_device_is_let_go_after_one_and_a_half_times_its_keep_alive() {
    for (asked, limit) in [(60, 90), (0, 1800), (u16::MAX, 1800)] {
        let connect = ConnectBytes { keep_alive_s: asked, ..connect(Version::V5) };
        let mut device = Device::open_with(&connect);
        let almost = Duration::from_secs(limit) - Duration::from_millis(1);
        assert_eq!(device.after(almost, Event::Tick), []);
        device.receive(&PING);
        assert_eq!(device.after(almost, Event::Tick), []);
        let actions = device.after(Duration::from_millis(1), Event::Tick);
        assert_eq!(actions, [disconnect(0x8d), close()]);
    }
}

#[test]
fn half_a_packet_does_not_keep_a_connection_alive() {
    let mut device = Device::open(Version::V5);
    let packet = publish(Version::V5, 0, TELEMETRY, 0, &"x".repeat(100));
    for byte in packet.iter().take(90) {
        assert_eq!(device.after(Duration::from_millis(999), Event::Received(&[*byte])), []);
    }
    let actions = device.after(Duration::from_secs(1), Event::Tick);
    assert_eq!(actions, [disconnect(0x8d), close()]);
}

#[test]
fn a_slow_sink_is_not_the_silence_of_the_device() {
    let mut device = Device::open(Version::V5);
    device.receive(&publish(Version::V5, 0b10, TELEMETRY, 1, "x"));
    assert_eq!(device.after(Duration::from_secs(1000), Event::Tick), []);
    assert!(device.session.deadline() > device.now);
    assert_eq!(device.on(Event::Answered(Ok(()))), [Action::Send(puback(1))]);
}

#[test]
fn the_server_says_why_it_ends_a_connection() {
    for (reason, code) in [
        (Reason::SessionTakenOver, 0x8e),
        (Reason::ServerShuttingDown, 0x8b),
        (Reason::AdministrativeAction, 0x98),
    ] {
        let actions = Device::open(Version::V5).on(Event::Stop(reason));
        assert_eq!(actions, [disconnect(code), close()]);
        assert_eq!(Device::open(Version::V3).on(Event::Stop(reason)), [close()]);
    }
}

#[test]
fn a_device_that_is_no_longer_admitted_is_refused() {
    let mut device = Device::new();
    device.receive(&connect(Version::V5).bytes());
    let actions = device.on(Event::Stop(Reason::NotAuthorized));
    assert_eq!(actions, [Action::Send(vec![0x20, 3, 0, 0x87, 0]), close()]);
}
