//! `trust server-ca`.

use std::path::PathBuf;
use std::time::Duration;

use super::arguments::{Repository, life};
use super::{Environment, Failure};
use crate::transcript::Scene;
use crate::{disk, steps};

/// Say by which CA certificates devices know their server; to replace a CA, list the old and the new
/// one until every device has them, then the new one alone
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: cat old/server-ca.pem new/server-ca.pem > both.pem
         waxwing-keys trust server-ca --dir acme-th1 --file both.pem")]
pub(super) struct Args {
    #[command(flatten)]
    at: Repository,
    /// The certificates, PEM, one after the other
    #[arg(long)]
    file: PathBuf,
    /// How long targets.json is good for
    #[arg(long, default_value = "365d", value_parser = life)]
    expires: Duration,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        self.at.scene()
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let folder = self.at.folder();
        let trusted = steps::trust_server_ca(&folder, &self.file, self.expires, with.now)?;
        for name in &trusted.names {
            with.console.say(format!("devices will know a server of the CA: {name}"))?;
        }
        let path = trusted.path.display();
        with.console.say(format!("{path} waits for signatures: waxwing-keys sign {path}"))?;
        Ok(())
    }
}
