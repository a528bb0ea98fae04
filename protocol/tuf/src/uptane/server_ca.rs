//! The certificates by which a device knows its server, as a target of the Image repository (D15).
//!
//! Not here: storing them and using them. What a device trusts for TLS never decides what it installs.

use crate::json::Value;
use crate::refusal::Cause;
use crate::role::Listed;

/// Where both repositories list the pins.
pub const SERVER_CA_PATH: &str = "trust/server-ca.pem";

/// Longest file of pins taken, in bytes: room for ten P-256 certificates in PEM; an old and a new
/// authority are two.
pub const SERVER_CA_BYTES_MAX: u64 = 8 * 1024;

/// The kind of target that holds pins.
const KIND: &str = "server-ca";

/// Checks what may be checked before the Image repository is asked.
pub(super) fn check(listed: &Listed) -> Result<(), Cause> {
    let matched = listed.custom().and_then(|custom| custom.field("match"));
    let kind = matched.and_then(|matched| matched.field("kind")).and_then(Value::as_plain);
    let rules = [
        (listed.hashes.sha256.is_some(), Cause::BadField("hashes")),
        (listed.length > 0, Cause::BadField("length")),
        (listed.length <= SERVER_CA_BYTES_MAX, Cause::TooLong),
        (kind == Some(KIND), Cause::WrongKind),
    ];
    rules.into_iter().find(|(is_kept, _)| !is_kept).map_or(Ok(()), |(_, cause)| Err(cause))
}
