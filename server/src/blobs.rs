//! Images by SHA-256, in a folder.
//!
//! A blob appears whole or not at all: it is written to a temporary file, flushed, renamed, and the
//! folder flushed. It is never changed afterwards, and what disk or intruder did to it is noticed:
//! a file is hashed when it is first read and again whenever inode, length or change time differ.
//! Images that are downloaded often are kept in memory.
//!
//! A hash is only the name of a blob here. Not here: whether anybody signed it, which the verifier tells,
//! and which device may read which image.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use waxwing_wire::Digest;

/// Largest image kept in memory: the OTA slot of a 16 MiB flash. A larger one is a Linux image.
const HOT_IMAGE_BYTES_MAX: u64 = 8 << 20;

/// How much is read at a time while hashing.
const CHUNK_BYTES: usize = 256 << 10;

/// The blob folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    incoming: PathBuf,
    cache_bytes_max: u64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Files that were hashed, as they looked then.
    verified: HashMap<Digest, Stamp>,
    hot: HashMap<Digest, Hot>,
    hot_bytes: u64,
    /// Counts uses, so that the image unused for longest can be found.
    uses: u64,
}

#[derive(Debug)]
struct Hot {
    bytes: Bytes,
    used: u64,
}

/// What changes when a file changes; `ctime` cannot be set back by a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

/// A blob that was found good.
#[derive(Debug)]
pub enum Blob {
    /// On disk: an open file, and its length.
    File(File, u64),
    /// In memory.
    Memory(Bytes),
}

impl Blob {
    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::File(_, len) => *len,
            Self::Memory(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        }
    }

    /// Tells whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Blobs {
    /// Opens the folder, makes it if needed, and removes what unfinished uploads left.
    ///
    /// Keeps up to `cache_bytes_max` bytes of images in memory.
    pub fn open(folder: &Path, cache_bytes_max: u64) -> Result<Self, BlobError> {
        let incoming = folder.join("incoming");
        if incoming.exists() {
            fs::remove_dir_all(&incoming)?;
        }
        fs::create_dir_all(&incoming)?;
        let folder = folder.to_owned();
        let known = Mutex::default();
        Ok(Self { shared: Arc::new(Shared { folder, incoming, cache_bytes_max, known }) })
    }

    /// Begins to receive a blob of at most `bytes_max` bytes.
    pub fn receive(&self, bytes_max: u64) -> Result<Incoming, BlobError> {
        let file = NamedTempFile::new_in(&self.shared.incoming)?;
        Ok(Incoming { shared: self.shared.clone(), file, hash: Sha256::new(), len: 0, bytes_max })
    }

    /// Tries whether a blob could be stored now. Blocks on the disk.
    pub fn probe(&self) -> Result<(), BlobError> {
        let mut file = NamedTempFile::new_in(&self.shared.incoming)?;
        Ok(file.write_all(b"probe")?)
    }

    /// Tells whether a blob is there; does not read it.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.shared.path(digest).exists()
    }

    /// Returns a blob held in memory, without touching the disk.
    pub fn hot(&self, digest: &Digest) -> Option<Bytes> {
        self.shared.known().touch(digest)
    }

    /// Opens a blob, hashing it unless that was done since it last changed. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`BlobError::Corrupt`] when the file does not have the hash of its name.
    pub fn read(&self, digest: &Digest) -> Result<Option<Blob>, BlobError> {
        if let Some(bytes) = self.hot(digest) {
            return Ok(Some(Blob::Memory(bytes)));
        }
        match File::open(self.shared.path(digest)) {
            Ok(file) => self.shared.verified(digest, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Shared {
    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let fan_out: String = name.chars().take(2).collect();
        self.folder.join(fan_out).join(name)
    }

    fn verified(&self, digest: &Digest, mut file: File) -> Result<Blob, BlobError> {
        let stamp = Stamp::of(&file)?;
        if stamp.len <= HOT_IMAGE_BYTES_MAX.min(self.cache_bytes_max) {
            let bytes = Bytes::from(read_whole(&mut file, stamp.len)?);
            check(digest, Sha256::digest(&bytes).into())?;
            self.known().keep(*digest, bytes.clone(), self.cache_bytes_max);
            return Ok(Blob::Memory(bytes));
        }
        let is_known = self.known().verified.get(digest) == Some(&stamp);
        if !is_known {
            check(digest, hash(&mut file)?)?;
            self.known().verified.insert(*digest, stamp);
        }
        Ok(Blob::File(file, stamp.len))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Nothing that holds the lock can panic half-way through a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn touch(&mut self, digest: &Digest) -> Option<Bytes> {
        self.uses += 1;
        let hot = self.hot.get_mut(digest)?;
        hot.used = self.uses;
        Some(hot.bytes.clone())
    }

    fn keep(&mut self, digest: Digest, bytes: Bytes, bytes_max: u64) {
        self.uses += 1;
        self.hot_bytes += size(&bytes);
        if let Some(old) = self.hot.insert(digest, Hot { bytes, used: self.uses }) {
            self.hot_bytes -= size(&old.bytes);
        }
        while self.hot_bytes > bytes_max {
            let Some(digest) = self.least_used() else { return };
            if let Some(old) = self.hot.remove(&digest) {
                self.hot_bytes -= size(&old.bytes);
            }
        }
    }

    fn least_used(&self) -> Option<Digest> {
        self.hot.iter().min_by_key(|(_, hot)| hot.used).map(|(digest, _)| *digest)
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Ok(Self { inode: metadata.ino(), len: metadata.len(), changed })
    }
}

/// A blob on its way in. Dropped before [`Incoming::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    shared: Arc<Shared>,
    file: NamedTempFile,
    hash: Sha256,
    len: u64,
    bytes_max: u64,
}

impl Incoming {
    /// Adds bytes. Blocks on the disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.len += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.len > self.bytes_max {
            return Err(BlobError::TooLarge { bytes_max: self.bytes_max });
        }
        self.hash.update(bytes);
        Ok(self.file.write_all(bytes)?)
    }

    /// Makes the blob durable under its name, if it is the expected one. Blocks on the disk.
    pub fn finish(self, expected: &Digest) -> Result<u64, BlobError> {
        let found = Digest(self.hash.finalize().into());
        if found != *expected {
            return Err(BlobError::Unexpected { expected: *expected, found });
        }
        let path = self.shared.path(expected);
        let folder = path.parent().unwrap_or(&self.shared.folder);
        fs::create_dir_all(folder)?;
        self.file.as_file().sync_all()?;
        self.file.persist(&path).map_err(|error| error.error)?;
        // The rename, then the folder it happened in, then the folder that may be new.
        File::open(folder)?.sync_all()?;
        File::open(&self.shared.folder)?.sync_all()?;
        Ok(self.len)
    }
}

fn check(expected: &Digest, found: [u8; 32]) -> Result<(), BlobError> {
    let found = Digest(found);
    if found == *expected { Ok(()) } else { Err(BlobError::Corrupt { expected: *expected, found }) }
}

fn size(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn read_whole(file: &mut File, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn hash(file: &mut File) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.finalize().into()),
            len => hash.update(chunk.get(..len).unwrap_or_default()),
        }
    }
}

/// Why a blob was not stored or not handed out.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk changed the bytes, or somebody did.
    #[error("blob {expected} is damaged: its content hashes to {found}")]
    Corrupt {
        /// The name of the blob.
        expected: Digest,
        /// The hash of what is there.
        found: Digest,
    },
    /// No space left.
    #[error("no space left for images")]
    Full(#[source] io::Error),
    /// The disk failed.
    #[error("the image folder failed")]
    Io(#[source] io::Error),
    /// More bytes than allowed.
    #[error("the image is larger than {bytes_max} bytes (limits.image_bytes)")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The bytes are not those announced.
    #[error("the body hashes to {found}, not to {expected}")]
    Unexpected {
        /// The hash announced.
        expected: Digest,
        /// The hash of what came.
        found: Digest,
    },
}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        if full.contains(&error.kind()) { Self::Full(error) } else { Self::Io(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHE: u64 = 1 << 20;

    fn digest(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    fn store(blobs: &Blobs, bytes: &[u8]) -> Digest {
        let mut incoming = blobs.receive(CACHE).unwrap();
        incoming.write(bytes).unwrap();
        assert_eq!(incoming.finish(&digest(bytes)).unwrap(), u64::try_from(bytes.len()).unwrap());
        digest(bytes)
    }

    fn content(blob: Blob) -> Vec<u8> {
        match blob {
            Blob::File(mut file, len) => {
                io::Seek::rewind(&mut file).unwrap();
                read_whole(&mut file, len).unwrap()
            }
            Blob::Memory(bytes) => bytes.to_vec(),
        }
    }

    fn files_in(folder: &Path) -> usize {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { files_in(&path) } else { 1 }).sum()
    }

    #[test]
    fn a_blob_comes_back_as_it_went_in_with_and_without_cache() {
        for cache in [CACHE, 0] {
            let folder = tempfile::tempdir().unwrap();
            let name = store(&Blobs::open(folder.path(), cache).unwrap(), b"firmware");
            let again = Blobs::open(folder.path(), cache).unwrap();
            for _ in 0..2 {
                assert_eq!(content(again.read(&name).unwrap().unwrap()), b"firmware");
            }
            assert!(again.contains(&name));
            assert!(again.read(&digest(b"other")).unwrap().is_none());
        }
    }

    #[test]
    fn a_refused_or_abandoned_upload_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), CACHE).unwrap();
        let mut wrong = blobs.receive(8).unwrap();
        wrong.write(b"firmware").unwrap();
        assert!(matches!(wrong.finish(&digest(b"x")), Err(BlobError::Unexpected { .. })));
        let mut large = blobs.receive(4).unwrap();
        assert!(matches!(large.write(b"firmware"), Err(BlobError::TooLarge { bytes_max: 4 })));
        drop(large);
        let mut abandoned = blobs.receive(8).unwrap();
        abandoned.write(b"firm").unwrap();
        drop(abandoned);
        assert_eq!(files_in(folder.path()), 0);
    }

    #[test]
    fn what_a_crash_left_is_removed_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), CACHE).unwrap();
        std::mem::forget(blobs.receive(8).unwrap());
        assert_eq!(files_in(folder.path()), 1);
        Blobs::open(folder.path(), CACHE).unwrap();
        assert_eq!(files_in(folder.path()), 0);
    }

    #[test]
    fn a_changed_file_is_noticed_even_after_it_was_found_good() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), 0).unwrap();
        let name = store(&blobs, b"firmware");
        assert!(blobs.read(&name).unwrap().is_some());
        fs::write(blobs.shared.path(&name), b"hostile!").unwrap();
        assert!(matches!(blobs.read(&name), Err(BlobError::Corrupt { .. })));
    }

    #[test]
    fn a_full_disk_has_its_own_error() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(BlobError::from(full), BlobError::Full(_)));
    }

    #[test]
    fn memory_for_images_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), 10).unwrap();
        let names = [b"aaaa", b"bbbb", b"cccc"].map(|bytes| store(&blobs, bytes));
        for name in &names {
            blobs.read(name).unwrap();
        }
        assert!(blobs.hot(&names[0]).is_none());
        assert!(blobs.hot(&names[2]).is_some());
        assert_eq!(blobs.shared.known().hot_bytes, 8);
    }
}
