//! Certificates: who is a device, and how it gets to be one.
//!
//! Three disjoint roots (D15): the server CA signs what devices trust, the device CA signs what the
//! server trusts, the operator CA is for people. The issuer decides what a peer is, never a name.
//! Everything is ECDSA P-256 with SHA-256, because `mbedTLS` on the devices has no Ed25519
//! certificates.
//!
//! Not here: TLS configurations ([`crate::tls`]) and whether a device is still welcome (the fleet
//! decides that, on every request).

pub mod authority;
pub mod csr;
pub mod peer;
pub mod pkcs7;

pub use authority::{Authority, Validity};
pub use csr::{CsrError, DeviceKey};
pub use peer::Peer;
