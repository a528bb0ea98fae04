//! The metadata of each TUF role, decoded.
//!
//! Decoding says nothing about trust: a role type is only worth something inside
//! [`Verified`](crate::Verified), which [`crate::verify`] hands out. Unknown fields are allowed and
//! signed, as the specification demands (section 4).

mod bins;
mod key_id;
mod root;
mod snapshot;
mod targets;
mod timestamp;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::hex;
use crate::json::{Text, Value};
use crate::key::PublicKey;
use crate::refusal::Cause;
use crate::time::Time;

pub use key_id::KeyId;
pub use root::Root;
pub use snapshot::Snapshot;
pub use targets::{DELEGATIONS_MAX, Delegation, Listed, Target, Targets};
pub use timestamp::{Attestation, Timestamp};

/// Most keys a role may have, and most keys a file may list per role. More only costs time: no
/// sane threshold needs them.
pub const KEYS_MAX: usize = 64;

/// Longest role name and target path read, in bytes.
pub const NAME_BYTES_MAX: usize = 512;

/// A kind of metadata that is small enough to be decoded whole.
pub trait Role: Sized {
    /// The `_type` in the file.
    const TYPE: &'static str;

    /// Decodes the signed part. The header is already decoded, and `_type` checked.
    fn decode(header: Header, signed: Value<'_>) -> Result<Self, Cause>;
}

/// What every role has (spec 4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Rises with every release of the file.
    pub version: u64,
    /// From then on the file is no longer valid.
    pub expires: Time,
}

/// Who may sign a role: a threshold of keys.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Signers {
    threshold: usize,
    keys: Vec<(KeyId, PublicKey)>,
}

/// What one file says about another: its version and, if the repository cares, length and hashes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileMeta {
    /// The version of the file.
    pub version: u64,
    /// Its length in bytes.
    pub length: Option<u64>,
    /// Its hashes.
    pub hashes: Hashes,
}

/// Hashes of a file, as far as we know the algorithms.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hashes {
    /// SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// SHA-512; apart, because it is rare and long.
    pub sha512: Option<Box<[u8; 64]>>,
}

impl Header {
    pub(crate) fn decode(signed: Value<'_>) -> Result<Self, Cause> {
        let version =
            signed.field("version").and_then(Value::as_u64).filter(|version| *version > 0);
        let expires = signed.field("expires").and_then(|value| Time::parse(value.as_plain()?));
        Ok(Self {
            version: version.ok_or(Cause::BadField("version"))?,
            expires: expires.ok_or(Cause::BadField("expires"))?,
        })
    }
}

impl Signers {
    /// A set of keys, `threshold` of which must sign. A threshold of 0 can never be met.
    pub fn new(threshold: usize, keys: Vec<(impl Into<KeyId>, PublicKey)>) -> Self {
        let keys = keys.into_iter().map(|(id, key)| (id.into(), key)).collect();
        Self { threshold, keys }
    }

    /// How many different keys must sign.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Key ids and keys. Several ids may name the same key.
    pub fn keys(&self) -> impl Iterator<Item = (&KeyId, &PublicKey)> {
        self.keys.iter().map(|(id, key)| (id, key))
    }

    /// Decodes `{"keyids": [...], "threshold": n}`, the keys themselves being in `keys`. Keys of
    /// kinds we cannot check are left out, so they never count.
    pub(crate) fn decode(role: Value<'_>, keys: Value<'_>) -> Result<Self, Cause> {
        let threshold =
            role.field("threshold").and_then(Value::as_u64).filter(|threshold| *threshold > 0);
        let threshold = threshold.and_then(|threshold| usize::try_from(threshold).ok());
        let ids =
            role.field("keyids").and_then(Value::elements).ok_or(Cause::BadField("keyids"))?;
        if ids.clone().count() > KEYS_MAX {
            return Err(Cause::BadField("keyids"));
        }
        let threshold = threshold.ok_or(Cause::BadField("threshold"))?;
        let mut signers = Self { threshold, keys: Vec::with_capacity(ids.clone().count()) };
        for id in ids {
            let name = name(id).ok_or(Cause::BadField("keyids"))?;
            let id = KeyId::from(&*name);
            if signers.keys.iter().any(|(other, _)| *other == id) {
                return Err(Cause::BadField("keyids"));
            }
            if let Some(Ok(key)) = keys.field(&name).map(PublicKey::from_tuf_json) {
                signers.keys.push((id, key));
            }
        }
        Ok(signers)
    }
}

impl FileMeta {
    /// Decodes an entry of `meta` in a timestamp or snapshot (spec 4.4, 4.6).
    pub(crate) fn decode(meta: Value<'_>) -> Result<Self, Cause> {
        let version = meta.field("version").and_then(Value::as_u64).filter(|version| *version > 0);
        let length =
            meta.field("length").map(|length| length.as_u64().filter(|length| *length > 0));
        let hashes = meta.field("hashes").map(Hashes::decode);
        Ok(Self {
            version: version.ok_or(Cause::BadField("meta"))?,
            length: length.map(|length| length.ok_or(Cause::BadField("length"))).transpose()?,
            hashes: hashes.transpose()?.unwrap_or_default(),
        })
    }
}

impl Hashes {
    /// Decodes `{"sha256": "...", ...}`. At least one hash must be of an algorithm we know: a hash
    /// nobody checks is worse than none.
    pub(crate) fn decode(hashes: Value<'_>) -> Result<Self, Cause> {
        const BAD: Cause = Cause::BadField("hashes");
        let sha256 =
            hashes.field("sha256").map(|hash| hash.as_plain().and_then(hex::decode).ok_or(BAD));
        let sha512 =
            hashes.field("sha512").map(|hash| hash.as_plain().and_then(hex::decode).ok_or(BAD));
        let sha512 = sha512.map(|hash| hash.map(Box::new));
        let hashes = Self { sha256: sha256.transpose()?, sha512: sha512.transpose()? };
        if hashes.is_empty() { Err(BAD) } else { Ok(hashes) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sha256.is_none() && self.sha512.is_none()
    }
}

/// A role name, key id or path: a string that is not empty and not absurdly long.
pub(crate) fn name(value: Value<'_>) -> Option<String> {
    bounded(value.as_text()?)
}

fn bounded(text: Text<'_>) -> Option<String> {
    let name: String = match text.as_plain() {
        Some(plain) if plain.len() <= NAME_BYTES_MAX => plain.into(),
        Some(_) | None => text.chars().take(NAME_BYTES_MAX + 1).collect(),
    };
    (1..=NAME_BYTES_MAX).contains(&name.len()).then_some(name)
}
