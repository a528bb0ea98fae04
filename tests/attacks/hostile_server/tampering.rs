//! What a hostile server does to files that were good.

use std::fmt::Write as _;

use proptest::sample::Index;
use serde_json::{Value as Json, json};
use waxwing_wire::bundle::Kind;

use super::library::{Files, LIBRARY, ONLINE_KEY};
use super::opponent::Frame;
use super::script::{Bomb, Tampering};
use crate::support::author::{sign, signatures};

/// Stands where a bomb will be. Our JSON writer would put its members in order.
const PLACE: &str = "<place of a bomb>";

/// Does something to the files of an answer.
pub(super) fn tamper(frames: &mut Vec<Frame>, tampering: &Tampering) {
    let count = frames.len();
    if count == 0 {
        return;
    }
    let at = |index: &Index| index.index(count);
    match tampering {
        Tampering::Drop(file) => drop(frames.remove(at(file))),
        Tampering::Flip(file, byte, bit) => flip(&mut frames[at(file)].bytes, *byte, *bit),
        Tampering::Truncate(file, byte) => {
            let bytes = &mut frames[at(file)].bytes;
            bytes.truncate(byte.index(bytes.len().max(1)));
        }
        Tampering::Swap(to, from) => frames[at(to)].bytes = frames[at(from)].bytes.clone(),
        Tampering::Of(file, generation) => {
            replace(&mut frames[at(file)], &LIBRARY.generations[*generation].files);
        }
        Tampering::Foreign(file) => replace(&mut frames[at(file)], &LIBRARY.foreign),
        Tampering::SignedByServer(file) => {
            let bytes = &mut frames[at(file)].bytes;
            if let Ok(envelope) = serde_json::from_slice::<Json>(bytes) {
                *bytes = sign(&envelope["signed"], &[ONLINE_KEY]);
            }
        }
        Tampering::OtherRepository(file) => {
            let frame = &mut frames[at(file)];
            let is_image = frame.kind == Kind::Image;
            frame.kind = if is_image { Kind::Director } else { Kind::Image };
        }
        Tampering::Before(name, from) => {
            let bytes = frames[at(from)].bytes.clone();
            let first = Frame { bytes, ..frames[at(name)].clone() };
            frames.insert(0, first);
        }
        Tampering::Long(file) => frames[at(file)].bytes.resize(20_000, b' '),
        Tampering::Bomb { file, bomb, is_signed, bytes } => {
            let file = &mut frames[at(file)].bytes;
            if let Ok(envelope) = serde_json::from_slice::<Json>(file) {
                let keys: &[u8] = if *is_signed { &[ONLINE_KEY] } else { &[] };
                *file = with_bomb(&envelope["signed"], *bomb, *bytes, keys);
            }
        }
    }
}

/// Serves the file that stands for the same role in other files.
fn replace(frame: &mut Frame, files: &Files) {
    let role = |name: &str| name.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
    let other = files.iter().rev().find(|(name, _)| role(name) == role(&frame.name));
    if let Some((_, bytes)) = other {
        frame.bytes.clone_from(bytes);
    }
}

pub(super) fn flip(bytes: &mut [u8], at: Index, bit: u8) {
    if !bytes.is_empty() {
        bytes[at.index(bytes.len())] ^= 1 << bit;
    }
}

/// Signs something with a bomb in it.
pub(super) fn with_bomb(signed: &Json, bomb: Bomb, bytes: usize, keys: &[u8]) -> Vec<u8> {
    let mut signed = signed.clone();
    let text = text_of(bomb, bytes);
    // Nothing can be signed that is no JSON to the device.
    let is_json = !matches!(bomb, Bomb::Deep | Bomb::Signatures);
    signed["custom"]["x"] =
        if is_json { serde_json::from_str(&text).unwrap() } else { PLACE.into() };
    let mut list = signatures(&signed, keys);
    signed["custom"]["x"] = PLACE.into();
    if matches!(bomb, Bomb::Signatures) {
        signed["custom"]["x"] = Json::Null;
        let strange = |number: usize| json!({"keyid": format!("{number:x}"), "sig": "00"});
        list.extend((0..bytes / 32).map(strange));
    }
    let envelope = json!({"signatures": list, "signed": signed}).to_string();
    envelope.replace(&format!("\"{PLACE}\""), &text).into_bytes()
}

fn text_of(bomb: Bomb, bytes: usize) -> String {
    let object = |members: &mut dyn Iterator<Item = usize>| {
        let mut text = "{".to_owned();
        for number in members {
            let comma = if text.len() > 1 { "," } else { "" };
            write!(text, "{comma}\"{number:04x}\":0").unwrap();
        }
        text + "}"
    };
    // Each member takes nine bytes with its comma.
    let members = bytes / 9;
    match bomb {
        Bomb::Deep => "[".repeat(bytes / 2) + &"]".repeat(bytes / 2),
        Bomb::Escapes => format!("\"{}\"", "\\u0041".repeat(bytes / 6)),
        Bomb::Members => object(&mut (0..members)),
        Bomb::Numbers => format!("[{}0]", "0,".repeat(bytes / 2)),
        Bomb::Signatures => String::new(),
        Bomb::Unsorted => object(&mut (0..members).rev()),
    }
}
