//! By what the device knows its server: the certificates that its firmware came with, until signed
//! ones take their place (D15).
//!
//! They arrive with the answer to a poll, and are kept only after both repositories vouched for
//! exactly these bytes. They decide with whom the device speaks, never what it installs. Not here:
//! TLS.

use core::fmt;

use waxwing_wire::Digest;

/// Storage for signed pins, and their use.
pub trait Pins {
    /// Returns the SHA-256 of the pins in use; `None` while those of the firmware are.
    fn kept(&self) -> Option<Digest>;

    /// Keeps `pem` in place of what was kept before, and uses nothing else for each connection made
    /// from now on. A power cut leaves the old or the new, whole.
    ///
    /// # Errors
    ///
    /// [`PinsUnusable`] when no server could be known by them or they cannot be kept; then nothing
    /// has changed.
    fn keep(&mut self, pem: &[u8], sha256: Digest) -> Result<(), PinsUnusable>;
}

/// The pins cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PinsUnusable;

impl fmt::Display for PinsUnusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("signed pins of the server cannot be used")
    }
}

impl core::error::Error for PinsUnusable {}
