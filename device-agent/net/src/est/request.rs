//! The request for a certificate (PKCS#10, RFC 2986): a name and a key, signed with that key.

use alloc::vec::Vec;

use waxwing_wire::DeviceId;

use crate::asn1::{
    BIT_STRING, CONTEXT_0, INTEGER, OBJECT_IDENTIFIER, SEQUENCE, SET, UTF8_STRING, wrap,
};
use crate::identity::DeviceKey;

/// `id-ecPublicKey` on `prime256v1` (RFC 5480, 2.1.1): 1.2.840.10045.2.1, 1.2.840.10045.3.1.7.
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `ecdsa-with-SHA256` (RFC 5758, 3.2): 1.2.840.10045.4.3.2.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// `id-at-commonName`: 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// `version`: the only one there is.
const VERSION: &[u8] = &[0];

/// Asks for a certificate in this name for this key.
pub(super) fn certificate_request(device: &DeviceId, key: &DeviceKey) -> Option<Vec<u8>> {
    let name = [oid(COMMON_NAME)?, wrap(UTF8_STRING, &[device.as_str().as_bytes()])?];
    let name = wrap(SET, &[&wrap(SEQUENCE, &[&name.concat()])?])?;
    let algorithm = wrap(SEQUENCE, &[&oid(EC_PUBLIC_KEY)?, &oid(PRIME256V1)?])?;
    let public_key = [algorithm, bits(&key.public_point())?].concat();
    let no_attributes = wrap(CONTEXT_0, &[])?;
    let info = wrap(
        SEQUENCE,
        &[
            &wrap(INTEGER, &[VERSION])?,
            &wrap(SEQUENCE, &[&name])?,
            &wrap(SEQUENCE, &[&public_key])?,
            &no_attributes,
        ],
    )?;
    let signature = key.sign(&[&info]).ok()?;
    let algorithm = wrap(SEQUENCE, &[&oid(ECDSA_SHA256)?])?;
    wrap(SEQUENCE, &[&info, &algorithm, &bits(signature.as_bytes())?])
}

fn oid(oid: &[u8]) -> Option<Vec<u8>> {
    wrap(OBJECT_IDENTIFIER, &[oid])
}

/// A bit string of whole bytes.
fn bits(bytes: &[u8]) -> Option<Vec<u8>> {
    wrap(BIT_STRING, &[&[0], bytes])
}
