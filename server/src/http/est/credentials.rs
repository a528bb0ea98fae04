//! The one-time token of a device, as EST carries it: HTTP Basic, device id and token (RFC 7030
//! 3.2.3, RFC 7617).

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use waxwing_wire::{DeviceId, Digest};

/// Longest token that is looked at: ours are far shorter.
const TOKEN_BYTES_MAX: usize = 256;

/// Who says to be which device. The token itself is not kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// The device.
    pub device: DeviceId,
    /// SHA-256 of the token's text: how the database knows it.
    pub token: Digest,
}

impl Credentials {
    /// Reads the `Authorization` field.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let field = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = field.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = STANDARD.decode(encoded.trim()).ok()?;
        let (device, token) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let token = Digest(Sha256::digest(token).into());
        Some(Self { device: DeviceId::parse(device).ok()?, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: &str) -> Option<Credentials> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, field.parse().unwrap())]);
        Credentials::from_headers(&headers)
    }

    #[test]
    fn basic_credentials_name_device_and_token() {
        let expected = Credentials {
            device: DeviceId::parse("d-1").unwrap(),
            token: Digest(Sha256::digest("s:1").into()),
        };
        // printf 'd-1:s:1' | base64
        assert_eq!(read("Basic ZC0xOnM6MQ=="), Some(expected.clone()));
        assert_eq!(read("basic  ZC0xOnM6MQ=="), Some(expected));
    }

    #[test]
    fn anything_else_is_no_credentials() {
        let long = format!("Basic {}", STANDARD.encode(format!("d:{}", "x".repeat(257))));
        for field in [
            "",
            "Basic",
            "Basic !",
            "Bearer ZC0xOnM6MQ==",
            "Basic ZC0x",
            "Basic ZC0xOg==",
            "Basic Li4vZDp0",
            &long,
        ] {
            assert_eq!(read(field), None, "{field}");
        }
    }
}
