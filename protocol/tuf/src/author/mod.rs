//! Writing metadata: plain values to canonical JSON to signed files, for the offline tool and the
//! server's Director.
//!
//! Needs `std` and serde and is never part of a device. Not here: a verifier. Whoever writes a
//! file reads it back through [`crate::verify`], as a device will.

pub mod director;
pub mod release;

mod diff;
mod file;
mod fingerprint;
mod metadata;
mod name;
mod search;
mod signer;
mod target;
mod time;

pub use diff::{Names, diff, printable};
pub use file::{SIGNATURES_MAX, Signature, SignedFile};
pub use fingerprint::{PublicKeyFile, fingerprint, words};
pub use metadata::{
    DelegatedRole, Delegations, Hashes, Key, KeyValue, MetaFile, Metadata, Repo, RoleKeys, Root,
    RootRoles, SPEC_VERSION, Snapshot, SpecVersion, Targets, Timestamp,
};
pub use search::Search;
pub use signer::{
    Algorithm, Ed25519Signer, P256Signer, SEED_BYTES, SecretKey, SignError, Signer,
    p256_signature_der,
};
pub use target::{
    ImageCustom, Match, ServerCaCustom, ServerCaKind, ServerCaMatch, Target, TargetCustom,
};
pub use time::expiry;

/// Why something could not be written or signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The signed part is no JSON that devices read.
    #[error("the signed part is not JSON that devices accept")]
    Canonical(#[source] crate::json::Malformed),
    /// The fingerprint in a key file belongs to another key.
    #[error("the fingerprint does not belong to the key beside it")]
    Fingerprint,
    /// Not JSON, or not the fields expected.
    #[error("not metadata that this program understands")]
    Json(#[source] serde_json::Error),
    /// Not a public key of a kind we use.
    #[error("not an Ed25519 or P-256 public key")]
    Key,
    /// Not an unencrypted PKCS#8 document of a kind we use.
    #[error("not a PKCS#8 document with an Ed25519 or P-256 key")]
    Pkcs8,
    /// Neither `director` nor `image/<product>`.
    #[error("a repository is called director or image/<product>")]
    Repo,
    /// The seed makes no key.
    #[error("the seed makes no P-256 key")]
    Seed,
    /// The signer failed.
    #[error("cannot sign")]
    Sign(#[from] SignError),
    /// More signatures than anybody needs.
    #[error("more than {SIGNATURES_MAX} signatures")]
    Signatures,
}

#[cfg(test)]
mod tests;
