//! The two ports of a client: where trusted files are kept, and where new ones come from.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Keeps the trusted files of one repository, under names without versions: `root.json`,
/// `timestamp.json`, `snapshot.json`, `targets.json`, `<role>.json`.
///
/// A role name may contain any character; a store on a file system encodes names. `save` must be
/// atomic: after a power cut either the old or the new bytes are there, whole. A store that is short
/// of room may refuse or forget targets roles, `targets.json` among them, never the other three.
pub trait Store {
    /// The bytes last saved under `name`; `None` if there are none.
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Replaces the bytes under `name`.
    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Forgets the bytes under `name`. It is not an error if there are none.
    fn remove(&mut self, name: &str) -> Result<(), StoreError>;
}

/// Brings files from a repository. What it brings is not trusted.
pub trait Fetch {
    /// The metadata file `file_name`, such as `7.snapshot.json`; `None` if the repository does not
    /// have it. Must stop with [`FetchError::TooLong`] once there are more than `bytes_max` bytes,
    /// before it makes room for them.
    fn metadata(
        &mut self,
        file_name: &str,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, FetchError>;
}

/// Files that were all delivered at once, such as those of a bundle, found by their name.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<F>(pub F);

impl<'a, F: FnMut(&str) -> Option<&'a [u8]>> Fetch for Delivered<F> {
    fn metadata(
        &mut self,
        file_name: &str,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        match self.0(file_name) {
            Some(bytes) if bytes.len() > bytes_max => Err(FetchError::TooLong),
            found => Ok(found.map(<[u8]>::to_vec)),
        }
    }
}

/// Storage failed; the store itself knows and logs the details.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoreError;

/// A file could not be fetched; the transport itself knows and logs the details.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FetchError {
    /// The repository could not be reached or did not answer in time.
    Failed,
    /// The file is longer than the caller allows.
    TooLong,
}

/// A [`Store`] in memory: for servers that check uploads, for simulated devices and for tests. As a
/// [`Fetch`] it is a repository that serves what was saved, under the names it was saved by.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MemoryStore(BTreeMap<String, Vec<u8>>);

impl MemoryStore {
    /// An empty store.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// All names and bytes, sorted by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }
}

impl Store for MemoryStore {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(name).cloned())
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.insert(name.into(), bytes.into());
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.0.remove(name);
        Ok(())
    }
}

impl Fetch for MemoryStore {
    fn metadata(
        &mut self,
        file_name: &str,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        Delivered(|name: &str| self.0.get(name).map(Vec::as_slice)).metadata(file_name, bytes_max)
    }
}

impl<N: Into<String>, B: Into<Vec<u8>>> FromIterator<(N, B)> for MemoryStore {
    fn from_iter<I: IntoIterator<Item = (N, B)>>(files: I) -> Self {
        Self(files.into_iter().map(|(name, bytes)| (name.into(), bytes.into())).collect())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("storage failed")
    }
}

impl core::error::Error for StoreError {}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "could not be fetched",
            Self::TooLong => "longer than allowed",
        })
    }
}

impl core::error::Error for FetchError {}
