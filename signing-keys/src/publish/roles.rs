//! The role files and images of a publication: read, and held against what was published before.
//!
//! Not here: signatures. The verifier looks at them once the publication is complete.

use waxwing_tuf::author::release::{self, METADATA_BYTES_MAX};
use waxwing_tuf::author::{MetaFile, Metadata, Target, Targets, expiry};
use waxwing_tuf::{ContentCheck, Time};
use waxwing_wire::Digest;

use super::latest::meta;
use super::{Error, Image, LIFE_LEFT_MIN};
use crate::disk;
use crate::folder::{self, Folder};
use crate::published::Published;

/// A role file on its way into the snapshot.
pub(super) struct RoleFile {
    pub(super) role: String,
    pub(super) bytes: Vec<u8>,
    pub(super) targets: Targets,
}

impl RoleFile {
    /// Reads the working copy of a role, or what was published of the same version.
    fn read(folder: &Folder, role: &str, now: Time) -> Result<Self, Error> {
        let name = format!("{role}.json");
        let path = folder.path(&name);
        let bytes = folder.read(&name)?.ok_or_else(|| Error::NoRole(path.clone()))?;
        let Metadata::Targets(targets) = folder::parse(&path, &bytes)? else {
            return Err(Error::NoRole(path));
        };
        if targets.expires < expiry(now, LIFE_LEFT_MIN) {
            return Err(Error::ExpiresSoon { path, role: role.to_owned(), at: targets.expires });
        }
        match release::channel_of_docs(role) {
            None => release::check(&targets)?,
            Some(_) => release::check_documents(&targets)?,
        }
        let newest = Published::version(folder, role)?.unwrap_or(0);
        if targets.version < newest {
            return Err(Error::OlderThanPublished { path, newest });
        }
        if targets.version > newest {
            return Ok(Self { role: role.to_owned(), bytes, targets });
        }
        let published = format!("{newest}.{role}.json");
        let bytes = folder.read(&published)?.unwrap_or_default();
        // Another signature may have come in late; what is signed must not have changed.
        if folder::parse(&folder.path(&published), &bytes)? != Metadata::Targets(targets.clone()) {
            return Err(Error::EditedAfterPublishing(path));
        }
        Ok(Self { role: role.to_owned(), bytes, targets })
    }

    pub(super) fn named(self) -> (String, Vec<u8>) {
        (format!("{}.{}.json", self.targets.version, self.role), self.bytes)
    }

    pub(super) fn meta(&self) -> MetaFile {
        meta(&self.bytes, self.targets.version)
    }
}

/// Reads `targets` and every role it delegates.
pub(super) fn role_files(folder: &Folder, now: Time) -> Result<Vec<RoleFile>, Error> {
    let top = RoleFile::read(folder, "targets", now)?;
    let delegations = top.targets.delegations.iter().flat_map(|listed| &listed.roles);
    let names: Vec<_> = delegations.map(|role| role.name.clone()).collect();
    let roles = names.iter().map(|name| RoleFile::read(folder, name, now));
    let roles: Vec<_> = [Ok(top)].into_iter().chain(roles).collect::<Result<_, _>>()?;
    for role in &roles {
        if role.bytes.len() > METADATA_BYTES_MAX {
            return Err(Error::Budget { role: role.role.clone(), bytes: role.bytes.len() });
        }
    }
    Ok(roles)
}

/// Finds the images and checks that they are what the metadata says.
pub(super) fn images(folder: &Folder, roles: &[RoleFile]) -> Result<Vec<Image>, Error> {
    let targets = roles.iter().flat_map(|role| &role.targets.targets);
    let image = |(path, target): (&String, &Target)| {
        // A list may come from anywhere; what it names must not lead out of our folder.
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::TargetPath(path.clone()));
        }
        let file = folder.image(path, Digest(target.hashes.sha256));
        let bytes = std::fs::read(&file).map_err(|cause| disk::Error::io("read", &file, cause))?;
        let mut content = ContentCheck::sha256(target.length, target.hashes.sha256);
        if content.update(&bytes).and_then(|()| content.finish()).is_err() {
            return Err(Error::ImageChanged(file));
        }
        let sha256 = Digest(target.hashes.sha256);
        Ok(Image { target: path.clone(), path: file, sha256, length: target.length })
    };
    targets.map(image).collect()
}
