//! What was seen of a server's audit log the last time: a file per profile in the XDG state folder.
//!
//! This is what a server cannot change: with it, history that was rewritten and signed anew is
//! noticed. Not here: what to make of it.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::profile::{ProfileName, replace, xdg};

/// What is remembered.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    /// The last root of the Director that was believed, as it was shown.
    pub(super) director_root: String,
    /// The last checkpoint that was believed: a signed note.
    pub(super) checkpoint: String,
}

/// Reads what is remembered; `None` if nothing is.
///
/// # Errors
///
/// When the file is damaged: it is not ignored, or whoever damages it could rewrite history.
pub(super) fn load(profile: &ProfileName) -> Result<Option<Memory>, Error> {
    let path = path(profile)?;
    match fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json)
            .map(Some)
            .map_err(|error| Error::File { path, source: io::Error::other(error) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path, source }),
    }
}

/// Remembers, whole or not at all.
pub(super) fn save(profile: &ProfileName, memory: &Memory) -> Result<(), Error> {
    let path = path(profile)?;
    let json = serde_json::to_string(memory).map_err(io::Error::other);
    json.and_then(|json| replace(&path, &json)).map_err(|source| Error::File { path, source })
}

fn path(profile: &ProfileName) -> Result<PathBuf, Error> {
    let state = xdg("XDG_STATE_HOME", ".local/state")?;
    Ok(state.join("waxwing/audit").join(format!("{profile}.json")))
}
