//! What the server's authentic answer means for this device.
//!
//! An [`Offer`] is the only thing that can start a download, and only a verified decision makes
//! one.

use core::time::Duration;

use waxwing_tuf::Verified;
use waxwing_tuf::uptane::{Deferrable, Install};
use waxwing_wire::{Digest, ErrorCode};

use crate::journal::Deployment;

/// A release that both repositories vouch for and this device may install.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    deployment: Deployment,
    chunks: Option<Digest>,
    deferrable: Deferrable,
}

impl Offer {
    /// Returns what to install.
    pub const fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Returns the hash of the list of the image's chunks, if the server has one (D8).
    pub const fn chunks(&self) -> Option<Digest> {
        self.chunks
    }

    /// Returns how far the device's user may put the restart off.
    pub const fn deferrable(&self) -> Deferrable {
        self.deferrable
    }
}

/// An authentic answer of the server.
#[derive(Clone, Debug)]
pub struct Contact {
    /// What the Director decided.
    pub decision: Decision,
    /// The time the Director attested, in Unix seconds.
    pub unix_s: u64,
    /// When the server would like to be asked again: a hint.
    pub poll_wish: Duration,
}

/// What the Director decided for this device.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Run this.
    Install(Offer),
    /// Run what you run.
    Nothing,
    /// The Director named something that this device must not run.
    Refused {
        /// What it named, as far as it is authentic.
        deployment: Option<Deployment>,
        /// Why not.
        code: ErrorCode,
    },
    /// As before.
    Unchanged,
}

impl Decision {
    /// The only way to an [`Offer`]. What is verified but names nothing this device can report on
    /// is refused.
    pub(crate) fn install(install: &Verified<Install>) -> Self {
        match Deployment::of(install) {
            Some(deployment) => {
                let (chunks, deferrable) = (install.chunks.map(Digest), install.deferrable);
                Self::Install(Offer { deployment, chunks, deferrable })
            }
            None => Self::Refused { deployment: None, code: ErrorCode::TRUST_MALFORMED },
        }
    }
}

#[cfg(test)]
impl Offer {
    /// Makes an offer that nobody vouches for.
    pub(crate) const fn for_test(deployment: Deployment) -> Self {
        Self { deployment, chunks: None, deferrable: Deferrable { times: 0, until: 0 } }
    }

    /// Adds a chunk list.
    pub(crate) fn with_chunks(self, list: Digest) -> Self {
        Self { chunks: Some(list), ..self }
    }

    /// Lets the user put the restart off.
    pub(crate) fn with_deferrals(self, times: u8, until: u64) -> Self {
        Self { deferrable: Deferrable { times, until }, ..self }
    }
}
