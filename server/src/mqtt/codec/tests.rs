//! Packets of both protocol versions there and back, and bytes that are none.

use proptest::prelude::*;

use super::*;
use crate::mqtt::testing::{
    DISCONNECT, PING, TELEMETRY, connect, packet, puback, publish, subscribe, text,
};

/// Decodes everything in `bytes`.
fn decode(codec: &mut Codec, bytes: &[u8]) -> Result<Vec<Incoming>, Reason> {
    codec.feed(bytes);
    let mut packets = Vec::new();
    while let Some(packet) = codec.next()? {
        packets.push(packet);
    }
    Ok(packets)
}

fn connected(version: Version) -> Codec {
    let mut codec = Codec::default();
    decode(&mut codec, &connect(version).bytes()).unwrap();
    assert_eq!(codec.version(), Some(version));
    codec
}

#[track_caller]
fn refused(codec: &mut Codec, bytes: &[u8], expected: Reason) {
    assert_eq!(decode(codec, bytes).unwrap_err(), expected, "{bytes:02x?}");
}

#[test]
fn nothing_but_a_connect_of_a_known_version_comes_first() {
    for first in [&PING[..], &publish(Version::V5, 0, "a", 0, ""), &DISCONNECT, b"GET / HTTP/1.1"] {
        refused(&mut Codec::default(), first, Reason::ProtocolError);
    }
    // 3.1, and a level that does not exist.
    for (name, level) in [("MQIsdp", 3), ("MQTT", 3), ("MQTT", 6), ("MQTT", 0x84)] {
        let body = [&text(name), &[level, 2, 0, 60, 0, 0][..]].concat();
        refused(&mut Codec::default(), &packet(0x10, &body), Reason::UnsupportedProtocolVersion);
    }
}

#[test]
fn garbage_is_refused_at_its_first_byte() {
    for byte in (0..=u8::MAX).filter(|byte| *byte != 0x10) {
        refused(&mut Codec::default(), &[byte], Reason::ProtocolError);
    }
}

#[test]
fn a_second_connect_is_refused() {
    for version in [Version::V3, Version::V5] {
        refused(&mut connected(version), &connect(version).bytes(), Reason::ProtocolError);
    }
}

#[test]
fn packets_that_only_servers_send_are_refused() {
    for version in [Version::V3, Version::V5] {
        for header in [0x00, 0x20, 0x50, 0x70, 0x90, 0xb0, 0xd0, 0xf0] {
            let bytes = packet(header, &[0, 1, 0]);
            refused(&mut connected(version), &bytes, Reason::ProtocolError);
        }
    }
}

#[test]
fn reserved_header_flags_are_refused() {
    for header in [0x41, 0x60, 0x63, 0x80, 0x83, 0xa0, 0xc1, 0xe1] {
        let bytes = packet(header, &[0, 1, 0]);
        refused(&mut connected(Version::V5), &bytes, Reason::MalformedPacket);
    }
    for flags in [0b11, 0b0001_1110, 0b0000_1010, 0b0010_0010] {
        let mut bytes = connect(Version::V5);
        bytes.flags = flags;
        refused(&mut Codec::default(), &bytes.bytes(), Reason::MalformedPacket);
    }
}

#[test]
fn a_packet_too_large_is_refused_before_its_body_comes() {
    let length = u32::try_from(PACKET_BYTES_MAX).unwrap();
    let length = VariableByteInteger::from_u32(length).unwrap();
    let header = [&[0x10], length.as_bytes()].concat();
    refused(&mut Codec::default(), &header, Reason::PacketTooLarge);
    refused(&mut Codec::default(), &[0x10, 0xff, 0xff, 0xff, 0x7f], Reason::PacketTooLarge);
    let header = [&[0x32], length.as_bytes()].concat();
    refused(&mut connected(Version::V3), &header, Reason::PacketTooLarge);
    // The longest topic there is needs a packet larger than allowed.
    let long = publish(Version::V5, 0, &"a".repeat(0xffff), 0, "");
    refused(&mut connected(Version::V5), &long, Reason::PacketTooLarge);
}

#[test]
fn a_packet_of_the_largest_size_is_taken() {
    let empty = publish(Version::V5, 0, TELEMETRY, 0, "").len() + 1;
    let payload = "x".repeat(PACKET_BYTES_MAX - empty);
    let bytes = publish(Version::V5, 0, TELEMETRY, 0, &payload);
    assert_eq!(bytes.len(), PACKET_BYTES_MAX);
    let packets = decode(&mut connected(Version::V5), &bytes).unwrap();
    assert!(matches!(&packets[..], [Incoming::Publish(p)] if p.payload == payload));
}

#[test]
fn a_length_of_five_bytes_is_refused() {
    let bytes = [0x10, 0x80, 0x80, 0x80, 0x80, 0x01];
    refused(&mut Codec::default(), &bytes, Reason::MalformedPacket);
}

#[test]
fn packet_id_zero_is_refused() {
    for version in [Version::V3, Version::V5] {
        for bytes in [
            publish(version, 0b10, TELEMETRY, 0, ""),
            subscribe(version, 0, TELEMETRY, 0),
            puback(0),
        ] {
            refused(&mut connected(version), &bytes, Reason::MalformedPacket);
        }
    }
}

#[test]
fn a_body_that_goes_on_after_its_end_is_refused() {
    for version in [Version::V3, Version::V5] {
        refused(&mut connected(version), &packet(0xc0, &[0]), Reason::MalformedPacket);
        let mut bytes = connect(version);
        bytes.rest.push(0);
        refused(&mut Codec::default(), &bytes.bytes(), Reason::MalformedPacket);
    }
}

#[test]
fn topics_that_are_no_text_are_refused() {
    let body = [0, 2, 0xc3, 0x28, 0];
    refused(&mut connected(Version::V5), &packet(0x30, &body), Reason::MalformedPacket);
}

#[test]
fn properties_that_were_not_offered_are_refused() {
    let alias = [&text(TELEMETRY), &[3, 0x23, 0, 1][..]].concat();
    refused(&mut connected(Version::V5), &packet(0x30, &alias), Reason::TopicAliasInvalid);
    let answer_only = [&text(TELEMETRY), &[2, 0x0b, 1][..]].concat();
    refused(&mut connected(Version::V5), &packet(0x30, &answer_only), Reason::ProtocolError);
    let identified = [&[0, 1, 2, 0x0b, 1], &text("a")[..], &[0]].concat();
    let expected = Reason::SubscriptionIdentifiersNotSupported;
    refused(&mut connected(Version::V5), &packet(0x82, &identified), expected);
    let zero = [0x21, 0, 0];
    let mut bytes = connect(Version::V5);
    bytes.properties = zero.to_vec();
    refused(&mut Codec::default(), &bytes.bytes(), Reason::ProtocolError);
}

proptest! {
    #[test]
    fn packets_do_not_depend_on_how_the_bytes_were_cut(cuts in prop::collection::vec(1..40usize, 0..30)) {
        let version = Version::V5;
        let mut bytes = connect(version).with_will(TELEMETRY, 0).bytes();
        bytes.extend(publish(version, 0b10, TELEMETRY, 7, "payload"));
        bytes.extend(PING);
        bytes.extend(DISCONNECT);
        let whole = decode(&mut Codec::default(), &bytes).unwrap();
        let mut codec = Codec::default();
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts {
            let (piece, later) = rest.split_at(cut.min(rest.len()));
            pieces.extend(decode(&mut codec, piece).unwrap());
            rest = later;
        }
        pieces.extend(decode(&mut codec, rest).unwrap());
        prop_assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    }

    #[test]
    fn foreign_bytes_never_panic(
        version in prop::sample::select(vec![None, Some(Version::V3), Some(Version::V5)]),
        header in prop::sample::select(vec![0x10, 0x30, 0x32, 0x34, 0x36, 0x40, 0x82, 0xa2, 0xc0, 0xe0]),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut codec = version.map_or_else(Codec::default, connected);
        let _ = decode(&mut codec, &packet(header, &body));
    }

    #[test]
    fn damaged_packets_never_panic(
        version in prop::sample::select(vec![Version::V3, Version::V5]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = connect(version).with_will(TELEMETRY, 0b1000).bytes();
        bytes.extend(publish(version, 0b10, TELEMETRY, 7, "payload"));
        bytes.extend(subscribe(version, 8, TELEMETRY, 1));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(&mut Codec::default(), &bytes);
    }
}
