//! `delegate-documents`.

use waxwing_tuf::author::expiry;

use super::arguments::{Delegated, HoldersArgument, channel_of};
use super::{Environment, Failure};
use crate::ceremony::DocumentsDelegation;
use crate::disk;
use crate::steps::documents::delegate_documents;
use crate::transcript::Scene;

/// Let some keys sign SBOMs and provenance of a channel: the role `<product>-<channel>-docs`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys delegate-documents --dir acme-th1 --role acme-th1-stable")]
pub(super) struct Args {
    #[command(flatten)]
    of: Delegated,
    /// Who signs: number of signatures and public keys [default: who signs the channel]
    #[arg(long, value_name = "N:KEYS")]
    keys: Option<HoldersArgument>,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        self.of.at.scene()
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let Delegated { at, role, expires, role_expires } = &self.of;
        let folder = at.folder();
        let (product, channel) = channel_of(&folder, role)?;
        let expires = expiry(with.now, *expires);
        let holders = self.keys.as_ref().map(HoldersArgument::read).transpose()?;
        let delegation = DocumentsDelegation { product, channel, holders, expires };
        for path in delegate_documents(&folder, &delegation, *role_expires, with.now)? {
            with.say_waiting(&path)?;
        }
        Ok(self.keys.map_or(Ok(()), |keys| folder.remember(keys.files()))?)
    }
}
