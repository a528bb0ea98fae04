//! The steps of a ceremony on disk, as the command line and tests take them.
//!
//! Each step reads what it needs, decides in [`crate::ceremony`] or [`crate::release`], and writes
//! one file whole or not at all, after the verifier that devices run has read it back. Signing is
//! [`crate::document`], publishing [`crate::publish`].

pub mod documents;

use std::path::{Path, PathBuf};
use std::time::Duration;

use waxwing_tuf::author::{
    Ed25519Signer, Metadata, Repo, Root, SEED_BYTES, SignedFile, Signer as _, Target, Targets,
    expiry, release::check_secure_versions,
};
use waxwing_tuf::role::Signers;
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_tuf::{Cause, Time};
use waxwing_wire::{Digest, ProductId};

use crate::ceremony::{Delegation, FirstRoot, ForeignKeys, RootChange, empty_targets};
use crate::definition::Definition;
use crate::document::verify_as;
use crate::folder::{Folder, foreign_keys_of};
use crate::published::Published;
use crate::{ceremony, disk, folder, pins, release};

/// Writes the first root of a repository, unsigned. `also` names roots of other repositories
/// whose keys must not be used, besides those in the same ceremony folder (D1).
///
/// # Errors
///
/// [`Error`] when the file exists or the root may not be like this.
pub fn root_init(out: &Path, root: FirstRoot, also: &[PathBuf]) -> Result<(), Error> {
    let foreign = foreign_keys(out, &root.repo, also)?;
    write_new_root(out, root.build(&foreign)?)
}

/// Writes the root that follows `from`, unsigned. It needs the quorum of both.
///
/// # Errors
///
/// [`Error`] when the file exists, `from` is no root, or the next one may not be like this.
pub fn root_rotate(
    from: &Path,
    out: &Path,
    change: &RootChange,
    also: &[PathBuf],
) -> Result<(), Error> {
    let Metadata::Root(old) = folder::parse(from, &disk::read(from)?)? else {
        return Err(Error::NotRoot(from.to_owned()));
    };
    let foreign = foreign_keys(out, &old.repo, also)?;
    write_new_root(out, change.build(&old, &foreign)?)
}

/// Writes the `targets.json` that delegates a channel, unsigned, and a role file for the channel.
/// When the keys of a channel change, its role file must be signed anew, too.
///
/// # Errors
///
/// [`Error`] when the repository is another product's or the keys may not be used.
pub fn delegate(
    folder: &Folder,
    delegation: &Delegation,
    role_life: Duration,
    now: Time,
) -> Result<Vec<PathBuf>, Error> {
    let repo = folder.roots()?.repo;
    if repo != Repo::Image(delegation.product.to_string()) {
        return Err(Error::OtherRepo(repo));
    }
    let foreign = folder.foreign_keys(&repo)?;
    let old = working_copy(folder, "targets")?;
    let version = next_version(folder, "targets")?;
    let targets = delegation.build(old, version, &foreign)?;
    let path = folder.path("targets.json");
    write_unsigned(&path, &Metadata::Targets(targets))?;
    let role = Delegation::role(&delegation.product, &delegation.channel);
    let list = working_copy(folder, &role)?;
    let list = list.unwrap_or_else(|| empty_targets(repo, now));
    Ok(vec![path, write_role(folder, &role, list, role_life, now)?])
}

/// Adds a release to its channel: reads the image, writes the role file, unsigned, and copies the
/// image to where `publish` and TUF clients look for it.
///
/// # Errors
///
/// [`Error`] when the image is not what the definition says or the channel is not delegated.
pub fn release_add(
    folder: &Folder,
    definition: &Definition,
    image: &Path,
    role_life: Duration,
    now: Time,
) -> Result<PathBuf, Error> {
    let Definition { product, release } = definition;
    let role = Delegation::role(&product.id, &release.channel);
    let list = listed(folder, &role)?;
    let bytes = std::fs::read(image).map_err(|cause| disk::Error::io("read", image, cause))?;
    let list = release::add(list, definition, &bytes)?;
    check_other_channels(folder, &role, &list)?;
    if let Some(target) = list.targets.get(&definition.target()) {
        store_image(folder, image, &definition.target(), Digest(target.hashes.sha256))?;
    }
    write_role(folder, &role, list, role_life, now)
}

/// Takes releases off the list of a channel, which revokes them.
///
/// # Errors
///
/// [`Error`] when one is not on it.
pub fn release_remove(
    folder: &Folder,
    role: &str,
    paths: &[String],
    role_life: Duration,
    now: Time,
) -> Result<PathBuf, Error> {
    let list = listed(folder, role)?;
    write_role(folder, role, release::remove(list, paths)?, role_life, now)
}

/// Changes how many of a thousand devices may install releases at most (D10), in the role file,
/// unsigned.
///
/// # Errors
///
/// [`Error`] when one is not on the list, or the share is none.
pub fn release_limit(
    folder: &Folder,
    role: &str,
    (paths, permille): (&[String], Option<u16>),
    role_life: Duration,
    now: Time,
) -> Result<PathBuf, Error> {
    let list = listed(folder, role)?;
    write_role(folder, role, release::limit(list, paths, permille)?, role_life, now)
}

/// Writes a role file that says the same for longer, unsigned.
///
/// # Errors
///
/// [`Error`] when there is no such role.
pub fn renew(folder: &Folder, role: &str, life: Duration, now: Time) -> Result<PathBuf, Error> {
    write_role(folder, role, listed(folder, role)?, life, now)
}

/// What became of new pins.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// The `targets.json` that lists them, unsigned.
    pub path: PathBuf,
    /// The CAs, as people call them.
    pub names: Vec<String>,
}

/// Lists the CA certificates in a file as those by which devices know their server (D15), in
/// `targets.json`, unsigned, and copies the file to where `publish` and TUF clients look for it.
///
/// # Errors
///
/// [`Error`] when the file holds anything else or nothing is delegated yet.
pub fn trust_server_ca(
    folder: &Folder,
    file: &Path,
    life: Duration,
    now: Time,
) -> Result<Trusted, Error> {
    let role = "targets";
    let targets = listed(folder, role)?;
    let pem = std::fs::read(file).map_err(|cause| disk::Error::io("read", file, cause))?;
    let (targets, names) = pins::list(targets, &pem)?;
    if let Some(target) = targets.targets.get(SERVER_CA_PATH) {
        store_image(folder, file, SERVER_CA_PATH, Digest(target.hashes.sha256))?;
    }
    Ok(Trusted { path: write_role(folder, role, targets, life, now)?, names })
}

fn foreign_keys(out: &Path, repo: &Repo, also: &[PathBuf]) -> Result<ForeignKeys, Error> {
    disk::create_folder(out)?;
    let mut foreign = Folder::around(out).foreign_keys(repo)?;
    for path in also {
        foreign.extend(foreign_keys_of(path, repo)?);
    }
    Ok(foreign)
}

fn write_new_root(out: &Path, root: Root) -> Result<(), Error> {
    let name = format!("{}.root.json", root.version);
    if out.file_name().is_none_or(|file| *file != *name) {
        return Err(Error::RootName { path: out.to_owned(), name });
    }
    if out.exists() {
        return Err(Error::Exists(out.to_owned()));
    }
    write_unsigned(out, &Metadata::Root(root))
}

fn write_role(
    folder: &Folder,
    role: &str,
    list: Targets,
    life: Duration,
    now: Time,
) -> Result<PathBuf, Error> {
    let path = folder.path(&format!("{role}.json"));
    let (version, expires) = (next_version(folder, role)?, expiry(now, life));
    write_unsigned(&path, &Metadata::Targets(Targets { version, expires, ..list }))?;
    Ok(path)
}

fn working_copy(folder: &Folder, role: &str) -> Result<Option<Targets>, Error> {
    match folder.metadata(&format!("{role}.json"))? {
        Some(Metadata::Targets(targets)) => Ok(Some(targets)),
        Some(Metadata::Root(_) | Metadata::Snapshot(_) | Metadata::Timestamp(_)) | None => Ok(None),
    }
}

fn listed(folder: &Folder, role: &str) -> Result<Targets, Error> {
    working_copy(folder, role)?.ok_or_else(|| Error::Undelegated(role.to_owned()))
}

/// A working copy may be edited until it is published; then it becomes the next version.
fn next_version(folder: &Folder, role: &str) -> Result<u64, Error> {
    Ok(Published::version(folder, role)?.unwrap_or(0) + 1)
}

fn check_other_channels(folder: &Folder, role: &str, list: &Targets) -> Result<(), Error> {
    let mut all: Vec<Target> = list.targets.values().cloned().collect();
    let top = working_copy(folder, "targets")?;
    let delegations = top.and_then(|top| top.delegations).unwrap_or_default();
    for other in delegations.roles.iter().filter(|other| other.name != role) {
        let other = working_copy(folder, &other.name)?;
        all.extend(other.into_iter().flat_map(|other| other.targets.into_values()));
    }
    check_secure_versions(&all).map_err(|refusal| Error::Release(refusal.into()))
}

fn store_image(folder: &Folder, from: &Path, target: &str, sha256: Digest) -> Result<(), Error> {
    let to = folder.image(target, sha256);
    if to.exists() { Ok(()) } else { disk::copy(from, &to).map_err(Error::Disk) }
}

/// Writes a file that nobody has signed yet. A copy of it, signed by a key made for the rehearsal,
/// goes through the verifier first: nobody shall sign what devices could not read.
fn write_unsigned(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    disk::create_folder(path)?;
    let bytes = SignedFile::unsigned(metadata)?.to_bytes()?;
    disk::replace(path, &bytes, |written| rehearse(path, written, metadata))
}

fn rehearse(path: &Path, written: &[u8], metadata: &Metadata) -> Result<(), Error> {
    let signer = Ed25519Signer::from_seed(&[1; SEED_BYTES])?;
    let mut file = SignedFile::parse(written)?;
    file.sign(&signer)?;
    let bytes = file.to_bytes()?;
    let signers = Signers::new(1, vec![(signer.key_id().to_owned(), signer.public().clone())]);
    let verified = verify_as(metadata, &bytes, &signers);
    verified.map_err(|cause| Error::Unreadable { path: path.to_owned(), cause })
}

/// A step could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be written as metadata.
    #[error(transparent)]
    Author(#[from] waxwing_tuf::author::Error),
    /// The ceremony may not go on like this.
    #[error(transparent)]
    Ceremony(#[from] ceremony::Refusal),
    /// A file is no document that can be attached.
    #[error("{} cannot be attached", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: waxwing_documents::Malformed,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A root is made once.
    #[error("{} exists already; remove it yourself if it was never used", .0.display())]
    Exists(PathBuf),
    /// The folder is not in order.
    #[error(transparent)]
    Folder(#[from] folder::Error),
    /// There is no release to attach anything to.
    #[error("no release is listed under {prefix}")]
    NoRelease {
        /// The folder of the release.
        prefix: String,
    },
    /// Something else than a root.
    #[error("{} is no root file", .0.display())]
    NotRoot(PathBuf),
    /// Provenance of something else.
    #[error("{} does not vouch for the image of this release", .0.display())]
    OtherImage(PathBuf),
    /// The folder belongs to another repository.
    #[error("the folder belongs to repository {0}")]
    OtherRepo(Repo),
    /// The pins may not be listed.
    #[error(transparent)]
    Pins(#[from] pins::Refusal),
    /// The release may not be listed.
    #[error(transparent)]
    Release(#[from] release::Refusal),
    /// A role is named after its product and channel.
    #[error("role `{role}` must be called {product}-<channel>")]
    RoleName {
        /// The name given.
        role: String,
        /// The product of the repository.
        product: ProductId,
    },
    /// Clients find roots by their names.
    #[error("this root must be called {name}, not {}", path.display())]
    RootName {
        /// The name given.
        path: PathBuf,
        /// The right one.
        name: String,
    },
    /// Nobody delegated this role.
    #[error("the repository has no role `{0}`; make it with `waxwing-keys delegate`")]
    Undelegated(String),
    /// The file would be useless.
    #[error("devices could not read {}, so it was not written", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: Cause,
    },
}
