//! What sensors and gateways say on their links.

use waxwing_wire::frame::{BODY_BYTES_MAX, Decoder, Down, Up};
use waxwing_wire::relay;

/// Frames are the same however the bytes are cut; what is understood is said again in the same bytes, and
/// by one side only. Batches that are understood are, too.
pub fn check(bytes: &[u8]) {
    check_link(bytes);
    check_link(&sealed(bytes));
    if let Ok(messages) = relay::decode(bytes) {
        let again = relay::encode(&messages);
        assert_eq!(relay::decode(again.as_bytes()), Ok(messages));
    }
}

/// The bytes as kind and body of one frame, with its length and checksum made right.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let (kind, body) = bytes.split_first().unwrap_or((&b'T', &[]));
    let [_, length @ ..] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let frame = [&[*kind], &length[..], body].concat();
    let crc = !frame.iter().fold(u32::MAX, |register, byte| {
        (0..8).fold(register ^ u32::from(*byte), |register, _| {
            (register >> 1) ^ (0xedb8_8320 * (register & 1))
        })
    });
    [frame, crc.to_be_bytes().to_vec()].concat()
}

fn check_link(bytes: &[u8]) {
    let (whole, consumed) = frames(&[bytes]);
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    assert_eq!(frames(&[half, rest]).0, whole, "cut in two");
    assert_eq!(bytes.get(..consumed.len()), Some(&consumed[..]), "said again in other bytes");
}

/// Returns what was understood, and all of it encoded again up to the first frame that was not.
fn frames(parts: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
    let (mut decoder, mut said, mut again) = (Decoder::default(), Vec::new(), Vec::new());
    let mut is_understood = true;
    for part in parts {
        decoder.push(part);
        while let Ok(Some(frame)) = decoder.next_frame() {
            let (up, down) = (Up::parse(&frame), Down::parse(&frame));
            assert!(up.is_err() || down.is_err(), "both sides say {up:?} {down:?}");
            said.push(format!("{up:?} {down:?}"));
            let encoded = up.map(|it| it.encode()).or_else(|_| down.map(|it| it.encode()));
            is_understood &= encoded.is_ok();
            if let Ok(encoded) = encoded
                && is_understood
            {
                assert!(encoded.len() <= BODY_BYTES_MAX + 8);
                again.extend(encoded);
            }
        }
    }
    (said, again)
}

/// A few frames of either side, one after another.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    use waxwing_wire::Digest;
    use waxwing_wire::topic::Kind;

    let up = [Up::Time, Up::Message(Kind::Telemetry, "{}"), Up::Read(Digest([7; 32]), 4096, 4096)];
    let down = [Down::Time(1), Down::Piece { from: 0, length: 4, bytes: b"code" }];
    let messages = [relay::Carried { kind: Kind::Telemetry, envelope: "{}" }];
    vec![
        ("batch", relay::encode(&messages).into_bytes()),
        ("gateway", down.iter().flat_map(Down::encode).collect()),
        ("sensor", up.iter().flat_map(Up::encode).collect()),
    ]
}
