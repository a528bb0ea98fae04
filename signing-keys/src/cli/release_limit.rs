//! `release limit`.

use super::arguments::Listed;
use super::{Environment, Failure};
use crate::transcript::Scene;
use crate::{disk, steps};

/// Change how many of a thousand devices may install releases at most, whatever the server says
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys release limit --dir acme-th1 --role acme-th1-stable --ceiling-permille 200 \
      acme-th1/stable/1.4.2/esp32c3.bin")]
pub(super) struct Args {
    #[command(flatten)]
    listed: Listed,
    /// Of a thousand devices; all of them if it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=1000))]
    ceiling_permille: Option<u16>,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        self.listed.at.scene()
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let Listed { at, role, paths, expires } = &self.listed;
        let limit = (paths.as_slice(), self.ceiling_permille);
        let path = steps::release_limit(&at.folder(), role, limit, *expires, with.now)?;
        with.say_waiting(&path)
    }
}
