//! The request for a certificate (PKCS#10, RFC 2986): a name and a key, signed with that key.

use alloc::vec::Vec;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Encode as _, Tag, TagNumber};
use waxwing_wire::DeviceId;

use crate::identity::DeviceKey;

/// `id-ecPublicKey` on `prime256v1` (RFC 5480, 2.1.1).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const PRIME256V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// `ecdsa-with-SHA256` (RFC 5758, 3.2).
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// `id-at-commonName`.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// `version` 0: the only one there is.
const VERSION: &[u8] = &[0x02, 0x01, 0x00];
const NO_ATTRIBUTES: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };

/// Asks for a certificate in this name for this key.
pub(super) fn certificate_request(device: &DeviceId, key: &DeviceKey) -> Option<Vec<u8>> {
    let name = [oid(COMMON_NAME)?, wrap(Tag::Utf8String, &[device.as_str().as_bytes()])?];
    let name = wrap(Tag::Set, &[&wrap(Tag::Sequence, &[&name.concat()])?])?;
    let algorithm = wrap(Tag::Sequence, &[&oid(EC_PUBLIC_KEY)?, &oid(PRIME256V1)?])?;
    let public_key = [algorithm, bits(&key.public_point())?].concat();
    let info = wrap(
        Tag::Sequence,
        &[
            VERSION,
            &wrap(Tag::Sequence, &[&name])?,
            &wrap(Tag::Sequence, &[&public_key])?,
            &wrap(NO_ATTRIBUTES, &[])?,
        ],
    )?;
    let signature = key.sign(&[&info]).ok()?;
    let algorithm = wrap(Tag::Sequence, &[&oid(ECDSA_SHA256)?])?;
    wrap(Tag::Sequence, &[&info, &algorithm, &bits(signature.as_bytes())?])
}

fn oid(oid: ObjectIdentifier) -> Option<Vec<u8>> {
    oid.to_der().ok()
}

/// A bit string of whole bytes.
fn bits(bytes: &[u8]) -> Option<Vec<u8>> {
    wrap(Tag::BitString, &[&[0], bytes])
}

fn wrap(tag: Tag, parts: &[&[u8]]) -> Option<Vec<u8>> {
    AnyRef::new(tag, &parts.concat()).ok()?.to_der().ok()
}
