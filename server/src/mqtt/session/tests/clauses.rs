//! The normative statements of the specification that a client can break, by their numbers in MQTT 5 (in
//! 3.1.1 they say the same, under numbers near these).

use super::*;
use crate::mqtt::testing::text;

/// What a client must not do once it is connected: the statement, its packet, and the reasons with which
/// the connection may end.
fn broken_after_connect(version: Version) -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    let empty = |header: u8, id: &[u8]| {
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        packet(header, &[id, properties].concat())
    };
    // Right but for their first byte.
    let flags = |header: u8| {
        let good = match header & 0xf0 {
            0x80 => subscribe(version, 1, COMMAND, 1),
            _ => unsubscribe(version, 1, COMMAND),
        };
        [&[header], &good[1..]].concat()
    };
    let mut not_utf8 = publish(version, 0b10, TELEMETRY, 1, "");
    not_utf8[4] = 0xff;
    let mut qos_3 = subscribe(version, 1, COMMAND, 1);
    if let Some(options) = qos_3.last_mut() {
        *options = 3;
    }
    let mut reserved = subscribe(version, 1, COMMAND, 1);
    if let Some(options) = reserved.last_mut() {
        *options = 0b1100_0001;
    }
    vec![
        ("1.5.4-1: text is UTF-8", not_utf8, &[0x81, 0x82]),
        ("1.5.4-2: text has no null", publish(version, 0b10, "a\0b", 1, ""), &[0x81]),
        ("1.5.4-2: text has no null", subscribe(version, 1, "a\0b", 1), &[0x81]),
        ("1.5.4-2: text has no null", unsubscribe(version, 1, "a\0b"), &[0x81]),
        ("2.1.3-1: reserved flags", vec![0xc1, 0], &[0x81]),
        ("2.1.3-1: reserved flags", vec![0xe1, 0], &[0x81]),
        ("2.1.3-1: reserved flags", vec![0x41, 2, 0, 1], &[0x81]),
        ("2.1.3-1: reserved flags", vec![0x60, 2, 0, 1], &[0x81]),
        ("3.8.1-1: SUBSCRIBE has the flags 0010", flags(0x80), &[0x81]),
        ("3.8.1-1: SUBSCRIBE has the flags 0010", flags(0x83), &[0x81]),
        ("3.10.1-1: UNSUBSCRIBE has the flags 0010", flags(0xa0), &[0x81]),
        ("3.10.1-1: UNSUBSCRIBE has the flags 0010", flags(0xaa), &[0x81]),
        ("2.2.1-3: no id is 0", publish(version, 0b10, TELEMETRY, 0, ""), &[0x81, 0x82]),
        ("2.2.1-3: no id is 0", subscribe(version, 0, COMMAND, 1), &[0x81, 0x82]),
        ("3.1.0-2: one CONNECT", connect(version).bytes(), &[0x82]),
        ("3.3.1-4: no QoS is 3", publish(version, 0b110, TELEMETRY, 1, ""), &[0x81, 0x82]),
        (
            "3.3.2-2: topics have no wildcards",
            publish(version, 0, "a/+", 0, ""),
            &[0x81, 0x82, 0x87, 0x90],
        ),
        ("3.8.3-2: SUBSCRIBE has a filter", empty(0x82, &[0, 1]), &[0x81, 0x82]),
        ("3.8.3-4: no QoS is 3", qos_3, &[0x81, 0x82]),
        ("3.8.3-5: reserved options", reserved, &[0x81, 0x82]),
        ("3.10.3-2: UNSUBSCRIBE has a filter", empty(0xa2, &[0, 1]), &[0x81, 0x82]),
        ("only a server sends CONNACK", vec![0x20, 2, 0, 0], &[0x81, 0x82]),
        ("only a server sends SUBACK", vec![0x90, 3, 0, 1, 0], &[0x81, 0x82]),
        ("only a server sends PINGRESP", vec![0xd0, 0], &[0x81, 0x82]),
        ("type 0 is none", vec![0, 0], &[0x81, 0x82]),
        ("1.5.5: a length has four bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 1], &[0x81]),
    ]
}

#[test]
fn who_breaks_the_protocol_is_told_why_as_far_as_the_version_can_and_let_go() {
    for version in BOTH {
        for (statement, bytes, codes) in broken_after_connect(version) {
            let mut device = Device::open(version);
            let actions = device.receive(&bytes);
            assert_eq!(actions.last(), Some(&close()), "{version:?} {statement}: {actions:?}");
            if version == Version::V3 {
                assert_eq!(actions.len(), 1, "{statement}: there is nothing to say it with");
                continue;
            }
            let Action::Send(farewell) = &actions[0] else { panic!("{statement}: {actions:?}") };
            assert_eq!((farewell[0], actions.len()), (0xe0, 2), "{statement}");
            assert!(codes.contains(&farewell[2]), "{statement}: {:#x}", farewell[2]);
        }
    }
}

#[test]
fn who_does_not_begin_with_a_connect_that_is_one_is_not_answered() {
    for version in BOTH {
        let good = connect(version).bytes();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        for (statement, bytes) in [
            ("3.1.0-1: CONNECT comes first", PING.to_vec()),
            ("3.1.0-1: CONNECT comes first", publish(version, 0, TELEMETRY, 0, "")),
            ("3.1.2-1: the protocol's name", with(4, b'X')),
            ("3.1.2-2: the protocol's version", with(8, 3)),
            ("3.1.2-2: the protocol's version", with(8, 6)),
            ("3.1.2-3: the reserved flag", with(9, 0b11)),
            ("3.1.2-11: no QoS of a will without one", with(9, 0b0_1010)),
            ("3.1.2-12: no QoS is 3", with(9, 0b1_1110)),
            ("3.1.2-13: no retain of a will without one", with(9, 0b10_0010)),
            ("2.1.3-1: reserved flags", with(0, 0x11)),
        ] {
            let mut device = Device::new();
            assert_eq!(device.receive(&bytes), [close()], "{version:?} {statement}");
        }
    }
    // 3.1.1 without MQTT 5's number for it: the name of the version before.
    let old = packet(0x10, &[&text("MQIsdp")[..], &[3, 2, 0, 60], &text("d-1")].concat());
    assert_eq!(Device::new().receive(&old), [close()]);
}

#[test]
fn limits_of_a_client_that_are_nothing_are_protocol_errors() {
    for (statement, properties) in [
        ("3.1.2.11.3: a receive maximum of 0", vec![0x21, 0, 0]),
        ("3.1.2.11.4: a maximum packet size of 0", vec![0x27, 0, 0, 0, 0]),
        ("3.1.2.11.3: twice", vec![0x21, 0, 1, 0x21, 0, 1]),
        ("2.2.2.2: no property of CONNECT", vec![0x23, 0, 1]),
    ] {
        let connect = ConnectBytes { properties, ..connect(Version::V5) };
        assert_eq!(Device::new().receive(&connect.bytes()), [close()], "{statement}");
    }
}

#[test]
fn every_filter_has_its_own_answer_in_its_own_order() {
    for (version, refusal) in [(Version::V3, 0x80), (Version::V5, 0x87)] {
        let mut body = vec![0, 7];
        if version == Version::V5 {
            body.push(0);
        }
        for filter in ["#", COMMAND, TELEMETRY] {
            body.extend(text(filter));
            body.push(2);
        }
        let actions = Device::open(version).receive(&packet(0x82, &body));
        let Some(Action::Send(suback)) = actions.last() else { panic!("{actions:?}") };
        assert_eq!(suback[suback.len() - 3..], [refusal, 1, refusal], "3.8.4-5 and 3.8.4-6");
        assert_eq!(suback[2..4], [0, 7], "3.8.4-2");
    }
}

#[test]
fn what_was_not_subscribed_to_can_be_unsubscribed_from() {
    for version in BOTH {
        let actions = Device::open(version).receive(&unsubscribe(version, 9, "waxwing/#"));
        let [Action::Send(unsuback)] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((unsuback[0], &unsuback[2..4]), (0xb0, &[0, 9][..]), "3.10.4-5");
    }
}
