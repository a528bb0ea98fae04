//! The answer of EST: one certificate in a PKCS#7 without content or signers (RFC 7030, 4.1.3;
//! RFC 2315), in base64.
//!
//! One shape is read and nothing in it is trusted: the server is known from TLS. Not here: whether
//! the certificate is for our key.

use alloc::vec::Vec;

use base64ct::{Base64, Encoding as _};

use crate::asn1::{CONTEXT_0, INTEGER, OBJECT_IDENTIFIER, Reader, SEQUENCE, SET};

/// `CMSVersion` of certificates alone.
const VERSION: &[u8] = &[1];
/// `id-signedData`: 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `id-data`, what there is none of: 1.2.840.113549.1.7.1.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];

/// Returns the certificate in an answer, in DER.
pub fn certificate(answer: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = answer.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let der = Base64::decode_vec(core::str::from_utf8(&text).ok()?).ok()?;
    let mut file = Reader(&der);
    let mut info = file.enter(SEQUENCE)?;
    file.end()?;
    info.next(OBJECT_IDENTIFIER).filter(|kind| *kind == SIGNED_DATA)?;
    let mut explicit = info.enter(CONTEXT_0)?;
    info.end()?;
    let data = explicit.enter(SEQUENCE)?;
    explicit.end()?;
    signed_data(data)
}

fn signed_data(mut data: Reader<'_>) -> Option<Vec<u8>> {
    data.next(INTEGER).filter(|version| *version == VERSION)?;
    data.enter(SET)?.end()?;
    let mut content = data.enter(SEQUENCE)?;
    content.next(OBJECT_IDENTIFIER).filter(|kind| *kind == DATA)?;
    content.end()?;
    // `[0] IMPLICIT SET OF Certificate`: first what is for us.
    let mut certificates = data.enter(CONTEXT_0)?;
    let certificate = certificates.any().filter(|item| item.tag == SEQUENCE)?;
    certificates.end()?;
    data.enter(SET)?.end()?;
    data.end()?;
    Some(certificate.whole.to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer with these bytes for certificates.
    fn answer(certificates: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| {
            let [.., high, low] = content.len().to_be_bytes();
            [&[tag, 0x82, high, low], content].concat()
        };
        let id = |last| [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, last];
        let before = [&[2, 1, 1, 0x31, 0, 0x30, 11][..], &id(1)].concat();
        let signed_data = [&before[..], &wrap(0xa0, certificates), &[0x31, 0]].concat();
        wrap(0x30, &[&id(2)[..], &wrap(0xa0, &wrap(0x30, &signed_data))].concat())
    }

    fn read(der: &[u8]) -> Option<Vec<u8>> {
        certificate(Base64::encode_string(der).as_bytes())
    }

    fn long() -> Vec<u8> {
        [&[0x30, 0x82, 1, 44][..], &[7; 300]].concat()
    }

    #[test]
    fn the_certificate_is_found_whatever_the_lines_of_the_answer() {
        let text = Base64::encode_string(&answer(&long()));
        let lines: Vec<&str> = text.split_inclusive('a').collect();
        for text in [text.clone(), lines.join("\r\n"), format!("{text}\n")] {
            assert_eq!(certificate(text.as_bytes()), Some(long()));
        }
    }

    #[test]
    fn any_other_answer_is_none() {
        let good = answer(&long());
        for length in 0..good.len() {
            assert_eq!(read(&good[..length]), None, "cut after {length}");
        }
        let with = |at: usize, byte| {
            let mut der = good.clone();
            der[at] = byte;
            der
        };
        for (what, der) in [
            ("more behind it", [&good[..], &[0]].concat()),
            ("no certificate", answer(&[])),
            ("two certificates", answer(&[long(), long()].concat())),
            ("something else", answer(&[&[0x31, 0x82, 1, 44][..], &[7; 300]].concat())),
            ("not signed data", with(14, 3)),
            ("another version", with(25, 3)),
        ] {
            assert_eq!(read(&der), None, "{what}");
        }
        assert_eq!(certificate(b"no base64!"), None);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(der in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (certificate(&der), read(&der), read(&answer(&der)));
        }
    }
}
