//! Where a command works, and which files are not afterwards what they were before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use waxwing_wire::Digest;

use super::Change;
use crate::disk;
use crate::folder::Folder;

/// Most files looked at in one folder: more metadata than that no device would fetch.
const FILES_MAX: usize = 8192;

/// A ceremony folder, the files in it that a command may change, and their hashes.
#[derive(Clone, Debug)]
pub struct Scene {
    ceremony: PathBuf,
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    before: BTreeMap<PathBuf, Digest>,
}

impl Scene {
    /// A command that works on a repository: all its metadata and its copies of public keys.
    ///
    /// # Errors
    ///
    /// [`disk::Error`] when a file there cannot be read.
    pub fn of_repository(folder: &Folder) -> Result<Self, disk::Error> {
        let (ceremony, folders) = match folder.ceremony() {
            Some(ceremony) => (ceremony, vec![folder.path(""), folder.path("../keys")]),
            None => (folder.path(""), vec![folder.path("")]),
        };
        Self { ceremony, folders, files: Vec::new(), before: BTreeMap::new() }.begin()
    }

    /// A command that writes one metadata file: the repository around it, if it lies in one.
    ///
    /// # Errors
    ///
    /// As [`Scene::of_repository`].
    pub fn of_metadata(file: &Path) -> Result<Self, disk::Error> {
        let folder = Folder::around(file);
        match folder.ceremony() {
            Some(_) => Self::of_repository(&folder),
            None => Self::of_files(disk::folder(file), vec![file.to_owned()]),
        }
    }

    /// A command that writes some files; those in a folder `keys` belong to the ceremony above.
    ///
    /// # Errors
    ///
    /// As [`Scene::of_repository`].
    pub fn of_files(folder: &Path, files: Vec<PathBuf>) -> Result<Self, disk::Error> {
        let in_keys = folder.ends_with("keys");
        let ceremony = if in_keys { folder.join("..") } else { folder.to_owned() };
        Self { ceremony, folders: Vec::new(), files, before: BTreeMap::new() }.begin()
    }

    /// Looks at one more file.
    ///
    /// # Errors
    ///
    /// As [`Scene::of_repository`].
    pub fn and(mut self, file: Option<&PathBuf>) -> Result<Self, disk::Error> {
        self.files.extend(file.cloned());
        self.begin()
    }

    /// The folder that the transcript lies in.
    pub fn ceremony(&self) -> &Path {
        &self.ceremony
    }

    /// Returns the files that are not what they were when the scene was set.
    ///
    /// # Errors
    ///
    /// [`disk::Error`] when a file cannot be read.
    pub fn changes(&self) -> Result<Vec<Change>, disk::Error> {
        let after = self.look()?;
        let mut paths: Vec<_> = self.before.keys().chain(after.keys()).collect();
        paths.sort_unstable();
        paths.dedup();
        let change = |path: &PathBuf| {
            let (before, after) = (self.before.get(path).copied(), after.get(path).copied());
            (before != after).then(|| Change { path: self.shown(path), before, after })
        };
        Ok(paths.into_iter().filter_map(change).collect())
    }

    fn begin(mut self) -> Result<Self, disk::Error> {
        self.before = self.look()?;
        Ok(self)
    }

    fn look(&self) -> Result<BTreeMap<PathBuf, Digest>, disk::Error> {
        let mut files = self.files.clone();
        for folder in &self.folders {
            files.extend(list(folder)?);
        }
        let hashed = files.into_iter().map(|path| Ok((hash(&path)?, path)));
        let hashed: Vec<_> = hashed.collect::<Result<_, _>>()?;
        Ok(hashed.into_iter().filter_map(|(hash, path)| Some((path, hash?))).collect())
    }

    /// The path below the ceremony folder, where the file lies there.
    fn shown(&self, path: &Path) -> String {
        // A file that is gone still has a folder.
        let whole = disk::folder(path).canonicalize().map(|folder| {
            path.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))
        });
        let whole = whole.unwrap_or_else(|_| path.to_owned());
        let ceremony = self.ceremony.canonicalize().unwrap_or_else(|_| self.ceremony.clone());
        whole.strip_prefix(&ceremony).unwrap_or(&whole).display().to_string()
    }
}

/// Returns the SHA-256 of a file; `None` if there is none. What is no file, such as a pipe that
/// never ends, counts as none.
pub(super) fn hash(path: &Path) -> Result<Option<Digest>, disk::Error> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut hash = Sha256::new();
    let file = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hash));
    match file {
        Ok(_) => Ok(Some(Digest(hash.finalize().into()))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(disk::Error::io("read", path, cause)),
    }
}

/// Lists the files of a folder but those that are still being written.
fn list(folder: &Path) -> Result<Vec<PathBuf>, disk::Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(disk::Error::io("list", folder, cause)),
    };
    let files = entries.take(FILES_MAX).filter_map(|entry| {
        let entry = entry.ok()?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        (!hidden && entry.file_type().ok()?.is_file()).then(|| entry.path())
    });
    Ok(files.collect())
}
