//! Pins: by what the devices of a product know their server, the signed target
//! `trust/server-ca.pem` (D15).
//!
//! Not here: their content, which is for devices.

use waxwing_wire::Digest;

/// The pins that a product's Image repository lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pins {
    /// Length of the file in bytes.
    pub length: u64,
    /// Hash of the file.
    pub sha256: Digest,
    /// When they took the place of others, in Unix milliseconds: part of the decision's time (D3).
    pub changed_at: u64,
}
