//! The answer of EST: one certificate in a PKCS#7 without content or signers (RFC 7030, 4.1.3;
//! RFC 2315), in base64.
//!
//! One shape is read and nothing in it is trusted: the server is known from TLS. Not here: whether
//! the certificate is for our key.

use alloc::vec::Vec;

use base64ct::{Base64, Encoding as _};
use der::asn1::{AnyRef, ContextSpecific, ObjectIdentifier};
use der::{Encode as _, Reader, SliceReader, Tag, TagNumber, Tagged as _};

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
    reader.decode::<AnyRef<'_>>()?.tag().assert_eq(Tag::Integer)?;
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
