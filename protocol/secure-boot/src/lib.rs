//! Secure Boot v2: whether the signature blocks of an image are good, and made by keys of the product.
//!
//! Asked by the server before it stores an upload and by the publisher before anybody signs a
//! release, so that no image is released that the boot loader of every device would refuse. Not
//! asked on the device: its ROM does that, with the key digests in its eFuses. Whether an image may
//! be *installed* is decided by release keys alone, in `waxwing-tuf`; these keys are others.
//!
//! P-256 signatures are checked by `waxwing-tuf`, the one place for them. RSA exists here only, by
//! way of `aws-lc-rs`, which TLS links already.

mod policy;
mod verify;

pub use policy::{KEY_DIGESTS_MAX, Policy, PolicyFault, Unsigned};
pub use verify::{Foreign, Refusal, Signed, check_chip, verify};
