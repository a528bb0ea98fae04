//! Files that are there whole or not at all: one that was there stays as it was until the new one is
//! on the disk.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use tempfile::{Builder, NamedTempFile};

/// Who may read a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readers {
    /// Whoever the system lets read new files.
    Everybody,
    /// Its owner alone: a token and the password of a network are in it.
    Owner,
}

/// Writes a file, in the place of the one that was there.
///
/// # Errors
///
/// When it cannot be written, or something that is no file is there.
pub fn replace(path: &Path, content: &[u8], readers: Readers) -> anyhow::Result<()> {
    let found = path.symlink_metadata();
    let is_free = found.map_or(true, |found| found.is_file());
    ensure!(is_free, "{} is no file", path.display());
    let written = whole(path, content, readers, |file| Ok(file.persist(path)?));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file where nothing is.
///
/// # Errors
///
/// When it cannot be written, or something is there, also something that came meanwhile.
pub fn create(path: &Path, content: &[u8], readers: Readers) -> anyhow::Result<()> {
    let written = whole(path, content, readers, |file| Ok(file.persist_noclobber(path)?));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file beside its place, and has it put there once it is on the disk.
fn whole(
    path: &Path,
    content: &[u8],
    readers: Readers,
    put: impl FnOnce(NamedTempFile) -> io::Result<File>,
) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = beside(folder, readers)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    put(file)?;
    sync(folder)
}

#[cfg(unix)]
fn beside(folder: &Path, readers: Readers) -> io::Result<NamedTempFile> {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    let mode = match readers {
        Readers::Everybody => 0o666,
        Readers::Owner => 0o600,
    };
    Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(folder)
}

#[cfg(not(unix))]
fn beside(folder: &Path, _readers: Readers) -> io::Result<NamedTempFile> {
    Builder::new().tempfile_in(folder)
}

/// Has the name itself survive a power cut.
#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync(_folder: &Path) -> io::Result<()> {
    Ok(())
}
