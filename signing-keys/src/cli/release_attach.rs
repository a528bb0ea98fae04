//! `release attach`.

use std::path::PathBuf;
use std::time::Duration;

use semver::Version;

use super::arguments::{Repository, channel_of, life};
use super::{Environment, Failure};
use crate::disk;
use crate::steps::documents::{Attachment, release_attach};
use crate::transcript::Scene;

/// Attach SBOM and provenance to a release; devices never fetch them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys release attach --dir acme-th1 --role acme-th1-stable --version 1.4.2 \\
      --sbom th1.cdx.json --provenance th1.intoto.jsonl")]
pub(super) struct Args {
    #[command(flatten)]
    at: Repository,
    /// `<product>-<channel>`, the role that lists the release
    #[arg(long)]
    role: String,
    /// The version of the release
    #[arg(long, value_parser = version)]
    version: Version,
    /// An SBOM: `CycloneDX` 1.4 to 1.6 or SPDX 2.3, JSON
    #[arg(long, value_name = "FILE", required_unless_present = "provenance")]
    sbom: Vec<PathBuf>,
    /// SLSA v1 provenance: in-toto statements in DSSE envelopes, one on each line
    #[arg(long, value_name = "FILE")]
    provenance: Option<PathBuf>,
    /// How long the list of documents is good for
    #[arg(long, default_value = "90d", value_parser = life)]
    expires: Duration,
}

fn version(text: &str) -> Result<Version, String> {
    text.parse().map_err(|error: semver::Error| error.to_string())
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        self.at.scene()
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let folder = self.at.folder();
        let (product, channel) = channel_of(&folder, &self.role)?;
        let files: Vec<_> = self.sbom.into_iter().chain(self.provenance).collect();
        let (product, channel, version) = (&product, &channel, &self.version);
        let attachment = Attachment { product, channel, version, files: &files };
        let (path, formats) = release_attach(&folder, &attachment, self.expires, with.now)?;
        let formats: Vec<_> = formats.iter().map(ToString::to_string).collect();
        with.console.say(format!("{} lists {}", path.display(), formats.join(", ")))?;
        with.console
            .say(format!("it waits for signatures: waxwing-keys sign {}", path.display()))?;
        Ok(())
    }
}
