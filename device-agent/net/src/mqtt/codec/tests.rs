//! Packets byte by byte, as they are, may be and must not be. Not here: connections.

use proptest::prelude::*;

use super::*;

fn written(packet: Outgoing<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.write(&mut bytes).unwrap();
    bytes
}

const LIMITS: Limits =
    Limits { keep_alive_s: None, receive_max: u16::MAX, packet_bytes_max: u32::MAX };

#[test]
fn packets_are_written_as_the_standard_has_them() {
    let connect =
        Outgoing::Connect { id: "d-1", keep_alive_s: 60, packet_bytes_max: 4096, receive_max: 4 };
    let expected = b"\x10\x18\0\x04MQTT\x05\x02\0\x3c\x08\x27\0\0\x10\0\x21\0\x04\0\x03d-1";
    assert_eq!(written(connect), expected);
    let subscribe = Outgoing::Subscribe { packet: 1, filter: "a/b" };
    assert_eq!(written(subscribe), b"\x82\x09\0\x01\0\0\x03a/b\x01");
    let publish = Outgoing::Publish { packet: 258, topic: "t", message: b"hello" };
    assert_eq!(written(publish), b"\x32\x0b\0\x01t\x01\x02\0hello");
    assert_eq!(written(Outgoing::Acknowledge { packet: 7 }), [0x40, 2, 0, 7]);
    assert_eq!(written(Outgoing::Ping), [0xc0, 0]);
    let long = &[b'x'; 300][..];
    let long = written(Outgoing::Publish { packet: 1, topic: "t", message: long });
    // 306 bytes: 0x32 + 2 * 128.
    assert_eq!(long[..3], [0x32, 0xb2, 2]);
    let endless = "x".repeat(65_536);
    let endless = Outgoing::Subscribe { packet: 1, filter: &endless };
    assert_eq!(endless.write(&mut Vec::new()), Err(Malformed));
}

#[test]
fn packets_are_read_with_all_that_a_broker_may_add() {
    let read = Incoming::read;
    assert_eq!(read(0x20, &[0, 0, 0]), Ok(Incoming::Welcome(LIMITS)));
    let full = b"\0\0\x30\x11\0\0\0\0\x12\0\x01i\x13\0\x14\x1c\0\0\x1f\0\x02ok\x21\0\x02\x22\0\x09\
        \x24\x01\x25\x01\x26\0\x01k\0\x01v\x27\0\0\x20\0\x28\x01\x29\0\x2a\x01";
    let limits = Limits { keep_alive_s: Some(20), receive_max: 2, packet_bytes_max: 8192 };
    assert_eq!(read(0x20, full), Ok(Incoming::Welcome(limits)));
    let subscribed = |is_granted| Ok(Incoming::Subscribed { packet: 1, is_granted });
    assert_eq!(read(0x90, &[0, 1, 0, 1]), subscribed(true));
    assert_eq!(read(0x90, b"\0\x01\x04\x1f\0\x01n\x87"), subscribed(false));
    let answered = |is_taken| Ok(Incoming::Answered { packet: 5, is_taken });
    assert_eq!(read(0x40, &[0, 5]), answered(true));
    // No matching subscribers: it was taken.
    assert_eq!(read(0x40, &[0, 5, 0x10]), answered(true));
    assert_eq!(read(0x40, &[0, 5, 0x80]), answered(false));
    assert_eq!(read(0x40, b"\0\x05\x97\x0e\x26\0\x01k\0\x01v\x26\0\x01k\0\x01v"), answered(false));
    let message = |packet, message| Ok(Incoming::Message { packet, message });
    assert_eq!(read(0x30, b"\0\x01t\0hi"), message(None, b"hi"));
    assert_eq!(read(0x31, b"\0\x01t\0"), message(None, b""));
    assert_eq!(read(0x3a, b"\0\x01t\0\x07\0hi"), message(Some(7), b"hi"));
    let full = b"\0\x01t\0\x07\x16\x01\x01\x02\0\0\0\x09\x03\0\x01c\x08\0\x01r\x09\0\x01\xff\x0b\x80\x01hi";
    assert_eq!(read(0x32, full), message(Some(7), b"hi"));
    assert_eq!(read(0xd0, &[]), Ok(Incoming::Pong));
}

#[test]
fn what_is_not_to_the_letter_is_refused() {
    let refused: &[(u8, &[u8])] = &[
        // A session nobody asked for; a refusal; half an answer; more than one.
        (0x20, &[1, 0, 0]),
        (0x20, &[0, 0x87, 0]),
        (0x20, &[0, 0]),
        (0x20, &[0, 0, 0, 0]),
        (0x21, &[0, 0, 0]),
        // No message at a time, no packet at all, messages that may get lost, neither true nor false.
        (0x20, &[0, 0, 3, 0x21, 0, 0]),
        (0x20, &[0, 0, 5, 0x27, 0, 0, 0, 0]),
        (0x20, &[0, 0, 2, 0x24, 0]),
        (0x20, &[0, 0, 2, 0x25, 2]),
        // A property twice, of another packet, unknown, cut off, beyond what was told.
        (0x20, &[0, 0, 6, 0x13, 0, 9, 0x13, 0, 9]),
        (0x20, &[0, 0, 3, 0x23, 0, 1]),
        (0x20, &[0, 0, 2, 0x7f, 0]),
        (0x20, &[0, 0, 2, 0xff, 0]),
        (0x20, &[0, 0, 2, 0x21, 0]),
        (0x20, &[0, 0, 9, 0x21, 0, 1]),
        (0x20, &[0, 0, 4, 0x1f, 0, 1, 0xff]),
        // Authentication, which was not asked for.
        (0x20, &[0, 0, 4, 0x15, 0, 1, b'm']),
        // No identifier, no reason, two reasons, flags.
        (0x90, &[0, 0, 0, 1]),
        (0x90, &[0, 1, 0]),
        (0x90, &[0, 1, 0, 1, 1]),
        (0x92, &[0, 1, 0, 1]),
        (0x40, &[0]),
        (0x40, &[0, 0]),
        (0x40, &[0, 5, 0, 0, 0]),
        // Sent again without need, at most once of a second level, and on both levels at once.
        (0x38, b"\0\x01t\0hi"),
        (0x34, b"\0\x01t\0\x07\0hi"),
        (0x36, b"\0\x01t\0\x07\0hi"),
        // No topic, a filter, an alias, not text, no identifier, an endless length.
        (0x30, b"\0\0\0hi"),
        (0x30, b"\0\x01#\0hi"),
        (0x30, b"\0\x01+\0hi"),
        (0x30, b"\0\x01\0\0hi"),
        (0x30, b"\0\x01t\x03\x23\0\x01hi"),
        (0x30, b"\0\x01\xff\0hi"),
        (0x30, b"\0\x02t"),
        (0x32, b"\0\x01t\0\0\0hi"),
        (0x30, b"\0\x01t\xff\xff\xff\xff\x01"),
        (0x30, b"\0\x01t\x02\x0b\0hi"),
        (0xd0, &[0]),
        // The end, authentication, what only clients say, what is nothing.
        (0xe0, &[]),
        (0xf0, &[0]),
        (0xc0, &[]),
        (0x10, &[]),
        (0x82, &[]),
        (0x50, &[0, 5]),
        (0x62, &[0, 5]),
        (0x00, &[]),
    ];
    for (first, body) in refused {
        assert_eq!(Incoming::read(*first, body), Err(Malformed), "{first:#x} {body:x?}");
    }
}

#[test]
fn a_length_has_four_digits_at_most_and_none_in_vain() {
    assert_eq!(read_length(&[]), Ok(None));
    assert_eq!(read_length(&[0]), Ok(Some((0, 1))));
    assert_eq!(read_length(&[0x80]), Ok(None));
    assert_eq!(read_length(&[0x80, 1, 9]), Ok(Some((128, 2))));
    assert_eq!(read_length(&[0xff, 0xff, 0xff, 0x7f]), Ok(Some((268_435_455, 4))));
    assert_eq!(read_length(&[0xff, 0xff, 0xff, 0xff]), Err(Malformed));
    assert_eq!(read_length(&[0x80, 0]), Err(Malformed));
    let mut bytes = Vec::new();
    assert_eq!(write_length(268_435_456, &mut bytes), Err(Malformed));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(first: u8, body: Vec<u8>) {
        let _ = Incoming::read(first, &body);
    }

    #[test]
    fn strange_properties_are_read_or_refused(
        body in prop::collection::vec(prop_oneof![0_u8..4, 0x1f_u8..0x2b, any::<u8>()], 0..64),
        first in prop_oneof![Just(0x20_u8), Just(0x30), Just(0x32), Just(0x40), Just(0x90)],
    ) {
        let _ = Incoming::read(first, &body);
    }

    #[test]
    fn what_is_written_tells_its_length(message in prop::collection::vec(any::<u8>(), 0..20_000)) {
        let bytes = written(Outgoing::Publish { packet: 9, topic: "a", message: &message });
        let (length, digits) = read_length(&bytes[1..]).unwrap().unwrap();
        prop_assert_eq!(bytes.len(), 1 + digits + length);
        let read = Incoming::read(bytes[0], &bytes[1 + digits..]);
        prop_assert_eq!(read, Ok(Incoming::Message { packet: Some(9), message: &message }));
    }
}
