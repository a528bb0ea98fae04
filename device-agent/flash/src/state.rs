//! What a device makes and learns itself: its key, its certificates, metadata it trusts. A file
//! under a name, replaced whole or not at all.
//!
//! Wear levelling and repair after power cuts are `sequential-storage`'s, whose items are shorter
//! than a sector. A longer file is cut into pieces, which are written beside those of the version
//! before; the head, written last, says which of the two counts. Not here: secrets apart from
//! others. Whoever can read flash can read a key, unless flash is encrypted.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_storage_async::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::map::{MapConfig, MapStorage};
use sha2::{Digest as _, Sha256};
use waxwing_agent::ports::{FlashError, SECTOR_BYTES};
use waxwing_tuf::{Store, StoreError};

use crate::region::{Chip, Region};

/// Longest file: a role's metadata with all its signatures is shorter.
pub const FILE_BYTES_MAX: usize = 32 * 1024;

/// Bytes of a piece: three fill a sector.
const PIECE_BYTES: usize = 1280;
/// Room for a piece or a head, with its key.
const ITEM_BYTES_MAX: usize = 1536;
/// Unit of programming, in bytes.
const WORD_BYTES: usize = 4;
const SECTOR_LEN: usize = 4096;

/// Name (the beginning of its SHA-256), generation, index of the piece.
type Key = [u8; NAME_BYTES + 2];
/// Bytes of a name's SHA-256 in a key; the head has the whole name.
const NAME_BYTES: usize = 6;
/// Index of a head.
const HEAD: u8 = 0xff;
/// Format of a head: others are not ours.
const HEAD_FORMAT: u8 = 1;
/// Format, generation, length, SHA-256; the name follows.
const HEAD_BYTES: usize = 1 + 1 + 4 + 32;

/// All files of a device. Clones are the same ones.
#[derive(Clone)]
pub struct State<F: Chip>(Rc<RefCell<Files<F>>>);

impl<F: Chip> State<F> {
    /// Opens the partition.
    ///
    /// # Errors
    ///
    /// [`StateError::Flash`] when it is shorter than two sectors.
    pub fn open(region: Region<F>) -> Result<Self, StateError> {
        let end = region.sectors() * SECTOR_BYTES;
        let config = MapConfig::try_new(0..end).map_err(|_| StateError::Flash)?;
        let map = MapStorage::new(Sectors(region), config, Cache::new_uncached());
        Ok(Self(Rc::new(RefCell::new(Files { map }))))
    }

    /// Returns the file under this name, if there is one.
    ///
    /// # Errors
    ///
    /// [`StateError`] when flash cannot be read or holds nonsense.
    pub fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        self.0.borrow_mut().load(name)
    }

    /// Replaces the file under this name. A power cut leaves the old or the new one, whole; the
    /// same content again writes nothing.
    ///
    /// # Errors
    ///
    /// [`StateError`] when it cannot be kept; then the old one is still there.
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.0.borrow_mut().save(name, bytes)
    }

    /// Forgets the file under this name, if there is one.
    ///
    /// # Errors
    ///
    /// [`StateError`] when flash cannot be written.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        self.0.borrow_mut().remove(name)
    }

    /// Erases everything: what a device does whose state is beyond repair. It enrols again, and
    /// begins with the metadata it was made with.
    ///
    /// # Errors
    ///
    /// [`StateError::Flash`] when flash cannot be erased.
    pub fn erase(&self) -> Result<(), StateError> {
        at_once(self.0.borrow_mut().map.erase_all())
    }

    /// Returns the files whose names begin with `prefix`, as a store for trusted metadata.
    pub fn drawer(&self, prefix: &'static str) -> Drawer<F> {
        Drawer { state: self.clone(), prefix }
    }
}

impl<F: Chip> fmt::Debug for State<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// The files of one repository. A damaged one is as good as none, for whatever is kept here is fetched
/// again; a fault of the chip is told, for it may pass.
#[derive(Clone, Debug)]
pub struct Drawer<F: Chip> {
    state: State<F>,
    prefix: &'static str,
}

impl<F: Chip> Drawer<F> {
    fn path(&self, name: &str) -> String {
        [self.prefix, "/", name].concat()
    }
}

impl<F: Chip> Store for Drawer<F> {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.state.load(&self.path(name)) {
            Err(StateError::Corrupt) => Ok(None),
            loaded => loaded.map_err(|_| StoreError),
        }
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.state.save(&self.path(name), bytes).map_err(|_| StoreError)
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.state.remove(&self.path(name)).map_err(|_| StoreError)
    }
}

/// State cannot be read or kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StateError {
    /// Flash holds what was never written there.
    Corrupt,
    /// The chip reports a fault.
    Flash,
    /// No room is left.
    Full,
    /// Longer than [`FILE_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "state in flash is damaged",
            Self::Flash => "flash cannot be read or written",
            Self::Full => "no room for more state",
            Self::TooLong => "file is longer than 32 KiB",
        })
    }
}

impl core::error::Error for StateError {}

struct Files<F: Chip> {
    map: MapStorage<Key, Sectors<F>, Cache<Uncached, Uncached, Uncached, Key>>,
}

/// Which version of a file counts.
#[derive(Clone, Copy)]
struct Head {
    generation: u8,
    length: usize,
    sha256: [u8; 32],
}

impl<F: Chip> Files<F> {
    fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let Some(head) = self.head(name)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(head.length);
        for index in pieces(head.length) {
            bytes.extend_from_slice(&self.item(key(name, head.generation, index))?);
        }
        let is_whole = bytes.len() == head.length && sha256(&bytes) == head.sha256;
        if is_whole { Ok(Some(bytes)) } else { Err(StateError::Corrupt) }
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(StateError::TooLong);
        }
        let before = self.head_if_intact(name)?;
        let mut head = Head { generation: 0, length: bytes.len(), sha256: sha256(bytes) };
        if let Some(before) = before {
            if (before.length, before.sha256) == (head.length, head.sha256) {
                return Ok(());
            }
            head.generation = before.generation ^ 1;
        }
        for (index, piece) in pieces(bytes.len()).zip(bytes.chunks(PIECE_BYTES)) {
            self.store(key(name, head.generation, index), piece)?;
        }
        self.store(key(name, 0, HEAD), &head.encode(name))?;
        before.map_or(Ok(()), |before| self.empty(name, before))
    }

    fn remove(&mut self, name: &str) -> Result<(), StateError> {
        if self.item(key(name, 0, HEAD))?.is_empty() {
            return Ok(());
        }
        let before = self.head_if_intact(name)?;
        self.store(key(name, 0, HEAD), &[])?;
        before.map_or(Ok(()), |before| self.empty(name, before))
    }

    /// Makes room of the pieces that no longer count. After a power cut they wait for the version
    /// after the next.
    fn empty(&mut self, name: &str, head: Head) -> Result<(), StateError> {
        for index in pieces(head.length) {
            self.store(key(name, head.generation, index), &[])?;
        }
        Ok(())
    }

    /// Returns the head of a file to be replaced or removed: one that is damaged names no pieces.
    fn head_if_intact(&mut self, name: &str) -> Result<Option<Head>, StateError> {
        Ok(Head::decode(&self.item(key(name, 0, HEAD))?, name))
    }

    fn head(&mut self, name: &str) -> Result<Option<Head>, StateError> {
        let bytes = self.item(key(name, 0, HEAD))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        Head::decode(&bytes, name).ok_or(StateError::Corrupt).map(Some)
    }

    /// Returns an item; nothing if there is none.
    fn item(&mut self, key: Key) -> Result<Vec<u8>, StateError> {
        let mut buffer = [0; ITEM_BYTES_MAX];
        let found = at_once(self.map.fetch_item::<&[u8]>(&mut buffer, &key))?;
        Ok(found.unwrap_or_default().to_vec())
    }

    fn store(&mut self, key: Key, value: &[u8]) -> Result<(), StateError> {
        let mut buffer = [0; ITEM_BYTES_MAX];
        at_once(self.map.store_item(&mut buffer, &key, &value))
    }
}

impl Head {
    fn encode(&self, name: &str) -> Vec<u8> {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEAD_BYTES + name.len());
        bytes.extend_from_slice(&[HEAD_FORMAT, self.generation]);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.sha256);
        bytes.extend_from_slice(name.as_bytes());
        bytes
    }

    /// Reads the head of a file with this name.
    fn decode(bytes: &[u8], name: &str) -> Option<Self> {
        let (&[format, generation], rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (sha256, of) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let is_ours = format == HEAD_FORMAT && length <= FILE_BYTES_MAX && of == name.as_bytes();
        is_ours.then_some(Self { generation, length, sha256: *sha256 })
    }
}

fn key(name: &str, generation: u8, index: u8) -> Key {
    let mut key = [0, 0, 0, 0, 0, 0, generation, index];
    key.iter_mut().take(NAME_BYTES).zip(sha256(name.as_bytes())).for_each(|(to, from)| *to = from);
    key
}

/// The indices of a file's pieces.
fn pieces(length: usize) -> impl Iterator<Item = u8> {
    let count = length.div_ceil(PIECE_BYTES);
    (0..HEAD).take(count)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Flash as `sequential-storage` takes it. Nothing here ever waits.
#[derive(Debug)]
struct Sectors<F>(Region<F>);

#[derive(Debug)]
struct Fault;

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl From<FlashError> for Fault {
    fn from(_: FlashError) -> Self {
        Self
    }
}

impl<F> ErrorType for Sectors<F> {
    type Error = Fault;
}

impl<F: Chip> ReadNorFlash for Sectors<F> {
    const READ_SIZE: usize = WORD_BYTES;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        Ok(self.0.read(offset, bytes)?)
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.0.bytes()).unwrap_or(0)
    }
}

impl<F: Chip> NorFlash for Sectors<F> {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = SECTOR_LEN;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        let mut at = from;
        while at < to {
            self.0.erase_sector(at)?;
            at += SECTOR_BYTES;
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.0.write(offset, bytes)?)
    }
}

/// Runs a future that never waits.
fn at_once<T>(
    future: impl Future<Output = Result<T, sequential_storage::Error<Fault>>>,
) -> Result<T, StateError> {
    use sequential_storage::Error;
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(value)) => Ok(value),
        Poll::Ready(Err(Error::FullStorage | Error::ItemTooBig)) => Err(StateError::Full),
        Poll::Pending | Poll::Ready(Err(Error::Storage { .. })) => Err(StateError::Flash),
        Poll::Ready(Err(_)) => Err(StateError::Corrupt),
    }
}

#[cfg(test)]
mod tests;
