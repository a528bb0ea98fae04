//! A route: the releases that a rollout brings a device, one after the other.
//!
//! A device may be too old for the release: it gets the stepping stones that it lacks first. Not here:
//! whether a device is offered anything at all.

use std::sync::Arc;

use semver::Version;

use crate::domain::Release;

/// The releases that a rollout brings.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// What devices that are older must run in between, oldest first.
    pub stones: &'a [Arc<Release>],
    /// What the rollout is about.
    pub end: &'a Arc<Release>,
}

impl<'a> Route<'a> {
    /// Leads straight to a release.
    pub const fn to(end: &'a Arc<Release>) -> Self {
        Self { stones: &[], end }
    }

    /// Returns the next release for a device that runs this version, with its place on the route.
    pub fn next(&self, running: &Version) -> u8 {
        let passed = self.stones.iter().take_while(|stone| stone.version <= *running).count();
        place(passed)
    }

    /// Returns the release at a place of the route.
    pub fn release(&self, hop: u8) -> &'a Arc<Release> {
        self.stones.get(usize::from(hop)).unwrap_or(self.end)
    }

    /// Returns the release of this version, with its place on the route.
    pub fn find(&self, version: &Version) -> Option<(u8, &'a Release)> {
        let mut releases = self.stones.iter().chain([self.end]).enumerate();
        let (hop, release) = releases.find(|(_, release)| release.version == *version)?;
        Some((place(hop), &**release))
    }

    /// Tells whether the route ends here.
    pub fn is_end(&self, hop: u8) -> bool {
        usize::from(hop) >= self.stones.len()
    }
}

/// Plans have a few stones at most.
fn place(hop: usize) -> u8 {
    u8::try_from(hop).unwrap_or(u8::MAX)
}
