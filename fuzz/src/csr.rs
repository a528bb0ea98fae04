//! Certificate requests (PKCS#10), as a device sends them to enrol.

use std::sync::LazyLock;

use waxwing_tuf::author::{P256Signer, Signer as _};
use waxwing_tuf::key::PublicKey;
use waxwing_wire::DeviceId;

use crate::pki::csr::{DeviceKey, point_of, spki_of};
use crate::signed::DEVICE;

/// The key of the device.
static SIGNER: LazyLock<P256Signer> =
    LazyLock::new(|| P256Signer::from_seed(&[7; 32]).expect("a key"));

/// What stands before the point of a P-256 key: RFC 5480, in DER.
const BEFORE_POINT: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// `ecdsa-with-SHA256`, in DER.
const ALGORITHM: [u8; 12] =
    [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// What is accepted is one element of DER that holds the key, on P-256 and uncompressed, as every
/// other program writes it. Each input is also taken for what the device signs.
pub fn check(bytes: &[u8]) {
    check_request(bytes);
    check_request(&signed(bytes));
}

fn check_request(der: &[u8]) {
    let Ok(key) = DeviceKey::from_der(der) else { return };
    assert_eq!(element_bytes(der), Some(der.len()), "not DER, or something hides behind it");
    let spki = key.spki_der();
    assert!(der.windows(spki.len()).any(|it| it == spki), "a key that is not in the request");
    let kept = point_of(spki).expect("a key that is kept by its point");
    assert_eq!(spki_of(kept), spki, "the key is another one when it is made of its point again");
    let point = spki.strip_prefix(&BEFORE_POINT).expect("a P-256 key in DER");
    let point: &[u8; 65] = point.try_into().expect("an uncompressed point");
    assert!(PublicKey::p256(point).is_ok(), "a point that is not on the curve");
    let device = DeviceId::parse(DEVICE).expect("a name");
    // Whatever it asks for; nothing here may panic.
    let _ = key.check_names(&device);
}

/// How long a SEQUENCE is, with its header; `None` if that is not DER.
fn element_bytes(der: &[u8]) -> Option<usize> {
    match *der {
        [0x30, length, ..] if length < 0x80 => Some(2 + usize::from(length)),
        [0x30, 0x81, length, ..] if length >= 0x80 => Some(3 + usize::from(length)),
        [0x30, 0x82, high, low, ..] if high > 0 => {
            Some(4 + usize::from(u16::from_be_bytes([high, low])))
        }
        _ => None,
    }
}

/// What a device says of itself when it asks for its first certificate, not signed yet.
pub(crate) fn info() -> Vec<u8> {
    info_with(&[])
}

/// The same when it renews one: it repeats its name (RFC 7030, 4.2.2) and is no authority.
pub(crate) fn renewal() -> Vec<u8> {
    let name = element(0x86, format!("waxwing:device:{DEVICE}").as_bytes());
    let name = [&[0x06, 3, 0x55, 0x1d, 0x11][..], &element(0x04, &element(0x30, &name))].concat();
    let no_authority = [0x06, 3, 0x55, 0x1d, 0x13, 0x04, 2, 0x30, 0];
    let both = [element(0x30, &name), element(0x30, &no_authority)].concat();
    let request = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
    let asked = element(0x31, &element(0x30, &both));
    info_with(&element(0x30, &[&request[..], &asked].concat()))
}

fn info_with(attributes: &[u8]) -> Vec<u8> {
    let PublicKey::EcdsaP256(point) = SIGNER.public() else { unreachable!("a P-256 key") };
    let key = [&BEFORE_POINT[..], &point.to_bytes()].concat();
    // Version 0, no name, the key.
    let fields = [&[0x02, 1, 0, 0x30, 0][..], &key, &element(0xa0, attributes)];
    element(0x30, &fields.concat())
}

/// The request that the device signs.
pub(crate) fn signed(info: &[u8]) -> Vec<u8> {
    let signature = SIGNER.sign(info).expect("a key in memory");
    let signature = element(0x03, &[&[0][..], &signature].concat());
    element(0x30, &[info, &ALGORITHM, &signature].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let [.., high, low] = length.to_be_bytes();
    let header = match length {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&header, content].concat()
}
