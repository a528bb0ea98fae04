//! The folder of one repository: which files it holds, and which of them can be trusted.
//!
//! ```text
//! <ceremony>/transcript.jsonl                                     who did what
//! <ceremony>/keys/*.pub.json, <ceremony>/<repository>/keys/*.pub.json  names of keys, for people
//! <ceremony>/<repository>/metadata/1.root.json, 2.root.json ...  signed in place
//! <ceremony>/<repository>/metadata/targets.json, <role>.json     working copies: edited, signed
//! <ceremony>/<repository>/metadata/7.targets.json, ...           what `publish` wrote; never edited
//! <ceremony>/<repository>/targets/...                            images, for Image repositories
//! ```
//!
//! What `publish` wrote is a complete TUF repository that any web server can serve. Not here:
//! changes; and no check of signatures but by the verifier that devices run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use waxwing_tuf::author::{Metadata, Names, PublicKeyFile, Repo, SignedFile, fingerprint};
use waxwing_tuf::key::PublicKey;
use waxwing_tuf::role::Root;
use waxwing_tuf::verify::{verify_next_root, verify_trusted_root};
use waxwing_tuf::{Cause, Verified};

use crate::ceremony::ForeignKeys;
use crate::disk;

/// Most roots a chain may have here: one a year for longer than any device lives.
pub const ROOTS_MAX: u64 = 256;

/// Longest name of a key that is shown, in bytes: fits on a line beside six words.
const NAME_BYTES_MAX: usize = 64;

/// Most repositories a ceremony folder is searched for.
const SIBLINGS_MAX: usize = 1024;

/// The metadata folder of one repository.
#[derive(Clone, Debug)]
pub struct Folder {
    metadata: PathBuf,
}

/// The roots of a repository, verified from the first to the newest that its quorum signed.
#[derive(Debug)]
pub struct RootChain {
    /// The files, `1.root.json` first.
    pub files: Vec<Vec<u8>>,
    /// The newest root that is signed as it must be.
    pub newest: Verified<Root>,
    /// The repository that all of them are bound to.
    pub repo: Repo,
}

impl Folder {
    /// Names the folder of a repository.
    pub fn of(repository: &Path) -> Self {
        Self { metadata: repository.join("metadata") }
    }

    /// Names the folder a metadata file lies in.
    pub fn around(file: &Path) -> Self {
        Self { metadata: disk::folder(file).to_owned() }
    }

    /// Returns the path of a metadata file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.metadata.join(name)
    }

    /// Returns the path of an image: where TUF clients look for the target (TUF 6.2).
    ///
    /// The target path must be one that this crate wrote.
    pub fn image(&self, target: &str, sha256: waxwing_wire::Digest) -> PathBuf {
        let (folder, file) = target.rsplit_once('/').unwrap_or(("", target));
        self.repository().join("targets").join(folder).join(format!("{sha256}.{file}"))
    }

    /// Reads a metadata file; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error`] when it cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(name);
        if !fs::exists(&path).map_err(|cause| disk::Error::io("read", &path, cause))? {
            return Ok(None);
        }
        disk::read(&path).map(Some).map_err(Error::Disk)
    }

    /// Reads a metadata file as its author does; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error`] when it cannot be read or is no metadata of ours.
    pub fn metadata(&self, name: &str) -> Result<Option<Metadata>, Error> {
        self.read(name)?.map(|bytes| parse(&self.path(name), &bytes)).transpose()
    }

    /// Verifies the chain of roots, as a device does that knows only the first one.
    ///
    /// # Errors
    ///
    /// [`Error`] when there is no first root or it is not signed, or a later one is neither right
    /// nor merely waiting for signatures.
    pub fn roots(&self) -> Result<RootChain, Error> {
        let path = self.path("1.root.json");
        let first = self.read("1.root.json")?.ok_or_else(|| Error::NoRoot(path.clone()))?;
        let repo = parse(&path, &first)?.repo().clone();
        let name = repo.to_string();
        let untrusted = |path: PathBuf| move |cause| Error::Untrusted { path, cause };
        let mut newest = verify_trusted_root(&first, Some(&name)).map_err(untrusted(path))?;
        let mut files = vec![first];
        for version in 2..=ROOTS_MAX {
            let file = format!("{version}.root.json");
            let Some(bytes) = self.read(&file)? else { break };
            match verify_next_root(&bytes, &newest, Some(&name)) {
                Ok(root) => newest = root,
                // Its ceremony is not over.
                Err(Cause::TooFewSignatures) => break,
                Err(cause) => return Err(untrusted(self.path(&file))(cause)),
            }
            files.push(bytes);
        }
        Ok(RootChain { files, newest, repo })
    }

    /// Returns the names of the keys that lie beside this repository.
    pub fn names(&self) -> Names {
        let folders = [self.metadata.clone(), self.repository().join("keys")];
        let shared = self.ceremony().map(|ceremony| ceremony.join("keys"));
        let folders = folders.iter().chain(&shared);
        let files = folders.flat_map(|folder| list(folder).unwrap_or_default());
        // Only a help for people: what is no key has no name.
        let keys = files.filter_map(|path| PublicKeyFile::parse(&disk::read(&path).ok()?).ok());
        // A name that holds six words of its own could be read aloud in place of the key's.
        let keys = keys.filter(|key| is_plain(key.name()));
        keys.filter_map(|key| Some((key.public().ok()?.key_id(), key.name().to_owned()))).collect()
    }

    /// Keeps copies of public key files beside the repository, so that their names are shown.
    ///
    /// # Errors
    ///
    /// [`Error`] when one cannot be copied.
    pub fn remember(&self, keys: &[PathBuf]) -> Result<(), Error> {
        if self.ceremony().is_none() {
            return Ok(());
        }
        for (key, name) in keys.iter().filter_map(|key| Some((key, key.file_name()?))) {
            let copy = self.repository().join("keys").join(name);
            if !copy.exists() {
                disk::copy(key, &copy)?;
            }
        }
        Ok(())
    }

    /// Returns the keys of the other repositories in the same ceremony folder (D1).
    ///
    /// # Errors
    ///
    /// [`Error`] when one of their files cannot be read: what it lists might matter.
    pub fn foreign_keys(&self, repo: &Repo) -> Result<ForeignKeys, Error> {
        let mut foreign = ForeignKeys::new();
        let Some(ceremony) = self.ceremony() else { return Ok(foreign) };
        for repository in list(&ceremony)?.iter().take(SIBLINGS_MAX) {
            for path in metadata_files(&repository.join("metadata")) {
                foreign.extend(foreign_keys_of(&path, repo)?);
            }
        }
        Ok(foreign)
    }

    /// Checks that no key that this repository lists or has listed is at home in another one of
    /// the same ceremony folder (D1), whoever wrote the files.
    ///
    /// # Errors
    ///
    /// [`Error::Shared`] names the key; else as [`Folder::foreign_keys`].
    pub fn check_keys(&self, repo: &Repo) -> Result<(), Error> {
        let foreign = self.foreign_keys(repo)?;
        if foreign.is_empty() {
            return Ok(());
        }
        for path in metadata_files(&self.metadata) {
            for key in keys_of(&parse(&path, &disk::read(&path)?)?) {
                if let Some(other) = foreign.get(&key.key_id()) {
                    return Err(Error::Shared { key: fingerprint(&key), repo: other.clone() });
                }
            }
        }
        Ok(())
    }

    /// Returns the ceremony folder, but only where the layout above is kept: else what lies around
    /// has nothing to do with this.
    pub fn ceremony(&self) -> Option<PathBuf> {
        self.metadata.ends_with("metadata").then(|| self.repository().join(".."))
    }

    fn repository(&self) -> PathBuf {
        self.metadata.join("..")
    }
}

/// Tells whether a name is one word, as everything that this program calls a key.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    name.len() <= NAME_BYTES_MAX && name.bytes().all(plain)
}

/// Returns the keys that a file lists, if it belongs to another repository than `repo`.
///
/// # Errors
///
/// [`Error`] when the file cannot be read.
pub fn foreign_keys_of(path: &Path, repo: &Repo) -> Result<ForeignKeys, Error> {
    let metadata = parse(path, &disk::read(path)?)?;
    if metadata.repo() == repo {
        return Ok(ForeignKeys::new());
    }
    let keys = keys_of(&metadata).into_iter();
    Ok(keys.map(|key| (key.key_id(), metadata.repo().clone())).collect())
}

fn keys_of(metadata: &Metadata) -> Vec<PublicKey> {
    let keys = match metadata {
        Metadata::Root(root) => Some(&root.keys),
        Metadata::Targets(targets) => targets.delegations.as_ref().map(|listed| &listed.keys),
        Metadata::Snapshot(_) | Metadata::Timestamp(_) => None,
    };
    keys.into_iter().flatten().filter_map(|(_, key)| PublicKey::try_from(key).ok()).collect()
}

fn metadata_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let files = list(folder).unwrap_or_default().into_iter();
    files.filter(|path| path.extension().is_some_and(|extension| extension == "json"))
}

/// Reads the signed part of a file.
///
/// # Errors
///
/// [`Error::NotOurs`] names the file.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Metadata, Error> {
    let metadata = SignedFile::parse(bytes).and_then(|file| file.metadata());
    let metadata = metadata.map_err(|cause| Error::NotOurs { path: path.to_owned(), cause })?;
    match role_named_twice(&metadata) {
        Some(role) => Err(Error::RoleTwice { path: path.to_owned(), role: role.to_owned() }),
        None => Ok(metadata),
    }
}

/// Of two roles of one name people would be shown one, and a device might believe the other.
fn role_named_twice(metadata: &Metadata) -> Option<&str> {
    let Metadata::Targets(targets) = metadata else { return None };
    let roles = targets.delegations.as_ref()?.roles.iter().map(|role| role.name.as_str());
    let mut seen = BTreeSet::new();
    roles.into_iter().find(|name| !seen.insert(*name))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    entries.map_err(|cause| Error::Disk(disk::Error::io("list", folder, cause)))
}

/// The folder does not hold what is needed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A file that another one refers to is not there, or is something else.
    #[error("{} is missing or not what its name says; restore it from a backup", .0.display())]
    Incomplete(PathBuf),
    /// There is no first root.
    #[error("{} is missing; make it with `waxwing-keys root init`", .0.display())]
    NoRoot(PathBuf),
    /// A file is no metadata of ours.
    #[error("{} is no metadata that this program understands", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: waxwing_tuf::author::Error,
    },
    /// A file that delegates two roles of one name.
    #[error("{} names role `{role}` twice; nobody may sign that", path.display())]
    RoleTwice {
        /// The file.
        path: PathBuf,
        /// The role.
        role: String,
    },
    /// A key that two repositories list.
    #[error(
        "key `{key}` also belongs to repository {repo}: whoever holds it could mix the two up; \
         replace it in one of them (D1)"
    )]
    Shared {
        /// Fingerprint of the key.
        key: String,
        /// Where it belongs, too.
        repo: Repo,
    },
    /// A root is not to be trusted.
    #[error("{} is not a root that devices would trust", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: Cause,
    },
}
