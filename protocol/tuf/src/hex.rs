//! Lower-case hex, the form in which TUF writes hashes, Ed25519 keys and signatures.

use alloc::string::String;

/// Decodes exactly `N` bytes. Upper case is refused, so that one value has one spelling.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    decode_into(text, &mut bytes).filter(|length| *length == N)?;
    Some(bytes)
}

/// Decodes into the front of `out` and returns how many bytes there are; `None` if `text` is not
/// hex or does not fit.
pub(crate) fn decode_into(text: &str, out: &mut [u8]) -> Option<usize> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > out.len() {
        return None;
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(pairs.len())
}

/// Encodes `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    digits(bytes).collect()
}

/// The digits of `bytes`.
pub(crate) fn digits(bytes: &[u8]) -> impl Iterator<Item = char> {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(digit)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_round_trip() {
        let all: [u8; 256] = core::array::from_fn(|n| u8::try_from(n).unwrap());
        assert_eq!(decode(&encode(&all)), Some(all));
    }

    #[test]
    fn other_lengths_odd_digits_and_upper_case_are_refused() {
        for text in ["", "0", "000", "0000", "0g", "AB", "é"] {
            assert_eq!(decode::<1>(text), None, "{text}");
        }
    }
}
