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

use super::roles::RoleFile;
use super::{Error, Publishers, SNAPSHOT_LIFE, STAGED};
use crate::folder::{Folder, RootChain};
use crate::published::{Published, TIMESTAMP};

/// Life left below which snapshot and timestamp are signed anew without being asked.
const RENEW_BELOW: Duration = Duration::from_hours(14 * 24);

/// A file with its version.
pub(super) struct Versioned {
    pub(super) version: u64,
    pub(super) bytes: Vec<u8>,
}

impl Versioned {
    fn snapshot(published: &Published) -> Self {
        Self { version: published.snapshot.version, bytes: published.snapshot_bytes.clone() }
    }

    fn timestamp(published: &Published) -> Self {
        Self { version: published.timestamp.version, bytes: published.timestamp_bytes.clone() }
    }
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
    let published = Published::read(folder, TIMESTAMP)?;
    let version = published.as_ref().map_or(0, |published| published.timestamp.version);
    let staged = Published::read(folder, STAGED)?;
    // What was staged may have reached the server although its answer did not reach us: the same
    // version must not be signed with other content.
    let staged = staged.filter(|staged| staged.timestamp.version > version);
    let kept = staged.iter().chain(published.iter().filter(|_| !refresh));
    if let Some(kept) = kept.into_iter().find(|kept| is_current(kept, roots, &listed, now)) {
        return Ok((Versioned::snapshot(kept), Versioned::timestamp(kept)));
    }
    let publishers = publishers.ok_or(Error::NoPublishers)?;
    let (repo, expires) = (roots.repo.clone(), expiry(now, SNAPSHOT_LIFE));
    let spec_version = SpecVersion::default();
    let version = published.as_ref().map_or(0, |published| published.snapshot.version) + 1;
    let snapshot = Snapshot { expires, meta: listed, repo, spec_version, version };
    let snapshot = sign(&Metadata::Snapshot(snapshot), publishers.snapshot)?;
    let meta = BTreeMap::from([("snapshot.json".to_owned(), meta(&snapshot.bytes, version))]);
    let (repo, spec_version) = (roots.repo.clone(), SpecVersion::default());
    let version = published.map_or(0, |published| published.timestamp.version) + 1;
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
    let sha256 = Sha256::digest(bytes).into();
    MetaFile { hashes: Some(Hashes { sha256 }), length: u64::try_from(bytes.len()).ok(), version }
}

/// Tells whether devices would accept both for a good while, and nothing has changed.
fn is_current(
    published: &Published,
    roots: &RootChain,
    listed: &BTreeMap<String, MetaFile>,
    now: Time,
) -> bool {
    let Published { snapshot, snapshot_bytes, timestamp, timestamp_bytes } = published;
    let root: &Root = &roots.newest;
    let repo = roots.repo.to_string();
    let renew = expiry(now, RENEW_BELOW);
    snapshot.meta == *listed
        && timestamp.meta.get("snapshot.json") == Some(&meta(snapshot_bytes, snapshot.version))
        && snapshot.expires.min(timestamp.expires) >= renew
        && verify::<role::Snapshot>(snapshot_bytes, &root.snapshot, Some(&repo)).is_ok()
        && verify::<role::Timestamp>(timestamp_bytes, &root.timestamp, Some(&repo)).is_ok()
}
