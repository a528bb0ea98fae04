//! `delegate-documents`.

use std::path::PathBuf;
use std::time::Duration;

use waxwing_tuf::author::expiry;

use super::arguments::{HoldersArgument, channel_of, life};
use super::{Environment, Failure};
use crate::ceremony::DocumentsDelegation;
use crate::disk;
use crate::folder::Folder;
use crate::steps::documents::delegate_documents;
use crate::transcript::Scene;

/// Let some keys sign SBOMs and provenance of a channel: the role `<product>-<channel>-docs`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys delegate-documents --dir acme-th1 --role acme-th1-stable")]
pub(super) struct Args {
    /// The folder of the repository
    #[arg(long, default_value = ".", value_name = "REPOSITORY")]
    dir: PathBuf,
    /// `<product>-<channel>`, which must be delegated already
    #[arg(long)]
    role: String,
    /// Who signs: number of signatures and public keys [default: who signs the channel]
    #[arg(long, value_name = "N:KEYS")]
    keys: Option<HoldersArgument>,
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
        let holders = self.keys.as_ref().map(HoldersArgument::read).transpose()?;
        let delegation = DocumentsDelegation { product, channel, holders, expires };
        for path in delegate_documents(&folder, &delegation, self.role_expires, with.now)? {
            with.console.say(format!("{} waits for signatures", path.display()))?;
        }
        Ok(self.keys.map_or(Ok(()), |keys| folder.remember(keys.files()))?)
    }
}
