//! The signed parts of TUF metadata as plain values, for those who write them.
//!
//! Fields stand in alphabetical order and maps are sorted, so that what serde writes is already in
//! the order of canonical JSON. Unknown fields are refused: whoever edits a file must understand
//! all of it. Not here: any decision to trust one of these; that is the verifier's.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::Error;
use super::name::is_name;
use super::target::Target;
use crate::hex;
use crate::json;
use crate::key::PublicKey;
use crate::time::Time;

/// The version of the TUF specification these files follow.
pub const SPEC_VERSION: &str = "1.0.34";

/// The signed part of any role.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "_type", rename_all = "lowercase")]
pub enum Metadata {
    /// Which keys speak for which role (TUF 4.3).
    Root(Root),
    /// Which versions of the other files belong together (TUF 4.4).
    Snapshot(Snapshot),
    /// What may be installed, and who else may say so (TUF 4.5).
    Targets(Targets),
    /// Which snapshot is current (TUF 4.6).
    Timestamp(Timestamp),
}

impl Metadata {
    /// Returns the repository the file is bound to (D1).
    pub fn repo(&self) -> &Repo {
        match self {
            Self::Root(part) => &part.repo,
            Self::Snapshot(part) => &part.repo,
            Self::Targets(part) => &part.repo,
            Self::Timestamp(part) => &part.repo,
        }
    }

    /// Returns the version of the file.
    pub fn version(&self) -> u64 {
        match self {
            Self::Root(part) => part.version,
            Self::Snapshot(part) => part.version,
            Self::Targets(part) => part.version,
            Self::Timestamp(part) => part.version,
        }
    }

    /// Returns the time from which the file is void.
    pub fn expires(&self) -> Time {
        match self {
            Self::Root(part) => part.expires,
            Self::Snapshot(part) => part.expires,
            Self::Targets(part) => part.expires,
            Self::Timestamp(part) => part.expires,
        }
    }
}

/// The signed part of a root file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Always true here: files carry their version in their name (TUF 6.2).
    pub consistent_snapshot: bool,
    /// When this root becomes void.
    pub expires: Time,
    /// Every key that `roles` names, by key id.
    pub keys: BTreeMap<String, Key>,
    /// The repository this root is bound to (D1).
    pub repo: Repo,
    /// Who speaks for which role.
    pub roles: RootRoles,
    /// The TUF specification followed.
    pub spec_version: SpecVersion,
    /// 1 for the first root; each next one counts up by exactly 1.
    pub version: u64,
}

/// Who speaks for the four roles of a repository.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RootRoles {
    /// Signs the next root.
    pub root: RoleKeys,
    /// Signs snapshots.
    pub snapshot: RoleKeys,
    /// Signs targets.
    pub targets: RoleKeys,
    /// Signs timestamps.
    pub timestamp: RoleKeys,
}

impl RootRoles {
    /// Returns the four roles with their names.
    pub fn named(&self) -> [(&'static str, &RoleKeys); 4] {
        [
            ("root", &self.root),
            ("snapshot", &self.snapshot),
            ("targets", &self.targets),
            ("timestamp", &self.timestamp),
        ]
    }
}

/// The keys of a role and how many of them must sign.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RoleKeys {
    /// Key ids.
    pub keyids: Vec<String>,
    /// How many different keys must sign.
    pub threshold: u32,
}

/// A public key as TUF writes it (TUF 4.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// `ed25519` or `ecdsa`.
    pub keytype: String,
    /// The key itself.
    pub keyval: KeyValue,
    /// `ed25519` or `ecdsa-sha2-nistp256`.
    pub scheme: String,
}

impl From<&PublicKey> for Key {
    fn from(key: &PublicKey) -> Self {
        Self {
            keytype: key.key_type().to_owned(),
            keyval: KeyValue { public: key.public_text() },
            scheme: key.scheme().to_owned(),
        }
    }
}

impl TryFrom<&Key> for PublicKey {
    type Error = Error;

    fn try_from(key: &Key) -> Result<Self, Error> {
        let text = serde_json::to_vec(key).map_err(Error::Json)?;
        let value = json::Value::parse(&text).map_err(Error::Canonical)?;
        Self::from_tuf_json(value).map_err(|_| Error::Key)
    }
}

/// The value of a public key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyValue {
    /// 64 hexadecimal digits for Ed25519, a PEM `SubjectPublicKeyInfo` for P-256.
    pub public: String,
}

/// The signed part of a timestamp file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Timestamp {
    /// What the Director says about its answer; absent in Image repositories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<BTreeMap<String, Value>>,
    /// When this timestamp becomes void.
    pub expires: Time,
    /// Exactly one entry, `snapshot.json`.
    pub meta: BTreeMap<String, MetaFile>,
    /// The repository this file is bound to (D1).
    pub repo: Repo,
    /// The TUF specification followed.
    pub spec_version: SpecVersion,
    /// Rises with every timestamp.
    pub version: u64,
}

/// The signed part of a snapshot file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// When this snapshot becomes void.
    pub expires: Time,
    /// The targets file and every delegated role file, by unversioned file name.
    pub meta: BTreeMap<String, MetaFile>,
    /// The repository this file is bound to (D1).
    pub repo: Repo,
    /// The TUF specification followed.
    pub spec_version: SpecVersion,
    /// Rises with every snapshot.
    pub version: u64,
}

/// What one metadata file says about another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MetaFile {
    /// Hash of the whole file, signatures included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<Hashes>,
    /// Length of the whole file in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Version of the file.
    pub version: u64,
}

/// The hashes of a file; only SHA-256 is published.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hashes {
    /// SHA-256 of the file.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub sha256: [u8; 32],
}

fn to_hex<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(hash))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    hex::decode(&text).ok_or_else(|| de::Error::custom("not 64 lower-case hexadecimal digits"))
}

/// The signed part of `targets` or of a delegated role.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// What the Director says about its answer; absent in Image repositories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<BTreeMap<String, Value>>,
    /// Which roles may speak for which paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
    /// When this file becomes void.
    pub expires: Time,
    /// The repository this file is bound to (D1).
    pub repo: Repo,
    /// The TUF specification followed.
    pub spec_version: SpecVersion,
    /// What may be installed, by target path.
    pub targets: BTreeMap<String, Target>,
    /// Rises with every change.
    pub version: u64,
}

/// Which roles may speak for which paths.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Delegations {
    /// Every key that `roles` names, by key id.
    pub keys: BTreeMap<String, Key>,
    /// The roles, in the order in which clients ask them.
    pub roles: Vec<DelegatedRole>,
}

/// One role that `targets` lets speak for some paths.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DelegatedRole {
    /// Key ids.
    pub keyids: Vec<String>,
    /// Name of the role; its file is `<version>.<name>.json`.
    pub name: String,
    /// Shell patterns of the target paths it may speak for.
    pub paths: Vec<String>,
    /// True: for these paths nobody after this role is asked.
    pub terminating: bool,
    /// How many different keys must sign.
    pub threshold: u32,
}

impl DelegatedRole {
    /// Returns the keys and the threshold of the role.
    pub fn role_keys(&self) -> RoleKeys {
        RoleKeys { keyids: self.keyids.clone(), threshold: self.threshold }
    }
}

/// The repository a file is bound to (D1).
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Repo {
    /// Says what each device should run now.
    Director,
    /// Says what may be installed on devices of one product, which is named, at all.
    Image(String),
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Director => f.write_str("director"),
            Self::Image(product) => write!(f, "image/{product}"),
        }
    }
}

impl FromStr for Repo {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once('/') {
            None if text == "director" => Ok(Self::Director),
            Some(("image", product)) => {
                if is_name(product) {
                    Ok(Self::Image(product.to_owned()))
                } else {
                    Err(Error::Repo)
                }
            }
            None | Some(_) => Err(Error::Repo),
        }
    }
}

impl TryFrom<String> for Repo {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Repo> for String {
    fn from(repo: Repo) -> Self {
        repo.to_string()
    }
}

/// The TUF specification version a file claims; written as [`SPEC_VERSION`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SpecVersion(String);

impl Default for SpecVersion {
    fn default() -> Self {
        Self(SPEC_VERSION.to_owned())
    }
}
