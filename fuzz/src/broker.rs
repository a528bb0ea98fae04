//! Whatever a broker may send to the server that takes messages from it.

use std::slice;

use bytes::BytesMut;

use self::packets::{Incoming, PACKET_BYTES_MAX, acknowledge, cut, publish};

/// `server/src/broker/packets.rs`.
#[path = "../../server/src/broker/packets.rs"]
#[expect(dead_code, reason = "what a connection begins with is written, and not read")]
mod packets;

/// Bytes before the body of a packet, at most (MQTT 5, 2.1).
const HEAD_BYTES_MAX: usize = 5;

/// Packets are the same however the bytes are cut, and never waited for in vain; a message is the same when
/// it is written again, and its payload is what was sent.
pub fn check(bytes: &[u8]) {
    let whole = read(&[bytes]);
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    assert_eq!(read(&[half, rest]), whole, "cut in two");
    for packet in &whole {
        check_message(packet, bytes);
    }
}

/// Returns the packets up to the first that is none.
fn read(parts: &[&[u8]]) -> Vec<Incoming> {
    let (mut buffer, mut packets) = (BytesMut::new(), Vec::new());
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            match cut(&mut buffer) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(_) => return packets,
            }
        }
        assert!(buffer.len() < HEAD_BYTES_MAX + PACKET_BYTES_MAX, "waits for too much");
    }
    packets
}

fn check_message(packet: &Incoming, bytes: &[u8]) {
    let Incoming::Message(message) = packet else { return };
    let payload = &message.payload;
    assert!(payload.is_empty() || bytes.windows(payload.len()).any(|it| it == payload));
    // Without an id it is QoS 0, which is not written; nor are topics that nobody may publish on.
    let Some(id) = message.id else { return };
    let Ok(again) = publish(&message.topic, payload.to_vec(), id, 1) else { return };
    if again.len() <= PACKET_BYTES_MAX {
        assert_eq!(read(&[&again]), slice::from_ref(packet), "another message when written again");
    }
    let acknowledged = acknowledge(id).expect("an id that was read");
    assert_eq!(read(&[&acknowledged]), [Incoming::Acknowledged { id, code: 0 }]);
}

/// What brokers say.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let message = |bytes: usize| {
        let payload = vec![b'x'; bytes];
        publish("waxwing/v1/d-1/telemetry", payload, 7, 300).expect("a message")
    };
    vec![
        ("message", message(40)),
        ("long", message(1000)),
        ("welcome", vec![0x20, 6, 0, 0, 3, 0x21, 0, 9]),
        ("refusal", vec![0x20, 3, 0, 0x87, 0]),
        ("granted", vec![0x90, 7, 0, 1, 0, 1, 1, 1, 1]),
        ("acknowledged", vec![0x40, 2, 0, 7, 0x40, 4, 0, 8, 0x10, 0]),
        ("silence", vec![0xd0, 0, 0xe0, 1, 0x8e]),
    ]
}
