//! What a production line scans, to enrol one device.

use waxwing_wire::EnrolUri;
use waxwing_wire::enrol_uri::{CAS_MAX, ENROL_URI_BYTES_MAX};
use waxwing_wire::provision::{ADDRESS_BYTES_MAX, TOKEN_BYTES_MAX};

/// What is accepted has one spelling and keeps the limits; it is printed as a URI, and nothing shows its
/// token by accident.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(uri) = EnrolUri::decode(text) else { return };
    assert!(text.len() <= ENROL_URI_BYTES_MAX);
    assert_eq!(uri.encode().expose(), text, "another spelling when written again");
    assert!(uri.enrol().len() <= ADDRESS_BYTES_MAX && uri.enrol().contains(':'));
    assert!((1..=TOKEN_BYTES_MAX).contains(&uri.token().expose().len()));
    assert!((1..=CAS_MAX).contains(&uri.server_ca().len()));
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'#' | b'"' | b'<');
    assert!(text.bytes().all(is_plain), "a character that a URI would escape");
    let parts = EnrolUri::new(
        uri.device().clone(),
        uri.enrol().to_owned(),
        uri.token().clone(),
        uri.server_ca().to_vec(),
    );
    assert_eq!(parts, Ok(uri), "another device when put together again");
}
