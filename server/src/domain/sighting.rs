//! A sighting: what a poll tells about a device, besides its reports.
//!
//! Not here: anything signed. A sighting moves no deployment that the device itself can speak for.

use semver::Version;
use waxwing_wire::Digest;

use super::decision::Beginning;

/// What a device tells about itself in a poll.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Running {
    /// Release that runs.
    pub version: Version,
    /// Image that runs.
    pub sha256: Digest,
    /// The device's floor.
    pub security_version: u32,
    /// SHA-256 of the pins by which it knows us; `None`: those of its firmware (D15).
    pub pins: Option<Digest>,
    /// For how many seconds it had no contact to us before; 0 if the poll before was answered.
    pub out_s: u32,
}

/// The last poll of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sighting {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// What it runs.
    pub running: Running,
    /// What should begin for it.
    pub begins: Option<Beginning>,
}
