//! What a ceremony decides, as pure functions from old metadata to new.
//!
//! Nothing here signs, reads or writes; times come in.

mod documents;

use std::collections::BTreeMap;

use waxwing_tuf::Time;
use waxwing_tuf::author::{
    DelegatedRole, Delegations, Key, Repo, RoleKeys, Root, RootRoles, SpecVersion, Targets,
    fingerprint,
};
use waxwing_tuf::key::PublicKey;
use waxwing_wire::{Channel, ProductId};

pub use self::documents::DocumentsDelegation;

/// Most keys one role may have: more people than that are a committee.
pub const KEYS_PER_ROLE_MAX: usize = 8;

/// Keys of other repositories by key id: none of them may be used here (D1).
pub type ForeignKeys = BTreeMap<String, Repo>;

/// Returns the product of an Image repository; `None` for the Director's.
pub fn product_of(repo: &Repo) -> Option<ProductId> {
    match repo {
        Repo::Director => None,
        // Both crates have the same rule for names, so this parses.
        Repo::Image(product) => ProductId::parse(product).ok(),
    }
}

/// Keys and threshold of a role, as the coordinator gives them.
#[derive(Clone, Debug)]
pub struct Holders {
    /// How many of the keys must sign.
    pub threshold: u32,
    /// The keys.
    pub keys: Vec<PublicKey>,
}

/// What the first root of a repository says.
#[derive(Clone, Debug)]
pub struct FirstRoot {
    /// The repository.
    pub repo: Repo,
    /// When it becomes void.
    pub expires: Time,
    /// Who signs the next root.
    pub root: Holders,
    /// Who signs targets.
    pub targets: Holders,
    /// Who signs snapshots.
    pub snapshot: Holders,
    /// Who signs timestamps.
    pub timestamp: Holders,
}

impl FirstRoot {
    /// Writes the root down.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for thresholds nobody can meet and keys that may not be here.
    pub fn build(self, foreign: &ForeignKeys) -> Result<Root, Refusal> {
        let holders = [&self.root, &self.targets, &self.snapshot, &self.timestamp];
        let keys = holders.iter().flat_map(|holders| &holders.keys);
        let keys = keys.map(|key| (key.key_id(), Key::from(key))).collect();
        let root = Root {
            consistent_snapshot: true,
            expires: self.expires,
            keys,
            repo: self.repo,
            roles: RootRoles {
                root: self.root.role_keys("root")?,
                snapshot: self.snapshot.role_keys("snapshot")?,
                targets: self.targets.role_keys("targets")?,
                timestamp: self.timestamp.role_keys("timestamp")?,
            },
            spec_version: SpecVersion::default(),
            version: 1,
        };
        check_root(&root, foreign)?;
        Ok(root)
    }
}

impl Holders {
    fn role_keys(&self, role: &str) -> Result<RoleKeys, Refusal> {
        let keyids: Vec<String> = self.keys.iter().map(PublicKey::key_id).collect();
        check_role(role, &keyids, self.threshold)?;
        Ok(RoleKeys { keyids, threshold: self.threshold })
    }
}

/// How the next root differs from the one before.
#[derive(Clone, Debug)]
pub struct RootChange {
    /// The roles whose keys change: `root`, `targets`, `snapshot`, `timestamp`.
    pub roles: Vec<String>,
    /// Keys that leave these roles.
    pub remove: Vec<PublicKey>,
    /// Keys that join these roles.
    pub add: Vec<PublicKey>,
    /// A new threshold for these roles.
    pub threshold: Option<u32>,
    /// When the new root becomes void.
    pub expires: Time,
}

impl RootChange {
    /// Writes down the root that follows `old`.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for keys that are not there to remove or there already, thresholds nobody can
    /// meet and keys that may not be here.
    pub fn build(&self, old: &Root, foreign: &ForeignKeys) -> Result<Root, Refusal> {
        let mut root = Root { expires: self.expires, version: old.version + 1, ..old.clone() };
        root.keys.extend(self.add.iter().map(|key| (key.key_id(), Key::from(key))));
        for role in &self.roles {
            let keys = match role.as_str() {
                "root" => &mut root.roles.root,
                "snapshot" => &mut root.roles.snapshot,
                "targets" => &mut root.roles.targets,
                "timestamp" => &mut root.roles.timestamp,
                _ => return Err(Refusal::NoSuchRole(role.clone())),
            };
            self.apply(role, keys)?;
        }
        let roles = root.roles.clone();
        let used = |id: &String| roles.named().iter().any(|(_, keys)| keys.keyids.contains(id));
        root.keys.retain(|id, _| used(id));
        check_root(&root, foreign)?;
        Ok(root)
    }

    fn apply(&self, role: &str, keys: &mut RoleKeys) -> Result<(), Refusal> {
        for key in &self.remove {
            let id = key.key_id();
            if !keys.keyids.contains(&id) {
                return Err(Refusal::NotListed { role: role.to_owned(), key: fingerprint(key) });
            }
            keys.keyids.retain(|other| *other != id);
        }
        keys.keyids.extend(self.add.iter().map(PublicKey::key_id));
        keys.threshold = self.threshold.unwrap_or(keys.threshold);
        check_role(role, &keys.keyids, keys.threshold)
    }
}

/// What the coordinator delegates: one channel of the product.
#[derive(Clone, Debug)]
pub struct Delegation {
    /// The product the repository belongs to.
    pub product: ProductId,
    /// The channel.
    pub channel: Channel,
    /// Who may sign releases of the channel.
    pub holders: Holders,
    /// When the new `targets` becomes void.
    pub expires: Time,
}

impl Delegation {
    /// Returns the role name of a channel: `<product>-<channel>`.
    pub fn role(product: &ProductId, channel: &Channel) -> String {
        format!("{product}-{channel}")
    }

    /// Writes down the `targets` that follows `old`, or the first one.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for thresholds nobody can meet and keys that may not be here.
    pub fn build(
        &self,
        old: Option<Targets>,
        version: u64,
        foreign: &ForeignKeys,
    ) -> Result<Targets, Refusal> {
        let repo = Repo::Image(self.product.to_string());
        let mut targets = old.unwrap_or_else(|| empty_targets(repo, self.expires));
        let mut delegations = targets.delegations.take().unwrap_or_default();
        let name = Self::role(&self.product, &self.channel);
        let keys = self.holders.role_keys(&name)?;
        let role = DelegatedRole {
            keyids: keys.keyids,
            paths: vec![format!("{}/{}/*/*", self.product, self.channel)],
            terminating: true,
            threshold: keys.threshold,
            name: name.clone(),
        };
        match delegations.roles.iter_mut().find(|other| other.name == name) {
            Some(other) => *other = role,
            None => delegations.roles.push(role),
        }
        let keys = self.holders.keys.iter().map(|key| (key.key_id(), Key::from(key)));
        delegations.keys.extend(keys);
        drop_unused(&mut delegations);
        check_foreign(&delegations.keys, foreign)?;
        Ok(Targets { delegations: Some(delegations), expires: self.expires, version, ..targets })
    }
}

/// Returns a file that lists nothing, version 1.
pub fn empty_targets(repo: Repo, expires: Time) -> Targets {
    Targets {
        custom: None,
        delegations: None,
        expires,
        repo,
        spec_version: SpecVersion::default(),
        targets: BTreeMap::new(),
        version: 1,
    }
}

fn drop_unused(delegations: &mut Delegations) {
    let roles = &delegations.roles;
    delegations.keys.retain(|id, _| roles.iter().any(|role| role.keyids.contains(id)));
}

fn check_root(root: &Root, foreign: &ForeignKeys) -> Result<(), Refusal> {
    check_foreign(&root.keys, foreign)?;
    // Snapshot and timestamp keys are the ones most exposed; the root must outlive their loss.
    let online = [&root.roles.snapshot, &root.roles.timestamp];
    let exposed = |id: &&String| online.iter().any(|role| role.keyids.contains(id));
    match root.roles.root.keyids.iter().find(exposed) {
        Some(id) => Err(Refusal::RootKeyOnline(describe(root.keys.get(id), id))),
        None => Ok(()),
    }
}

fn check_role(role: &str, keyids: &[String], threshold: u32) -> Result<(), Refusal> {
    let role = role.to_owned();
    let twice = keyids.iter().enumerate().any(|(at, id)| keyids.iter().take(at).any(|o| o == id));
    if twice {
        return Err(Refusal::Twice(role));
    }
    if keyids.len() > KEYS_PER_ROLE_MAX {
        return Err(Refusal::TooManyKeys(role));
    }
    let enough = usize::try_from(threshold).is_ok_and(|needed| needed <= keyids.len());
    if threshold == 0 || !enough {
        return Err(Refusal::Threshold { role, threshold, keys: keyids.len() });
    }
    Ok(())
}

/// A key that two repositories share lets whoever holds it mix them up (D1).
fn check_foreign(keys: &BTreeMap<String, Key>, foreign: &ForeignKeys) -> Result<(), Refusal> {
    let shared = keys.iter().find_map(|(id, key)| Some((id, key, foreign.get(id)?)));
    match shared {
        Some((id, key, repo)) => {
            Err(Refusal::Foreign { key: describe(Some(key), id), repo: repo.clone() })
        }
        None => Ok(()),
    }
}

fn describe(key: Option<&Key>, id: &str) -> String {
    let key = key.and_then(|key| PublicKey::try_from(key).ok());
    key.map_or_else(|| id.to_owned(), |key| fingerprint(&key))
}

/// Why a ceremony may not go on like this.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The key is already at home in another repository.
    #[error("key `{key}` already belongs to repository {repo}; make a new key for this one (D1)")]
    Foreign {
        /// Fingerprint of the key.
        key: String,
        /// Where it belongs.
        repo: Repo,
    },
    /// Documents go with a channel.
    #[error("channel `{0}` is not delegated yet; do that first, with `waxwing-keys delegate`")]
    NoChannel(String),
    /// A root has four roles.
    #[error("a root has the roles root, targets, snapshot and timestamp, not `{0}`")]
    NoSuchRole(String),
    /// The key to remove is not there.
    #[error("key `{key}` is not listed in role {role}, so it cannot be removed from it")]
    NotListed {
        /// The role.
        role: String,
        /// Fingerprint of the key.
        key: String,
    },
    /// The root must survive the loss of every key that is used daily.
    #[error("key `{0}` signs snapshots or timestamps and must not sign roots; take another one")]
    RootKeyOnline(String),
    /// The threshold cannot be met, or is none.
    #[error(
        "role {role} has {keys} keys and needs {threshold} signatures; between 1 and {keys} are possible"
    )]
    Threshold {
        /// The role.
        role: String,
        /// Signatures needed.
        threshold: u32,
        /// Keys listed.
        keys: usize,
    },
    /// More keys than allowed.
    #[error("role {0} lists more than {KEYS_PER_ROLE_MAX} keys")]
    TooManyKeys(String),
    /// One key counts once.
    #[error("role {0} would list one key twice")]
    Twice(String),
}
