//! What a device makes and learns itself: its key, its certificates, metadata it trusts. A file
//! under a name, replaced whole or not at all.
//!
//! Wear levelling and repair after power cuts are `sequential-storage`'s, whose items are shorter
//! than a sector. A longer file is cut into pieces, which are written beside those of the version
//! before; the head, written last, says which of the two counts. Not here: secrets apart from
//! others. Whoever can read flash can read a key, unless flash is encrypted.
//!
//! Two kinds of files: those a device is lost without, for which [`budget`] always has room, and
//! roles, which the server sends again: they share what the partition has beyond.

mod budget;
mod files;
mod sectors;

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use sequential_storage::cache::Cache;
use sequential_storage::map::{MapConfig, MapStorage};
use waxwing_agent::ports::SECTOR_BYTES;
use waxwing_tuf::{Store, StoreError};

pub use self::budget::{FILE_BYTES_MAX, SECTORS_MIN, SECTORS_STANDARD};
use self::files::{Files, Use};
use self::sectors::{Sectors, at_once};
use crate::region::{Chip, Region};

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
        let role_bytes_max = budget::role_bytes_max(region.sectors());
        let map = MapStorage::new(Sectors(region), config, Cache::new_uncached());
        Ok(Self(Rc::new(RefCell::new(Files { map, role_bytes_max }))))
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
    /// same content again writes nothing. Roles make room for it if there is no other.
    ///
    /// # Errors
    ///
    /// [`StateError`] when it cannot be kept; then the old one is still there.
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.0.borrow_mut().save(name, bytes, Use::Needed)
    }

    /// Replaces a file that can be fetched again, if there is room for it that nothing else may
    /// need. A power cut leaves the old one, the new one, or none.
    ///
    /// # Errors
    ///
    /// [`StateError`] when it cannot be kept; the old one may be gone.
    pub fn save_role(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.0.borrow_mut().save(name, bytes, Use::Role)
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
        let path = self.path(name);
        let saved = match name {
            "root.json" | "timestamp.json" | "snapshot.json" => self.state.save(&path, bytes),
            _ => self.state.save_role(&path, bytes),
        };
        saved.map_err(|_| StoreError)
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
            Self::TooLong => "file is longer than 16 KiB",
        })
    }
}

impl core::error::Error for StateError {}

#[cfg(test)]
mod tests;
