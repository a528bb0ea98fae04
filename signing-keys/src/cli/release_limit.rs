//! `release limit`.

use std::path::PathBuf;
use std::time::Duration;

use super::arguments::life;
use super::{Environment, Failure};
use crate::folder::Folder;
use crate::transcript::Scene;
use crate::{disk, steps};

/// Change how many of a thousand devices may install releases at most, whatever the server says
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys release limit --dir acme-th1 --role acme-th1-stable --ceiling-permille 200 \
      acme-th1/stable/1.4.2/esp32c3.bin")]
pub(super) struct Args {
    /// The folder of the repository
    #[arg(long, default_value = ".", value_name = "REPOSITORY")]
    dir: PathBuf,
    /// `<product>-<channel>`
    #[arg(long)]
    role: String,
    /// Of a thousand devices; all of them if it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=1000))]
    ceiling_permille: Option<u16>,
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
        let limit = (self.paths.as_slice(), self.ceiling_permille);
        let path = steps::release_limit(&folder, &self.role, limit, self.expires, with.now)?;
        with.console.say(format!("{} waits for signatures", path.display()))?;
        Ok(())
    }
}
