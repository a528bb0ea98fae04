//! A sighting: what a poll tells about a device, besides its reports.
//!
//! Not here: anything signed. A sighting moves no deployment that the device itself can speak for.

use semver::Version;
use waxwing_wire::{Digest, RolloutId};

use super::{Decision, Deployment};

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
}

/// The last poll of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sighting {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// What it runs.
    pub running: Running,
    /// A deployment that begins, or ends at once, with this poll.
    pub deployment: Option<(RolloutId, Deployment)>,
}

impl Sighting {
    /// Describes a poll and what the device was told.
    pub fn of(running: &Running, decision: &Decision, now_ms: u64) -> Self {
        let offered = decision.offer.as_ref().map(|offer| &offer.rollout.id);
        let offered = offered.map(|id| (id.clone(), Deployment::offered(now_ms)));
        let skipped = decision.skip.as_ref().map(|rollout| rollout.id.clone());
        let skipped = skipped.map(|id| (id, Deployment::skipped(now_ms)));
        Self { at: now_ms, running: running.clone(), deployment: offered.or(skipped) }
    }
}
