//! `root rotate`.

use std::path::PathBuf;
use std::time::Duration;

use waxwing_tuf::author::expiry;

use super::arguments::{life, public_keys};
use super::check::show;
use super::{Environment, Failure};
use crate::ceremony::RootChange;
use crate::document::Document;
use crate::folder::Folder;
use crate::transcript::Scene;
use crate::{disk, steps};

/// Write the root that follows, with other keys or a later expiry, unsigned
///
/// It needs signatures of the quorum of the old root and of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys root rotate --from acme-th1/metadata/1.root.json \\
      --remove carol.pub.json --add dave.pub.json -o acme-th1/metadata/2.root.json")]
pub(super) struct Args {
    /// The root to follow
    #[arg(long, value_name = "N.root.json")]
    from: PathBuf,
    /// The roles whose keys change
    #[arg(long = "role", default_value = "root", value_name = "ROLE")]
    roles: Vec<String>,
    /// Public keys that leave these roles
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    remove: Vec<PathBuf>,
    /// Public keys that join these roles
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    add: Vec<PathBuf>,
    /// How many signatures these roles need [default: as before]
    #[arg(long)]
    threshold: Option<u32>,
    /// How long the new root is good for
    #[arg(long, default_value = "365d", value_parser = life)]
    expires: Duration,
    /// Roots of other repositories, whose keys must not be used, besides those in the same folder
    #[arg(long, value_name = "ROOT")]
    also: Vec<PathBuf>,
    /// Where to write it, beside the old one
    #[arg(short, long = "output", value_name = "N.root.json")]
    out: PathBuf,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        Scene::of_metadata(&self.out)
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let change = RootChange {
            roles: self.roles,
            remove: public_keys(&self.remove)?,
            add: public_keys(&self.add)?,
            threshold: self.threshold,
            expires: expiry(with.now, self.expires),
        };
        steps::root_rotate(&self.from, &self.out, &change, &self.also)?;
        Folder::around(&self.out).remember(&self.add)?;
        let document = Document::open(&self.out, Some(&self.from))?;
        show(&document, &Folder::around(&self.out).names(), with)?;
        let out = self.out.display();
        with.console.say(format!(
            "{out} needs the signatures of the old and the new quorum: waxwing-keys sign {out}"
        ))?;
        Ok(())
    }
}
