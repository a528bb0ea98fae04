//! Reads `PUBLIC KEY` PEM texts (RFC 7468), in which TUF carries ECDSA keys.
//!
//! By hand, because a decoder for every kind of PEM is 3 KB of a device's flash. Line breaks may be
//! anywhere; a key is what its DER says, however it is wrapped.

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// Decodes into the front of `out`; `None` if this is no such text or does not fit.
pub(super) fn decode<'o>(pem: &str, out: &'o mut [u8]) -> Option<&'o [u8]> {
    let digits = pem.trim_ascii().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let (mut length, mut held, mut bits, mut padding) = (0, 0_u32, 0_u32, 0_u32);
    for digit in digits.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')) {
        if digit == b'=' {
            padding += 1;
            continue;
        }
        held = held << 6 | value(digit).filter(|_| padding == 0)?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            *out.get_mut(length)? = u8::try_from(held >> bits).ok()?;
            held &= (1 << bits) - 1;
            length += 1;
        }
    }
    // RFC 4648, 3.5: the bits that are left over are zero, and their number tells the padding.
    if held == 0 && bits < 6 && padding * 2 == bits { out.get(..length) } else { None }
}

fn value(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_a_general_decoder_reads_is_read_alike(der in prop::collection::vec(any::<u8>(), 1..120)) {
            let (mut text, mut out) = ([0; 400], [0; 120]);
            let ending = pem_rfc7468::LineEnding::LF;
            let pem = pem_rfc7468::encode("PUBLIC KEY", ending, &der, &mut text).unwrap();
            prop_assert_eq!(decode(pem, &mut out), Some(&der[..]));
        }

        #[test]
        fn what_is_read_with_a_byte_changed_is_what_a_general_decoder_reads(
            der in prop::collection::vec(any::<u8>(), 1..60), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let (mut text, mut out, mut other) = ([0; 400], [0; 120], [0; 120]);
            let ending = pem_rfc7468::LineEnding::LF;
            let mut pem = pem_rfc7468::encode("PUBLIC KEY", ending, &der, &mut text).unwrap().as_bytes().to_vec();
            let at = at.index(pem.len());
            pem[at] = byte;
            let ours = core::str::from_utf8(&pem).ok().and_then(|pem| decode(pem, &mut out));
            if let (Some(ours), Ok((_, theirs))) = (ours, pem_rfc7468::decode(&pem, &mut other)) {
                prop_assert_eq!(ours, theirs);
            }
        }
    }

    #[test]
    fn other_labels_padding_and_digits_are_refused() {
        let mut out = [0; 8];
        for body in [
            "A",
            "AA",
            "AAA",
            "AA=",
            "AAA==",
            "AB==",
            "A===",
            "AA==AA==",
            "A*==",
            "AAAAAAAAAAAAAA==",
        ] {
            let pem = std::format!("{BEGIN}\n{body}\n{END}\n");
            assert_eq!(decode(&pem, &mut out), None, "{body}");
        }
        assert_eq!(decode("-----BEGIN EC KEY-----\nAA==\n-----END EC KEY-----\n", &mut out), None);
        assert_eq!(decode(&std::format!("{BEGIN}\nAA==\n{END}\n"), &mut out), Some(&[0][..]));
    }
}
