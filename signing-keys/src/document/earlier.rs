//! Earlier versions of a file: what its changes are measured against.
//!
//! Whoever carries the files can rewrite those that nobody is asked to sign, and so hide a change.
//! Hence [`Document::signed_before`]: a signer is shown the difference to what their own key has
//! signed, and else all that the file says. Not here: how it is shown.

use std::path::Path;

use waxwing_tuf::author::Metadata;
use waxwing_tuf::key::PublicKey;
use waxwing_tuf::role::Signers;

use super::{Document, Error, verify_as};
use crate::disk;
use crate::folder::{self, Folder};

/// How far back an earlier version is looked for: a role file of a week each for longer than a year.
const VERSIONS_BACK_MAX: u64 = 64;

/// An earlier version of a file, not judged.
#[derive(Clone, Debug)]
pub struct Earlier {
    pub(super) bytes: Vec<u8>,
    pub(super) metadata: Metadata,
}

impl Earlier {
    /// Returns which version it says it is.
    pub fn version(&self) -> u64 {
        self.metadata.version()
    }

    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = disk::read(path)?;
        let metadata = folder::parse(path, &bytes)?;
        Ok(Self { bytes, metadata })
    }

    /// Returns the newest version before `version` that lies in the folder.
    pub(super) fn newest(folder: &Folder, role: &str, version: u64) -> Result<Option<Self>, Error> {
        versions(folder, role, version).next().transpose()
    }

    /// Tells whether it is an earlier version of this file, and `key` has signed it: by the verifier
    /// of the devices, who know it by its type and repository.
    fn is_signed(&self, document: &Document, key: &PublicKey) -> bool {
        let signer = Signers::new(1, vec![(key.key_id(), key.clone())]);
        self.version() < document.metadata.version()
            && verify_as(&document.metadata, &self.bytes, &signer).is_ok()
    }
}

impl Document {
    /// Returns the newest of the earlier versions here that `key` has signed.
    ///
    /// # Errors
    ///
    /// [`Error`] when one that lies here cannot be read.
    pub fn signed_before(&self, key: &PublicKey) -> Result<Option<Earlier>, Error> {
        let folder = Folder::around(&self.path);
        let mut newest = self.previous.clone().filter(|named| named.is_signed(self, key));
        for earlier in versions(&folder, &self.role, self.metadata.version()) {
            let earlier = earlier?;
            if newest.as_ref().is_some_and(|newest| newest.version() >= earlier.version()) {
                break;
            }
            if earlier.is_signed(self, key) {
                newest = Some(earlier);
            }
        }
        Ok(newest)
    }
}

/// The versions before `version` that lie in the folder, the newest first.
fn versions(
    folder: &Folder,
    role: &str,
    version: u64,
) -> impl Iterator<Item = Result<Earlier, Error>> {
    let oldest = version.saturating_sub(VERSIONS_BACK_MAX).max(1);
    let paths = (oldest..version).rev().map(move |it| folder.path(&format!("{it}.{role}.json")));
    paths.filter(|path| path.exists()).map(|path| Earlier::read(&path))
}
