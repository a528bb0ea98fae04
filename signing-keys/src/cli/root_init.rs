//! `root init`.

use std::path::PathBuf;
use std::time::Duration;

use waxwing_tuf::author::{Repo, expiry};

use super::arguments::{HoldersArgument, life};
use super::check::show;
use super::{Environment, Failure};
use crate::ceremony::FirstRoot;
use crate::document::Document;
use crate::folder::Folder;
use crate::transcript::Scene;
use crate::{disk, steps};

/// Write the first root of a repository, unsigned
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: the Director's root, with the server's online key and a standby key
  waxwing-keys root init --repo director --root 2:a.pub.json,b.pub.json,c.pub.json \\
      --targets 1:director.pub.json,standby.pub.json --snapshot 1:director.pub.json,standby.pub.json \\
      --timestamp 1:director.pub.json,standby.pub.json -o director/metadata/1.root.json")]
pub(super) struct Args {
    /// `director` or `image/<product>`
    #[arg(long)]
    repo: Repo,
    /// How long the root is good for
    #[arg(long, default_value = "365d", value_parser = life)]
    expires: Duration,
    /// Who signs the next root: number of signatures and public keys
    #[arg(long, value_name = "N:KEYS")]
    root: HoldersArgument,
    /// Who signs targets
    #[arg(long, value_name = "N:KEYS")]
    targets: HoldersArgument,
    /// Who signs snapshots
    #[arg(long, value_name = "N:KEYS")]
    snapshot: HoldersArgument,
    /// Who signs timestamps
    #[arg(long, value_name = "N:KEYS")]
    timestamp: HoldersArgument,
    /// Roots of other repositories, whose keys must not be used, besides those in the same folder
    #[arg(long, value_name = "ROOT")]
    also: Vec<PathBuf>,
    /// Where to write it: REPOSITORY/metadata/1.root.json
    #[arg(short, long = "output", value_name = "1.root.json")]
    out: PathBuf,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        Scene::of_metadata(&self.out)
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let root = FirstRoot {
            repo: self.repo,
            expires: expiry(with.now, self.expires),
            root: self.root.read()?,
            targets: self.targets.read()?,
            snapshot: self.snapshot.read()?,
            timestamp: self.timestamp.read()?,
        };
        let needed = root.root.threshold;
        steps::root_init(&self.out, root, &self.also)?;
        for holders in [&self.root, &self.targets, &self.snapshot, &self.timestamp] {
            Folder::around(&self.out).remember(holders.files())?;
        }
        show(&Document::open(&self.out, None)?, &Folder::around(&self.out).names(), with)?;
        let out = self.out.display();
        with.console.say(format!("{out} needs {needed} signatures: waxwing-keys sign {out}"))?;
        Ok(())
    }
}
