//! `release add`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use waxwing_secure_boot::Signed;

use super::arguments::{Repository, life};
use super::{Environment, Failure};
use crate::definition::Definition;
use crate::transcript::Scene;
use crate::{disk, release, steps};

/// Put a release on the list of its channel; chip, versions and project are read from the image
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys release add releases/acme-th1/1.4.2.toml --dir acme-th1 --file build/app.bin")]
pub(super) struct Args {
    /// The definition, with product.toml beside it
    definition: PathBuf,
    #[command(flatten)]
    at: Repository,
    /// The image [default: as the definition says]
    #[arg(long)]
    file: Option<PathBuf>,
    /// How many of a thousand devices may install it at most, whatever the server says
    /// [default: as the definition says, or all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=1000))]
    ceiling_permille: Option<u16>,
    /// How long the list is good for
    #[arg(long, default_value = "90d", value_parser = life)]
    expires: Duration,
}

/// Says which Secure Boot keys signed the image.
fn secure_boot(definition: &Definition, image: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(image).map_err(|cause| disk::Error::io("read", image, cause))?;
    let signed = release::signed_by(&bytes).map_err(steps::Error::from)?;
    let keys = &definition.product.secure_boot;
    let lines = signed.iter().map(|Signed { scheme, key_digest }| {
        let standing = match () {
            () if keys.key_digests.contains(key_digest) => "registered",
            () if keys.revoked_key_digests.contains(key_digest) => "revoked",
            () => "not registered",
        };
        format!("signed for Secure Boot with {scheme} by {key_digest} ({standing})")
    });
    let lines: Vec<_> = lines.collect();
    Ok(if lines.is_empty() { "not signed for Secure Boot".to_owned() } else { lines.join("\n") })
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        self.at.scene()
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let mut definition = Definition::read(&self.definition)?;
        let ceiling = &mut definition.release.ceiling_permille;
        *ceiling = self.ceiling_permille.or(*ceiling);
        let image = self.file.or_else(|| definition.release.image.clone());
        let image = image.ok_or(Failure::ImageUnnamed)?;
        let folder = self.at.folder();
        let path = steps::release_add(&folder, &definition, &image, self.expires, with.now)?;
        with.console.say(format!("{} lists {}", path.display(), definition.target()))?;
        with.console.say(secure_boot(&definition, &image)?)?;
        with.console
            .say(format!("it waits for signatures: waxwing-keys sign {}", path.display()))?;
        Ok(())
    }
}
