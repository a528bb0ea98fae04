//! `release remove`.

use super::arguments::Listed;
use super::{Environment, Failure};
use crate::transcript::Scene;
use crate::{disk, steps};

/// Take releases off the list of a channel, which revokes them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys release remove --dir acme-th1 --role acme-th1-stable acme-th1/stable/1.3.0/esp32c3.bin")]
pub(super) struct Args {
    #[command(flatten)]
    listed: Listed,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        self.listed.at.scene()
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let Listed { at, role, paths, expires } = &self.listed;
        let path = steps::release_remove(&at.folder(), role, paths, *expires, with.now)?;
        with.say_waiting(&path)
    }
}
