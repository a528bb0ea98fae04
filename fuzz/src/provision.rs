//! What is written into a device when it is made.

use sha2::{Digest as _, Sha256};
use waxwing_wire::Provision;
use waxwing_wire::provision::{
    ADDRESS_BYTES_MAX, CHANNELS_MAX, HEADER_BYTES, PASSWORD_BYTES_MAX, PROVISION_BYTES_MAX,
    SETTINGS_BYTES_MAX, SSID_BYTES_MAX, TOKEN_BYTES_MAX, TRUST_BYTES_MAX,
};

/// Tried as it is, and as the fields between a good header and a good checksum. What is accepted
/// keeps the limits, and says the same when written again.
pub fn check(bytes: &[u8]) {
    check_encoding(bytes);
    let fields = bytes.get(..PROVISION_BYTES_MAX - HEADER_BYTES - 32).unwrap_or(bytes);
    check_encoding(&around(fields));
}

/// Puts a header and a checksum around fields.
pub fn around(fields: &[u8]) -> Vec<u8> {
    let mut whole = b"WXCR\x01\0\0\0".to_vec();
    whole.extend(u32::try_from(fields.len()).expect("it is short").to_le_bytes());
    whole.extend_from_slice(fields);
    whole.extend(Sha256::digest(&whole));
    whole
}

fn check_encoding(bytes: &[u8]) {
    let Ok(read) = Provision::decode(bytes) else { return };
    for address in [Some(&read.server), Some(&read.enrol), read.mqtt.as_ref()].into_iter().flatten()
    {
        assert!(!address.is_empty() && address.len() <= ADDRESS_BYTES_MAX);
    }
    assert!(!read.channels.is_empty() && read.channels.len() <= CHANNELS_MAX);
    assert!(read.token.expose().len() <= TOKEN_BYTES_MAX);
    for trust in [&read.director_root, &read.image_root, &read.server_ca] {
        assert!(trust.len() <= TRUST_BYTES_MAX);
    }
    assert!(read.settings.len() <= SETTINGS_BYTES_MAX);
    if let Some(wifi) = &read.wifi {
        assert!(wifi.ssid.len() <= SSID_BYTES_MAX);
        assert!(wifi.password.expose().len() <= PASSWORD_BYTES_MAX);
    }
    let again = read.encode().expect("it was accepted before");
    assert_eq!(Provision::decode(&again), Ok(read), "another device when written again");
}
