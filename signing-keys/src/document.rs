//! One metadata file in the hands of a signer: who must sign it, who has, and what it changes.
//!
//! A file may need more than one quorum: the next root needs that of the root before it, too. Not
//! here: what the file says; [`crate::ceremony`] and [`crate::release`] decide that.

mod earlier;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use waxwing_tuf::author::{Key, Metadata, Names, RoleKeys, Root, SignedFile, Signer, diff};
use waxwing_tuf::key::PublicKey;
use waxwing_tuf::role::{self, Signers};
use waxwing_tuf::verify::{verify, verify_next_root, verify_targets, verify_trusted_root};
use waxwing_tuf::{Cause, Time};

pub use self::earlier::Earlier;
use crate::disk;
use crate::folder::{self, Folder};

/// A metadata file with everything that is needed to judge it.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    bytes: Vec<u8>,
    metadata: Metadata,
    role: String,
    previous: Option<Earlier>,
    quorums: Vec<Quorum>,
}

/// A group of keys, some of which must sign.
#[derive(Clone, Debug)]
pub struct Quorum {
    /// Who says so, such as `role root of 1.root.json`.
    pub by: String,
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many of them must sign.
    pub threshold: u32,
}

/// How far a quorum is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The quorum.
    pub quorum: Quorum,
    /// Which of its keys have signed.
    pub signed: Vec<PublicKey>,
    /// Enough of them have, by the count of the devices.
    pub is_met: bool,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quorum { by, threshold, .. } = &self.quorum;
        write!(f, "{by}: {} of {threshold} signatures", self.signed.len())
    }
}

impl Document {
    /// Opens a file; the files it depends on lie in the same folder. `previous` names the version
    /// before it where that lies elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error`] when it is no metadata of ours or the file that says who signs it is missing.
    pub fn open(path: &Path, previous: Option<&Path>) -> Result<Self, Error> {
        let bytes = disk::read(path)?;
        let metadata = folder::parse(path, &bytes)?;
        let folder = Folder::around(path);
        let role = role_name(path, &metadata, &folder)?;
        let previous = match previous {
            Some(path) => Some(Earlier::read(path)?),
            None => Earlier::newest(&folder, &role, metadata.version())?,
        };
        let quorums = quorums(&folder, &role, &metadata, previous.as_ref())?;
        Ok(Self { path: path.to_owned(), bytes, metadata, role, previous, quorums })
    }

    /// Returns what the file says.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the role whose file this is.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Returns the version that the file follows, as it lies here, if there is one.
    pub fn previous(&self) -> Option<&Earlier> {
        self.previous.as_ref()
    }

    /// Describes what the file changes since an earlier version; all that it says, without one.
    pub fn changes_since(&self, earlier: Option<&Earlier>, names: &Names) -> Vec<String> {
        diff(earlier.map(|earlier| &earlier.metadata), &self.metadata, names)
    }

    /// Returns how far every quorum is.
    ///
    /// # Errors
    ///
    /// [`Error::Author`] when the file is no JSON that devices read.
    pub fn progress(&self) -> Result<Vec<Progress>, Error> {
        let file = SignedFile::parse(&self.bytes)?;
        let progress = |quorum: &Quorum| {
            let mut signed = Vec::new();
            for key in &quorum.keys {
                if file.is_signed_by(key)? {
                    signed.push(key.clone());
                }
            }
            let is_met = file.is_signed_by_threshold(&quorum.signers())?;
            Ok(Progress { quorum: quorum.clone(), signed, is_met })
        };
        self.quorums.iter().map(progress).collect()
    }

    /// Checks that one of the quorums lists the key.
    ///
    /// # Errors
    ///
    /// [`Error::NotAsked`] when none does.
    pub fn check_asked(&self, key: &PublicKey) -> Result<(), Error> {
        if self.quorums.iter().any(|quorum| quorum.keys.contains(key)) {
            return Ok(());
        }
        Err(Error::NotAsked { path: self.path.clone(), role: self.role.clone() })
    }

    /// Adds one signature and writes the file, after the verifier of the devices has found the
    /// signature in what was read back from the disk.
    ///
    /// # Errors
    ///
    /// [`Error::NotAsked`] when no quorum lists the key, [`Error::Folder`] when two repositories
    /// share a key; the file is then as it was.
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<(), Error> {
        self.check_asked(signer.public())?;
        self.check_keys()?;
        let mut file = SignedFile::parse(&self.bytes)?;
        file.sign(signer)?;
        let bytes = file.to_bytes()?;
        let one = Signers::new(1, vec![(signer.key_id().to_owned(), signer.public().clone())]);
        disk::replace(&self.path, &bytes, |written| self.verify(written, &one))?;
        self.bytes = bytes;
        Ok(())
    }

    /// Checks that a device which believes the version before would believe this one: signatures,
    /// repository and life.
    ///
    /// # Errors
    ///
    /// [`Error::Untrusted`] says what is missing.
    pub fn check(&self, now: Time) -> Result<(), Error> {
        self.check_keys()?;
        for quorum in &self.quorums {
            self.verify(&self.bytes, &quorum.signers())?;
        }
        if let (Metadata::Root(_), Some(previous)) = (&self.metadata, &self.previous) {
            let repo = self.metadata.repo().to_string();
            verify_trusted_root(&previous.bytes, Some(&repo))
                .and_then(|previous| verify_next_root(&self.bytes, &previous, Some(&repo)))
                .map_err(|cause| self.untrusted(cause))?;
        }
        if self.metadata.expires() <= now {
            return Err(Error::Expired { path: self.path.clone(), at: self.metadata.expires() });
        }
        Ok(())
    }

    fn check_keys(&self) -> Result<(), Error> {
        Ok(Folder::around(&self.path).check_keys(self.metadata.repo())?)
    }

    fn verify(&self, bytes: &[u8], signers: &Signers) -> Result<(), Error> {
        verify_as(&self.metadata, bytes, signers).map_err(|cause| self.untrusted(cause))
    }

    fn untrusted(&self, cause: Cause) -> Error {
        Error::Untrusted { path: self.path.clone(), cause }
    }
}

impl Quorum {
    fn new(by: String, role: &RoleKeys, keys: &BTreeMap<String, Key>) -> Self {
        let keys = role.keyids.iter().filter_map(|id| PublicKey::try_from(keys.get(id)?).ok());
        Self { by, keys: keys.collect(), threshold: role.threshold }
    }

    fn of_root(root: &Root, role: &RoleKeys, name: &str) -> Self {
        Self::new(format!("role {name} of {}.root.json", root.version), role, &root.keys)
    }

    fn signers(&self) -> Signers {
        let keys = self.keys.iter().map(|key| (key.key_id(), key.clone()));
        Signers::new(usize::try_from(self.threshold).unwrap_or(usize::MAX), keys.collect())
    }
}

/// Has the verifier of the devices look at a file of the same role and repository as `metadata`.
///
/// # Errors
///
/// The verifier's.
pub(crate) fn verify_as(metadata: &Metadata, bytes: &[u8], signers: &Signers) -> Result<(), Cause> {
    let repo = metadata.repo().to_string();
    let repo = Some(repo.as_str());
    match metadata {
        Metadata::Root(_) => verify::<role::Root>(bytes, signers, repo).map(drop),
        Metadata::Snapshot(_) => verify::<role::Snapshot>(bytes, signers, repo).map(drop),
        Metadata::Targets(_) => verify_targets(bytes.to_vec(), signers, repo).map(drop),
        Metadata::Timestamp(_) => verify::<role::Timestamp>(bytes, signers, repo).map(drop),
    }
}

/// A targets file is named after its role; the other three say what they are.
fn role_name(path: &Path, metadata: &Metadata, folder: &Folder) -> Result<String, Error> {
    let role = match metadata {
        Metadata::Root(_) => "root",
        Metadata::Snapshot(_) => "snapshot",
        Metadata::Targets(_) => {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let version = format!("{}.", metadata.version());
            let name = name.strip_suffix(".json").unwrap_or(name);
            return known_role(name.strip_prefix(&version).unwrap_or(name), name, folder);
        }
        Metadata::Timestamp(_) => "timestamp",
    };
    Ok(role.to_owned())
}

/// Prefers the whole name: a product may be called `7.x`.
fn known_role(short: &str, whole: &str, folder: &Folder) -> Result<String, Error> {
    let delegated = delegated(folder, whole)?.is_some();
    Ok(if delegated { whole.to_owned() } else { short.to_owned() })
}

fn quorums(
    folder: &Folder,
    role: &str,
    metadata: &Metadata,
    previous: Option<&Earlier>,
) -> Result<Vec<Quorum>, Error> {
    if let Metadata::Root(root) = metadata {
        return root_quorums(folder, root, previous);
    }
    if matches!(metadata, Metadata::Targets(_)) && role != "targets" {
        let quorum = delegated(folder, role)?;
        return quorum
            .map(|quorum| vec![quorum])
            .ok_or_else(|| Error::Undelegated(role.to_owned()));
    }
    let roots = folder.roots()?;
    let name = format!("{}.root.json", roots.newest.header.version);
    let Some(Metadata::Root(root)) = folder.metadata(&name)? else {
        return Err(Error::Folder(folder::Error::NoRoot(folder.path(&name))));
    };
    let named = root.roles.named();
    let keys = named.iter().filter(|(name, _)| *name == role);
    Ok(keys.map(|(name, keys)| Quorum::of_root(&root, keys, name)).collect())
}

/// TUF 5.3.4: the next root is signed by a threshold of the keys of this one and its own.
fn root_quorums(
    folder: &Folder,
    root: &Root,
    previous: Option<&Earlier>,
) -> Result<Vec<Quorum>, Error> {
    let own = Quorum::of_root(root, &root.roles.root, "root");
    match previous.map(|previous| &previous.metadata) {
        Some(Metadata::Root(old)) if old.version + 1 == root.version => {
            Ok(vec![Quorum::of_root(old, &old.roles.root, "root"), own])
        }
        None if root.version == 1 => Ok(vec![own]),
        None | Some(_) => {
            let name = format!("{}.root.json", root.version.saturating_sub(1));
            Err(Error::NoPrevious(folder.path(&name)))
        }
    }
}

fn delegated(folder: &Folder, role: &str) -> Result<Option<Quorum>, Error> {
    let Some(Metadata::Targets(targets)) = folder.metadata("targets.json")? else {
        return Ok(None);
    };
    let Some(delegations) = targets.delegations else { return Ok(None) };
    let delegated = delegations.roles.iter().find(|delegated| delegated.name == role);
    let by = format!("targets.json, version {}", targets.version);
    Ok(delegated.map(|role| Quorum::new(by, &role.role_keys(), &delegations.keys)))
}

/// A file could not be judged or signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read as its author does, or signed.
    #[error(transparent)]
    Author(#[from] waxwing_tuf::author::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// Devices do not believe it any more.
    #[error("{} expired at {at}", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        at: Time,
    },
    /// A file beside it is not as it should be.
    #[error(transparent)]
    Folder(#[from] folder::Error),
    /// The root before this one is needed.
    #[error("{} is needed to judge this root; name it with --previous", .0.display())]
    NoPrevious(PathBuf),
    /// This key has nothing to say here.
    #[error(
        "this key may not sign role {role}, so {} stays as it is; \
         `waxwing-keys check` lists the keys that may",
        path.display()
    )]
    NotAsked {
        /// The file.
        path: PathBuf,
        /// The role.
        role: String,
    },
    /// Nobody delegated this role.
    #[error("targets.json does not delegate role `{0}`; do that with `waxwing-keys delegate`")]
    Undelegated(String),
    /// A device would not believe the file.
    #[error("{} is not a file that devices would trust", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: Cause,
    },
}
