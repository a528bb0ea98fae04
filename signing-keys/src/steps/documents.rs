//! Steps that concern the documents of releases: SBOMs and provenance.

use std::path::{Path, PathBuf};
use std::time::Duration;

use semver::Version;
use sha2::{Digest as _, Sha256};
use waxwing_documents::{Document, Format};
use waxwing_tuf::Time;
use waxwing_tuf::author::release::{check_documents, docs_role};
use waxwing_tuf::author::{Hashes, Metadata, Repo, Target, Targets};
use waxwing_wire::{Channel, Digest, ProductId};

use super::{
    Error, empty_targets, next_version, store_image, working_copy, write_role, write_unsigned,
};
use crate::ceremony::{Delegation, DocumentsDelegation};
use crate::disk;
use crate::folder::Folder;

/// Writes the `targets.json` that delegates the documents of a channel, unsigned, and a role file for
/// them.
///
/// # Errors
///
/// [`Error`] when the repository is another product's, the channel is not delegated, or the keys may
/// not be used.
pub fn delegate_documents(
    folder: &Folder,
    delegation: &DocumentsDelegation,
    role_life: Duration,
    now: Time,
) -> Result<Vec<PathBuf>, Error> {
    let repo = folder.roots()?.repo;
    if repo != Repo::Image(delegation.product.to_string()) {
        return Err(Error::OtherRepo(repo));
    }
    let foreign = folder.foreign_keys(&repo)?;
    let channel = Delegation::role(&delegation.product, &delegation.channel);
    let old =
        working_copy(folder, "targets")?.ok_or_else(|| Error::Undelegated(channel.clone()))?;
    let targets = delegation.build(old, next_version(folder, "targets")?, &foreign)?;
    let path = folder.path("targets.json");
    write_unsigned(&path, &Metadata::Targets(targets))?;
    let role = docs_role(&channel);
    let list = working_copy(folder, &role)?.unwrap_or_else(|| empty_targets(repo, now));
    Ok(vec![path, write_role(folder, &role, list, role_life, now)?])
}

/// A release, as far as its documents go.
#[derive(Clone, Debug)]
pub struct Attachment<'a> {
    /// The product the repository belongs to.
    pub product: &'a ProductId,
    /// The channel.
    pub channel: &'a Channel,
    /// The release.
    pub version: &'a Version,
    /// Its documents; each replaces one of the same format.
    pub files: &'a [PathBuf],
}

/// Attaches documents to a listed release: reads them, writes the role file, unsigned, and copies
/// them to where `publish` looks for them.
///
/// # Errors
///
/// [`Error`] when a file is no document, provenance vouches for another image, or the release is
/// not listed.
pub fn release_attach(
    folder: &Folder,
    attachment: &Attachment<'_>,
    role_life: Duration,
    now: Time,
) -> Result<(PathBuf, Vec<Format>), Error> {
    let Attachment { product, channel, version, files } = attachment;
    let channel_role = Delegation::role(product, channel);
    let role = docs_role(&channel_role);
    let releases = working_copy(folder, &channel_role)?;
    let prefix = format!("{product}/{channel}/{version}/");
    let image = releases.as_ref().and_then(|releases| image_of(releases, &prefix));
    let image = image.ok_or_else(|| Error::NoRelease { prefix: prefix.clone() })?;
    let mut list = working_copy(folder, &role)?.ok_or_else(|| Error::Undelegated(role.clone()))?;
    let mut formats = Vec::new();
    for file in *files {
        let (format, target) = describe(file, image)?;
        let path = format!("{prefix}{}", format.file_name());
        store_image(folder, file, &path, Digest(target.hashes.sha256))?;
        list.targets.insert(path, target);
        formats.push(format);
    }
    check_documents(&list).map_err(|refusal| Error::Release(refusal.into()))?;
    Ok((write_role(folder, &role, list, role_life, now)?, formats))
}

fn image_of(releases: &Targets, prefix: &str) -> Option<[u8; 32]> {
    let mut targets = releases.targets.iter();
    let found = targets.find(|(path, target)| path.starts_with(prefix) && target.custom.is_some());
    found.map(|(_, target)| target.hashes.sha256)
}

/// Reads a document and says what metadata says of it.
fn describe(file: &Path, image: [u8; 32]) -> Result<(Format, Target), Error> {
    let bytes = std::fs::read(file).map_err(|cause| disk::Error::io("read", file, cause))?;
    let path = || file.to_owned();
    let document =
        Document::parse(&bytes).map_err(|cause| Error::Document { path: path(), cause })?;
    if document.format == Format::Provenance && !document.subjects.contains(&Digest(image)) {
        return Err(Error::OtherImage(path()));
    }
    let hashes = Hashes { sha256: Sha256::digest(&bytes).into() };
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok((document.format, Target { custom: None, hashes, length }))
}
