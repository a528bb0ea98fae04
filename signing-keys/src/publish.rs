//! Publishing: from signed working copies to a complete repository, checked as a device checks it.
//!
//! Snapshot and timestamp are signed here, nothing else: they only say which files belong together
//! and which are new. Not here: the network ([`crate::upload`]).

mod latest;
mod roles;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use waxwing_tuf::author::release::{
    METADATA_BYTES_MAX, ROLES_MAX, ReleaseRefusal, check_secure_versions,
};
use waxwing_tuf::author::{Repo, Signer, expiry};
use waxwing_tuf::client::{Limits, Repository};
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_tuf::{Fetch, FetchError, MemoryStore, Refusal as Untrusted, Time};
use waxwing_wire::Digest;
use waxwing_wire::bundle::{self, Kind};

use self::latest::snapshot_and_timestamp;
use self::roles::{RoleFile, images, role_files};
use crate::disk;
use crate::folder::{self, Folder, ROOTS_MAX, RootChain};
use crate::published::TIMESTAMP;

/// Name of the timestamp until everything else is where it belongs.
const STAGED: &str = "next.timestamp.json";

/// Life of snapshots and timestamps: how long a publisher may be away (D11).
pub const SNAPSHOT_LIFE: Duration = Duration::from_hours(30 * 24);

/// Least life a file must have left: servers refuse to import less, as nobody could act in time.
pub const LIFE_LEFT_MIN: Duration = Duration::from_hours(7 * 24);

/// Who signs what publishing writes.
#[derive(Clone, Copy)]
pub struct Publishers<'a> {
    /// Signs snapshots.
    pub snapshot: &'a dyn Signer,
    /// Signs timestamps.
    pub timestamp: &'a dyn Signer,
}

/// A complete repository, verified in memory.
#[derive(Debug)]
pub struct Publication {
    repo: Repo,
    roots: RootChain,
    /// The current files but roots, by the name under which clients ask for them.
    files: BTreeMap<String, Vec<u8>>,
    images: Vec<Image>,
    /// By what devices know their server, if that is listed (D15).
    pins: Option<Pins>,
}

/// The file of pins, which travels with the metadata.
#[derive(Debug)]
struct Pins {
    file: Image,
    pem: Vec<u8>,
}

/// An image that the repository lists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    /// Its target path.
    pub target: String,
    /// Its file.
    pub path: PathBuf,
    /// Its hash.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
}

impl Image {
    /// Tells whether it is a document that goes with a release: the role of documents lists nothing
    /// else, and no other role lists such a path.
    pub fn is_document(&self) -> bool {
        matches!(self.target.rsplit_once('.'), Some((_, "json" | "jsonl")))
    }
}

impl Publication {
    /// Puts the repository together and verifies it, without writing anything. `publishers` may be
    /// missing when nothing has changed; with `refresh` snapshot and timestamp are new in any case.
    ///
    /// # Errors
    ///
    /// [`Error`] names the file that is not ready, and what to do.
    pub fn prepare(
        folder: &Folder,
        publishers: Option<Publishers<'_>>,
        refresh: bool,
        now: Time,
    ) -> Result<Self, Error> {
        let roots = folder.roots()?;
        folder.check_keys(&roots.repo)?;
        let Repo::Image(_) = &roots.repo else { return Err(Error::Director) };
        let (version, at) = (roots.newest.header.version, roots.newest.header.expires);
        if at < expiry(now, LIFE_LEFT_MIN) {
            return Err(Error::RootExpiresSoon { version, at });
        }
        let roles = role_files(folder, now)?;
        let listed = roles.iter().flat_map(|role| role.targets.targets.values());
        check_secure_versions(listed)?;
        let (pins, images): (Vec<_>, Vec<_>) =
            images(folder, &roles)?.into_iter().partition(|file| file.target == SERVER_CA_PATH);
        let pins = pins.into_iter().next().map(Pins::read).transpose()?;
        let (snapshot, timestamp) =
            snapshot_and_timestamp(folder, &roots, &roles, publishers, refresh, now)?;
        let mut files: BTreeMap<_, _> = roles.into_iter().map(RoleFile::named).collect();
        files.insert(format!("{}.snapshot.json", snapshot.version), snapshot.bytes);
        files.insert(TIMESTAMP.to_owned(), timestamp.bytes);
        let publication = Self { repo: roots.repo.clone(), roots, files, images, pins };
        let mut fetch = MemoryStore::from_iter(publication.frames());
        publication.verify(&mut fetch, now)?;
        Ok(publication)
    }

    /// Writes everything but the timestamp's name, and has a device's client walk through what is
    /// on the disk. Clients of the folder see it as it was until [`Publication::commit`].
    ///
    /// # Errors
    ///
    /// [`Error`] when the disk fails; calling it again is safe.
    pub fn stage(&self, folder: &Folder, now: Time) -> Result<(), Error> {
        for (name, bytes) in &self.files {
            let name = if name == TIMESTAMP { STAGED } else { name };
            if folder.read(name)?.as_ref() != Some(bytes) {
                disk::replace(&folder.path(name), bytes, |_| Ok::<_, disk::Error>(()))?;
            }
        }
        self.verify(&mut Staged { folder, publication: self }, now)
    }

    /// Gives the staged timestamp its name, with which all of it is published.
    ///
    /// # Errors
    ///
    /// [`Error`] when the disk fails; calling it again is safe after [`Publication::stage`].
    pub fn commit(&self, folder: &Folder) -> Result<(), Error> {
        Ok(disk::rename(&folder.path(STAGED), &folder.path(TIMESTAMP))?)
    }

    /// Returns everything but images in one piece, pins included, for `POST /api/v1/products/{p}/metadata`.
    ///
    /// # Errors
    ///
    /// [`Error::Bundle`] when the chain of roots has grown out of all proportion.
    pub fn bundle(&self) -> Result<Vec<u8>, Error> {
        let mut writer = bundle::Writer::new();
        for (name, bytes) in self.frames() {
            writer.push(Kind::Image, &name, &bytes).map_err(Error::Bundle)?;
        }
        Ok(writer.finish(0))
    }

    /// Returns the images that the repository lists.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Returns the repository.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Returns the names of the current files, roots excepted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// In the order in which clients ask: roots first.
    fn frames(&self) -> Vec<(String, Vec<u8>)> {
        let roots = (1..).zip(&self.roots.files);
        let roots = roots.map(|(version, bytes): (u64, _)| (format!("{version}.root.json"), bytes));
        let files = self.files.iter().map(|(name, bytes)| (name.clone(), bytes));
        let pins = self.pins.iter().map(|pins| (SERVER_CA_PATH.to_owned(), &pins.pem));
        roots.chain(files).chain(pins).map(|(name, bytes)| (name, bytes.clone())).collect()
    }

    /// Walks through the repository as a device that knows only its first root, with the limits
    /// of a device, and finds every image.
    fn verify(&self, fetch: &mut impl Fetch, now: Time) -> Result<(), Error> {
        let first = self.roots.files.first().map(Vec::as_slice).unwrap_or_default();
        let roots_max = usize::try_from(ROOTS_MAX).unwrap_or(usize::MAX);
        let limits = Limits { roots_max, roles_max: ROLES_MAX, ..Limits::DEVICE_IMAGE };
        let repo = self.repo.to_string();
        let mut client = Repository::open(MemoryStore::new(), first, Some(&repo), limits)?;
        client.refresh(fetch, now)?;
        for role in client.all_targets(fetch, now)? {
            if let Some(path) = role.outside.into_iter().next() {
                return Err(Error::Outside { role: role.role, path });
            }
        }
        for image in self.images.iter().chain(self.pins.iter().map(|pins| &pins.file)) {
            let found = client.target(&image.target, fetch, now)?;
            if found.length != image.length || found.hashes.sha256 != Some(image.sha256.0) {
                return Err(Error::Shadowed(image.target.clone()));
            }
        }
        Ok(())
    }
}

impl Pins {
    fn read(file: Image) -> Result<Self, Error> {
        let pem = disk::read(&file.path)?;
        Ok(Self { file, pem })
    }
}

/// The repository as it will be once the timestamp has its name. A root whose ceremony is not over
/// lies in the folder, too, but is not part of it.
struct Staged<'a> {
    folder: &'a Folder,
    publication: &'a Publication,
}

impl Fetch for Staged<'_> {
    fn metadata(&mut self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, FetchError> {
        if !self.publication.frames().iter().any(|(part, _)| part == name) {
            return Ok(None);
        }
        let name = if name == TIMESTAMP { STAGED } else { name };
        match self.folder.read(name).map_err(|_| FetchError::Failed)? {
            Some(bytes) if bytes.len() > bytes_max => Err(FetchError::TooLong),
            bytes => Ok(bytes),
        }
    }
}

/// The repository is not ready to be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be signed or written as metadata.
    #[error(transparent)]
    Author(#[from] waxwing_tuf::author::Error),
    /// Longer than devices read.
    #[error(
        "role {role} takes {bytes} bytes, at most {METADATA_BYTES_MAX} are allowed; take old releases off it"
    )]
    Budget {
        /// The role.
        role: String,
        /// Its length.
        bytes: usize,
    },
    /// More than a server takes at once.
    #[error("the metadata does not fit into one bundle")]
    Bundle(#[source] bundle::TooLarge),
    /// The server signs the rest of it.
    #[error(
        "a Director repository is not published; give its root to the server with `PUT /api/v1/director/root`"
    )]
    Director,
    /// A file could not be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// What was published must never change.
    #[error(
        "{} was changed after its version was published; make changes with `waxwing-keys`",
        .0.display()
    )]
    EditedAfterPublishing(PathBuf),
    /// There would be no time to act.
    #[error(
        "{} expires at {at}, in less than 7 days; `waxwing-keys renew {role}` and have it signed",
        path.display()
    )]
    ExpiresSoon {
        /// The file.
        path: PathBuf,
        /// The role.
        role: String,
        /// When.
        at: Time,
    },
    /// The folder is not in order.
    #[error(transparent)]
    Folder(#[from] folder::Error),
    /// The image is not the one that was listed.
    #[error("{} is not the image that its name says; add it again", .0.display())]
    ImageChanged(PathBuf),
    /// Snapshot and timestamp must be signed anew.
    #[error("there is something new to publish; name --snapshot-key and --timestamp-key")]
    NoPublishers,
    /// A role has no file.
    #[error("{} is missing or lists no targets; make it with `waxwing-keys delegate`", .0.display())]
    NoRole(PathBuf),
    /// No device would find it.
    #[error("role {role} lists {path}, which is not delegated to it")]
    Outside {
        /// The role.
        role: String,
        /// The path.
        path: String,
    },
    /// Devices refuse to go back.
    #[error("{} is older than version {newest}, which was published", path.display())]
    OlderThanPublished {
        /// The file.
        path: PathBuf,
        /// What was published.
        newest: u64,
    },
    /// The list breaks a rule.
    #[error(transparent)]
    Releases(#[from] ReleaseRefusal),
    /// There would be no time to hold another ceremony.
    #[error(
        "{version}.root.json expires at {at}, in less than 7 days; make the next one with \
         `waxwing-keys root rotate` and have it signed by both quorums"
    )]
    RootExpiresSoon {
        /// Version of the root.
        version: u64,
        /// When.
        at: Time,
    },
    /// Another role has a word on the same path.
    #[error("devices would find another file under {0}: two roles list it")]
    Shadowed(String),
    /// The path leads somewhere else.
    #[error("`{0}` is no target path")]
    TargetPath(String),
    /// A device would not accept it.
    #[error(
        "a device would refuse this repository, so nothing was published; have the file signed by enough keys"
    )]
    Untrusted(#[from] Untrusted),
}
