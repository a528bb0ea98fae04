//! `release remove`.

use std::path::PathBuf;
use std::time::Duration;

use super::arguments::life;
use super::{Environment, Failure};
use crate::folder::Folder;
use crate::transcript::Scene;
use crate::{disk, steps};

/// Take releases off the list of a channel, which revokes them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys release remove --dir acme-th1 --role acme-th1-stable acme-th1/stable/1.3.0/esp32c3.bin")]
pub(super) struct Args {
    /// The folder of the repository
    #[arg(long, default_value = ".", value_name = "REPOSITORY")]
    dir: PathBuf,
    /// `<product>-<channel>`
    #[arg(long)]
    role: String,
    /// Target paths, as `check` shows them
    #[arg(required = true)]
    paths: Vec<String>,
    /// How long the list is good for
    #[arg(long, default_value = "90d", value_parser = life)]
    expires: Duration,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        Scene::of_repository(&Folder::of(&self.dir))
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let folder = Folder::of(&self.dir);
        let path = steps::release_remove(&folder, &self.role, &self.paths, self.expires, with.now)?;
        with.console.say(format!("{} waits for signatures", path.display()))?;
        Ok(())
    }
}
