//! The answer of EST: one certificate in a PKCS#7 without content or signers (RFC 7030, 4.1.3;
//! RFC 2315), in base64.
//!
//! One shape is read and nothing in it is trusted: the server is known from TLS. Not here: whether
//! the certificate is for our key.

use alloc::vec::Vec;

use base64ct::{Base64, Encoding as _};
use der::asn1::{AnyRef, ContextSpecific, ObjectIdentifier};
use der::{Encode as _, Reader, SliceReader, Tag, TagNumber, Tagged as _};

/// `CMSVersion` of certificates alone.
const VERSION: u8 = 1;
/// `id-signedData`.
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// `id-data`: what there is none of.
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");

/// Returns the certificate in an answer, in DER.
pub fn certificate(answer: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = answer.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let der = Base64::decode_vec(core::str::from_utf8(&text).ok()?).ok()?;
    let mut reader = SliceReader::new(&der).ok()?;
    let found = reader.sequence(content_info).ok()?;
    reader.finish(found).ok()
}

fn content_info(reader: &mut der::NestedReader<'_, SliceReader<'_>>) -> der::Result<Vec<u8>> {
    let kind: ObjectIdentifier = reader.decode()?;
    if kind != SIGNED_DATA {
        return Err(Tag::ObjectIdentifier.value_error());
    }
    let content: ContextSpecific<AnyRef<'_>> = explicit(reader)?;
    content.value.sequence(signed_data)
}

fn signed_data(reader: &mut SliceReader<'_>) -> der::Result<Vec<u8>> {
    if reader.decode::<u8>()? != VERSION {
        return Err(Tag::Integer.value_error());
    }
    empty_set(reader)?;
    let content: AnyRef<'_> = reader.decode()?;
    let kind = content.sequence(Reader::decode::<ObjectIdentifier>)?;
    if kind != DATA {
        return Err(Tag::ObjectIdentifier.value_error());
    }
    // `[0] IMPLICIT SET OF Certificate`: first what is for us.
    let certificates: AnyRef<'_> = reader.decode()?;
    certificates.tag().assert_eq(CERTIFICATES)?;
    let mut inside = SliceReader::new(certificates.value())?;
    let certificate: AnyRef<'_> = inside.decode()?;
    certificate.tag().assert_eq(Tag::Sequence)?;
    let certificate = inside.finish(certificate)?;
    empty_set(reader)?;
    certificate.to_der()
}

const CERTIFICATES: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };

fn explicit<'r>(reader: &mut impl Reader<'r>) -> der::Result<ContextSpecific<AnyRef<'r>>> {
    let content = ContextSpecific::decode_explicit(reader, TagNumber::N0)?;
    content.ok_or_else(|| CERTIFICATES.value_error())
}

fn empty_set<'r>(reader: &mut impl Reader<'r>) -> der::Result<()> {
    let set: AnyRef<'_> = reader.decode()?;
    set.tag().assert_eq(Tag::Set)?;
    if set.value().is_empty() { Ok(()) } else { Err(Tag::Set.value_error()) }
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
