//! `key expose`.

use std::path::PathBuf;

use waxwing_tuf::author::fingerprint;

use super::arguments::Unlock;
use super::{Environment, Failure, record};
use crate::disk;
use crate::key_file::Seed;
use crate::transcript::{Scene, Use, UsedKey};

/// Write the Director's standby key as a server reads it: 32 bytes, NOT encrypted
///
/// For the day on which the server has lost its key: the file becomes `director.key` among its
/// secrets. Keys in tokens and P-256 keys cannot be exposed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: waxwing-keys key expose standby.key -o director.key")]
pub(super) struct Args {
    /// The encrypted key
    key: PathBuf,
    /// Where to write it; must not exist
    #[arg(short, long = "output", value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    unlock: Unlock,
}

impl Args {
    /// What it may change. Not watched: a file that only holds a secret.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        Scene::of_files(disk::folder(&self.key), Vec::new())
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        self.unlock.prepare(with)?;
        let passphrase = with.console.passphrase(&self.key.display().to_string())?;
        let seed = Seed::open(&self.key, &passphrase)?;
        let used = UsedKey::new(seed.public(), Use::Exposed);
        record::begin(with, Some(&used))?;
        with.keys.push(used);
        seed.write(&self.out)?;
        let (out, words) = (self.out.display(), fingerprint(seed.public()));
        with.console.say(format!("{out} holds a secret that nothing protects: {words}"))?;
        Ok(())
    }
}
