//! Snapshot and timestamp: which files belong together, and which are new.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use waxwing_tuf::Time;
use waxwing_tuf::author::{
    Hashes, MetaFile, Metadata, SignedFile, Signer, Snapshot, SpecVersion, Timestamp, expiry,
};
use waxwing_tuf::role::{self, Root};
use waxwing_tuf::verify::verify;
use waxwing_wire::Digest;

use super::roles::RoleFile;
use super::{Error, Publishers, SNAPSHOT_LIFE, TIMESTAMP};
use crate::folder::{self, Folder, RootChain};

/// Life left below which snapshot and timestamp are signed anew without being asked.
const RENEW_BELOW: Duration = Duration::from_hours(14 * 24);

/// A file with its version.
pub(super) struct Versioned {
    pub(super) version: u64,
    pub(super) bytes: Vec<u8>,
}

/// Returns snapshot and timestamp of these roles: those that were published, while nothing has
/// changed and they are good for a while, else new ones.
pub(super) fn snapshot_and_timestamp(
    folder: &Folder,
    roots: &RootChain,
    roles: &[RoleFile],
    publishers: Option<Publishers<'_>>,
    refresh: bool,
    now: Time,
) -> Result<(Versioned, Versioned), Error> {
    let listed = roles.iter().map(|role| (format!("{}.json", role.role), role.meta())).collect();
    let old = Published::read(folder)?;
    if !refresh && old.is_current(roots, &listed, now) {
        return old.files().ok_or(Error::NoPublishers);
    }
    let publishers = publishers.ok_or(Error::NoPublishers)?;
    let (repo, expires) = (roots.repo.clone(), expiry(now, SNAPSHOT_LIFE));
    let spec_version = SpecVersion::default();
    let version = folder.newest("snapshot")?.unwrap_or(0) + 1;
    let snapshot = Snapshot { expires, meta: listed, repo, spec_version, version };
    let snapshot = sign(&Metadata::Snapshot(snapshot), publishers.snapshot)?;
    let meta = BTreeMap::from([("snapshot.json".to_owned(), meta(&snapshot.bytes, version))]);
    let (repo, spec_version) = (roots.repo.clone(), SpecVersion::default());
    let version = old.timestamp_version() + 1;
    let timestamp = Timestamp { custom: None, expires, meta, repo, spec_version, version };
    let timestamp = sign(&Metadata::Timestamp(timestamp), publishers.timestamp)?;
    Ok((snapshot, timestamp))
}

fn sign(metadata: &Metadata, signer: &dyn Signer) -> Result<Versioned, Error> {
    let mut file = SignedFile::unsigned(metadata)?;
    file.sign(signer)?;
    Ok(Versioned { version: metadata.version(), bytes: file.to_bytes()? })
}

/// Describes a file as timestamp and snapshot do.
pub(super) fn meta(bytes: &[u8], version: u64) -> MetaFile {
    let sha256 = Digest(Sha256::digest(bytes).into());
    MetaFile { hashes: Some(Hashes { sha256 }), length: u64::try_from(bytes.len()).ok(), version }
}

/// Snapshot and timestamp as they were published last.
struct Published {
    snapshot: Option<(Vec<u8>, Snapshot)>,
    timestamp: Option<(Vec<u8>, Timestamp)>,
}

impl Published {
    fn read(folder: &Folder) -> Result<Self, Error> {
        let mut published = Self { snapshot: None, timestamp: None };
        let snapshot = folder.newest("snapshot")?.map(|newest| format!("{newest}.snapshot.json"));
        for name in snapshot.into_iter().chain([TIMESTAMP.to_owned()]) {
            let Some(bytes) = folder.read(&name)? else { continue };
            match folder::parse(&folder.path(&name), &bytes)? {
                Metadata::Snapshot(part) => published.snapshot = Some((bytes, part)),
                Metadata::Timestamp(part) => published.timestamp = Some((bytes, part)),
                Metadata::Root(_) | Metadata::Targets(_) => {}
            }
        }
        Ok(published)
    }

    /// Tells whether devices would accept both for a good while, and nothing has changed.
    fn is_current(
        &self,
        roots: &RootChain,
        listed: &BTreeMap<String, MetaFile>,
        now: Time,
    ) -> bool {
        let (Some((snapshot, part)), Some((timestamp, last))) = (&self.snapshot, &self.timestamp)
        else {
            return false;
        };
        let root: &Root = &roots.newest;
        let repo = roots.repo.to_string();
        let renew = expiry(now, RENEW_BELOW);
        part.meta == *listed
            && last.meta.get("snapshot.json") == Some(&meta(snapshot, part.version))
            && part.expires.min(last.expires) >= renew
            && verify::<role::Snapshot>(snapshot, &root.snapshot, Some(&repo)).is_ok()
            && verify::<role::Timestamp>(timestamp, &root.timestamp, Some(&repo)).is_ok()
    }

    fn timestamp_version(&self) -> u64 {
        self.timestamp.as_ref().map_or(0, |(_, part)| part.version)
    }

    fn files(self) -> Option<(Versioned, Versioned)> {
        let ((snapshot, part), (timestamp, last)) = (self.snapshot?, self.timestamp?);
        let snapshot = Versioned { version: part.version, bytes: snapshot };
        Some((snapshot, Versioned { version: last.version, bytes: timestamp }))
    }
}
