//! `renew`.

use std::time::Duration;

use super::arguments::{Repository, life};
use super::{Environment, Failure};
use crate::transcript::Scene;
use crate::{disk, steps};

/// Let a role file say the same for longer, before it expires
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: waxwing-keys renew acme-th1-stable --dir acme-th1")]
pub(super) struct Args {
    /// `targets` or `<product>-<channel>`
    role: String,
    #[command(flatten)]
    at: Repository,
    /// How long it is good for
    #[arg(long, default_value = "90d", value_parser = life)]
    expires: Duration,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        self.at.scene()
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let path = steps::renew(&self.at.folder(), &self.role, self.expires, with.now)?;
        with.say_waiting(&path)
    }
}
