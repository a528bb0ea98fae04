//! `delegate`.

use std::path::PathBuf;
use std::time::Duration;

use waxwing_tuf::author::expiry;

use super::arguments::{HoldersArgument, channel_of, life};
use super::check::show;
use super::{Environment, Failure};
use crate::ceremony::Delegation;
use crate::document::Document;
use crate::folder::Folder;
use crate::transcript::Scene;
use crate::{disk, steps};

/// Let some keys sign the releases of a channel; writes targets.json and the role file, unsigned
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys delegate --dir acme-th1 --role acme-th1-stable --keys 2:a.pub.json,b.pub.json,c.pub.json")]
pub(super) struct Args {
    /// The folder of the repository
    #[arg(long, default_value = ".", value_name = "REPOSITORY")]
    dir: PathBuf,
    /// `<product>-<channel>`
    #[arg(long)]
    role: String,
    /// Who signs releases of the channel: number of signatures and public keys
    #[arg(long, value_name = "N:KEYS")]
    keys: HoldersArgument,
    /// How long targets.json is good for
    #[arg(long, default_value = "365d", value_parser = life)]
    expires: Duration,
    /// How long the role file is good for
    #[arg(long, default_value = "90d", value_parser = life)]
    role_expires: Duration,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        Scene::of_repository(&Folder::of(&self.dir))
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let folder = Folder::of(&self.dir);
        let (product, channel) = channel_of(&folder, &self.role)?;
        let expires = expiry(with.now, self.expires);
        let delegation = Delegation { product, channel, holders: self.keys.read()?, expires };
        let written = steps::delegate(&folder, &delegation, self.role_expires, with.now)?;
        folder.remember(self.keys.files())?;
        for path in written {
            show(&Document::open(&path, None)?, &folder.names(), with)?;
            with.console.say(format!("{} waits for signatures", path.display()))?;
        }
        Ok(())
    }
}
