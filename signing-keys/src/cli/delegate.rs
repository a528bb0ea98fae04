//! `delegate`.

use waxwing_tuf::author::expiry;

use super::arguments::{Delegated, HoldersArgument, channel_of};
use super::check::show;
use super::{Environment, Failure};
use crate::ceremony::Delegation;
use crate::document::Document;
use crate::transcript::Scene;
use crate::{disk, steps};

/// Let some keys sign the releases of a channel; writes targets.json and the role file, unsigned
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys delegate --dir acme-th1 --role acme-th1-stable --keys 2:a.pub.json,b.pub.json,c.pub.json")]
pub(super) struct Args {
    #[command(flatten)]
    of: Delegated,
    /// Who signs releases of the channel: number of signatures and public keys
    #[arg(long, value_name = "N:KEYS")]
    keys: HoldersArgument,
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
        let delegation = Delegation { product, channel, holders: self.keys.read()?, expires };
        let written = steps::delegate(&folder, &delegation, *role_expires, with.now)?;
        folder.remember(self.keys.files())?;
        for path in written {
            show(&Document::open(&path, None)?, &folder.names(), with)?;
            with.say_waiting(&path)?;
        }
        Ok(())
    }
}
