//! Why an agent does not start.

use core::fmt;

use crate::ports::{BootError, FlashError};

/// The agent could not be started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartError {
    /// The boot records cannot be read.
    Boot(BootError),
    /// The journal's storage does not work.
    Journal(FlashError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boot(_) => "boot records cannot be read",
            Self::Journal(_) => "journal cannot be read",
        })
    }
}

impl core::error::Error for StartError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Boot(error) => Some(error),
            Self::Journal(error) => Some(error),
        }
    }
}
