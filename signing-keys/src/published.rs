//! What was published last: the timestamp, and the snapshot it refers to.
//!
//! Files that no timestamp refers to were never published, whatever their names say: a publication
//! that was interrupted leaves such files behind, and the next one overwrites them.

use waxwing_tuf::author::{Metadata, Snapshot, Timestamp};

use crate::folder::{Error, Folder, parse};

/// Name of the file with which everything begins for clients.
pub const TIMESTAMP: &str = "timestamp.json";

/// A timestamp with its snapshot, as their author reads them.
#[derive(Clone, Debug)]
pub struct Published {
    /// What the snapshot says.
    pub snapshot: Snapshot,
    /// The file.
    pub snapshot_bytes: Vec<u8>,
    /// What the timestamp says.
    pub timestamp: Timestamp,
    /// The file.
    pub timestamp_bytes: Vec<u8>,
}

impl Published {
    /// Reads the timestamp of this file name and its snapshot; `None` if there is no such file.
    ///
    /// # Errors
    ///
    /// [`Error`] when a file cannot be read or the snapshot is missing.
    pub fn read(folder: &Folder, name: &str) -> Result<Option<Self>, Error> {
        let Some(timestamp_bytes) = folder.read(name)? else { return Ok(None) };
        let path = folder.path(name);
        let Metadata::Timestamp(timestamp) = parse(&path, &timestamp_bytes)? else {
            return Err(Error::Incomplete(path));
        };
        let version = timestamp.meta.get("snapshot.json").map_or(0, |snapshot| snapshot.version);
        let name = format!("{version}.snapshot.json");
        let path = folder.path(&name);
        let Some(snapshot_bytes) = folder.read(&name)? else { return Err(Error::Incomplete(path)) };
        let Metadata::Snapshot(snapshot) = parse(&path, &snapshot_bytes)? else {
            return Err(Error::Incomplete(path));
        };
        Ok(Some(Self { snapshot, snapshot_bytes, timestamp, timestamp_bytes }))
    }

    /// Returns the version of a targets role that was published last.
    ///
    /// # Errors
    ///
    /// As [`Published::read`].
    pub fn version(folder: &Folder, role: &str) -> Result<Option<u64>, Error> {
        let published = Self::read(folder, TIMESTAMP)?;
        let listed =
            published.and_then(|mut last| last.snapshot.meta.remove(&format!("{role}.json")));
        Ok(listed.map(|file| file.version))
    }
}
