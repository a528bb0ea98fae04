//! Files that are there whole or not at all.
//!
//! Not here: what is in them. A check that the caller passes in reads the bytes back from the disk
//! before they get their name.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::secret::{self, Secret};

/// Largest file read that is not an image; metadata and keys are far smaller.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Only the owner may read or write: for secret keys.
const MODE_SECRET: u32 = 0o600;

/// What nobody but the owner may do with a secret.
const MODE_OTHERS: u32 = 0o077;

/// Reads a small file.
///
/// # Errors
///
/// [`Error`] names the file; longer ones than [`FILE_BYTES_MAX`] are refused.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|cause| Error::io("read", path, cause))?;
    // One byte more than allowed, to notice that there is more.
    let mut file = file.take(FILE_BYTES_MAX + 1);
    file.read_to_end(&mut bytes).map_err(|cause| Error::io("read", path, cause))?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= FILE_BYTES_MAX => Ok(bytes),
        Ok(_) | Err(_) => Err(Error::TooLong(path.to_owned())),
    }
}

/// Reads the first line of a file that only its owner may read: a PIN.
///
/// # Errors
///
/// [`Error`] names the file; one that others may read is refused.
pub fn read_secret_line(path: &Path) -> Result<Secret, Error> {
    let io = |cause| Error::io("read", path, cause);
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.mode() & MODE_OTHERS != 0 {
        return Err(Error::Exposed(path.to_owned()));
    }
    secret::read_line(&mut BufReader::new(file)).map_err(io)
}

/// Writes a file under another name, reads it back, has it checked and renames it: whatever
/// happens in between, `path` holds the old bytes or the new ones.
///
/// # Errors
///
/// [`Error`] names the file; what `check` returns is passed on. The file is then as it was.
pub fn replace<E: From<Error>>(
    path: &Path,
    bytes: &[u8],
    check: impl FnOnce(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let temporary = temporary(path);
    let result = create(&temporary, &mut OpenOptions::new(), &mut &*bytes)
        .map_err(|cause| E::from(Error::io("write", &temporary, cause)))
        .and_then(|()| check(&read_back(&temporary, bytes)?))
        .and_then(|()| rename(&temporary, path).map_err(E::from));
    if result.is_err() {
        // Nothing to add to the error: the name is not one that anybody reads.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Writes a file that must not exist yet and that only the owner may read. It is written under
/// another name, read back and checked before it gets its own, so that there is no half a key.
///
/// # Errors
///
/// [`Error`] names the file; what `check` returns is passed on. The file is then not left behind.
pub fn create_secret<E: From<Error>>(
    path: &Path,
    bytes: &[u8],
    check: impl FnOnce(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let temporary = temporary(path);
    let result = create(&temporary, OpenOptions::new().mode(MODE_SECRET), &mut &*bytes)
        .map_err(|cause| E::from(Error::io("write", &temporary, cause)))
        .and_then(|()| check(&read_back(&temporary, bytes)?))
        .and_then(|()| name_once(&temporary, path).map_err(E::from));
    // Either it has its name now, or it is not to be left behind.
    let _ = fs::remove_file(&temporary);
    result
}

/// Gives a file a second name that nothing has yet: never over another key.
fn name_once(from: &Path, to: &Path) -> Result<(), Error> {
    fs::hard_link(from, to).map_err(|cause| Error::io("write", to, cause))?;
    sync_folder(to)
}

/// Copies a file of any size to a place where it is found whole or not at all.
///
/// # Errors
///
/// [`Error`] names the file.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let temporary = temporary(to);
    create_folder(to)?;
    let copied = File::open(from)
        .and_then(|mut source| create(&temporary, &mut OpenOptions::new(), &mut source))
        .map_err(|cause| Error::io("copy", from, cause))
        .and_then(|()| rename(&temporary, to));
    if copied.is_err() {
        // Nothing to add to the error: the name is not one that anybody reads.
        let _ = fs::remove_file(&temporary);
    }
    copied
}

/// Makes the folder that `path` lies in.
///
/// # Errors
///
/// [`Error`] names the folder.
pub fn create_folder(path: &Path) -> Result<(), Error> {
    let folder = folder(path);
    fs::create_dir_all(folder).map_err(|cause| Error::io("create", folder, cause))
}

/// Writes a file of its own, in place of what a crash left. `O_EXCL`: never through a link that
/// somebody put there to have another file overwritten.
fn create(path: &Path, options: &mut OpenOptions, source: &mut impl io::Read) -> io::Result<()> {
    // It may be absent; what cannot be removed is refused below.
    let _ = fs::remove_file(path);
    let mut file = options.write(true).create_new(true).open(path)?;
    io::copy(source, &mut file)?;
    file.sync_all()
}

fn read_back(path: &Path, written: &[u8]) -> Result<Vec<u8>, Error> {
    let bytes = read(path)?;
    if bytes == written { Ok(bytes) } else { Err(Error::Changed(path.to_owned())) }
}

/// Gives a file another name, in place of whatever has it now.
///
/// # Errors
///
/// [`Error`] names the file.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|cause| Error::io("write", to, cause))?;
    sync_folder(to)
}

/// Makes a new name survive a power cut.
fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = folder(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|cause| Error::io("write", folder, cause))
}

/// Returns the folder that `path` lies in.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    }
}

/// A leftover of a crash is removed by the next attempt.
fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was read back is not what was written.
    #[error("{} does not hold what was just written to it; check the disk", .0.display())]
    Changed(PathBuf),
    /// A secret that is none.
    #[error("others may read {}; make it yours alone with `chmod 600`", .0.display())]
    Exposed(PathBuf),
    /// The system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Longer than any file of this kind.
    #[error("{} is longer than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLong(PathBuf),
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), cause }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Names the file in which the child process of the crash test dies.
    const CRASH: &str = "WAXWING_KEYS_TEST_CRASH";

    #[test]
    fn a_file_that_fails_its_check_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.root.json");
        replace(&path, b"old", |_| Ok::<_, Error>(())).unwrap();
        let refused = replace(&path, b"new", |_| Err(Error::Changed(path.clone())));
        assert!(matches!(refused, Err(Error::Changed(_))));
        assert_eq!(read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_never_written_through_a_link_that_somebody_laid() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) =
            (folder.path().join("1.root.json"), folder.path().join("elsewhere"));
        fs::write(&elsewhere, b"precious").unwrap();
        std::os::unix::fs::symlink(&elsewhere, temporary(&path)).unwrap();
        replace(&path, b"new", |_| Ok::<_, Error>(())).unwrap();
        assert_eq!(read(&path).unwrap(), b"new");
        assert_eq!(read(&elsewhere).unwrap(), b"precious");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_file_and_the_next_write_works() {
        if let Some(path) = std::env::var_os(CRASH) {
            let died = replace(Path::new(&path), b"new", |_| -> Result<(), Error> {
                std::process::abort()
            });
            unreachable!("{died:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.root.json");
        replace(&path, b"old", |_| Ok::<_, Error>(())).unwrap();
        let name =
            "disk::tests::a_crash_before_the_rename_leaves_the_old_file_and_the_next_write_works";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", name]).env(CRASH, &path).output().unwrap();
        assert!(!child.status.success());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the crash came too early");
        assert_eq!(read(&path).unwrap(), b"old");
        replace(&path, b"new", |_| Ok::<_, Error>(())).unwrap();
        assert_eq!(read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_crash_while_a_key_is_made_leaves_no_half_a_key_and_the_next_try_works() {
        if let Some(path) = std::env::var_os(CRASH) {
            let died = create_secret(Path::new(&path), b"half", |_| -> Result<(), Error> {
                std::process::abort()
            });
            unreachable!("{died:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.key");
        let name =
            "disk::tests::a_crash_while_a_key_is_made_leaves_no_half_a_key_and_the_next_try_works";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", name]).env(CRASH, &path).output().unwrap();
        assert!(!child.status.success());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the crash came too early");
        assert!(!path.exists());
        create_secret(&path, b"whole", |_| Ok::<_, Error>(())).unwrap();
        assert_eq!(read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_written_through_a_link_that_lies_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let [path, treasure] = ["1.root.json", "treasure"].map(|name| folder.path().join(name));
        fs::write(&treasure, b"mine").unwrap();
        let link = || std::os::unix::fs::symlink(&treasure, temporary(&path)).unwrap();
        link();
        replace(&path, b"new", |_| Ok::<_, Error>(())).unwrap();
        assert_eq!(read(&path).unwrap(), b"new");
        link();
        copy(&path, &path).unwrap();
        assert_eq!(read(&treasure).unwrap(), b"mine");
    }

    #[test]
    fn a_secret_is_never_written_over_another_nor_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.key");
        create_secret(&path, b"secret", |_| Ok::<_, Error>(())).unwrap();
        assert!(create_secret(&path, b"other", |_| Ok::<_, Error>(())).is_err());
        assert_eq!(read(&path).unwrap(), b"secret");
        let link = folder.path().join("link.key");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        assert!(create_secret(&link, b"other", |_| Ok::<_, Error>(())).is_err());
        assert!(!folder.path().join("elsewhere").exists());
    }
}
