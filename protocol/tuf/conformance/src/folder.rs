//! Trusted metadata in a folder, byte for byte as it was served.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use waxwing_tuf::{Store, StoreError};

use crate::http::encode;

/// A folder of files without versions in their names.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// A role may be called `../x`: whatever could leave the folder is encoded.
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(encode(name))
    }
}

impl Store for Folder {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(logged(&error)),
        }
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let write = || {
            let mut part = NamedTempFile::new_in(&self.0)?;
            part.write_all(bytes)?;
            part.persist(self.path(name)).map_err(|error| error.error)
        };
        write().map(drop).map_err(|error| logged(&error))
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(logged(&error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn logged(error: &io::Error) -> StoreError {
    eprintln!("tuf-client: metadata folder: {error}");
    StoreError
}
