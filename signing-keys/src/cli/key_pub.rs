//! `key pub`.

use std::path::PathBuf;

use waxwing_tuf::author::PublicKeyFile;

use super::arguments::{KeyName, Unlock};
use super::{Environment, Failure};
use crate::disk;
use crate::transcript::Scene;

/// Show the public half of a key and its fingerprint, or write it to a file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys key pub alice.key -o alice.pub.json
         waxwing-keys key pub 'pkcs11:token=ota;object=root-alice' -o root-alice.pub.json
A key in a token signs a challenge first, so its PIN is needed.")]
pub(super) struct Args {
    /// The secret key: a file or `pkcs11:token=TOKEN;object=LABEL`
    key: KeyName,
    /// Where to write the public half [default: standard output]
    #[arg(short, long = "output", value_name = "FILE")]
    out: Option<PathBuf>,
    /// What to call the key when it is shown to people [default: name of the file or label]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    unlock: Unlock,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Option<Result<Scene, disk::Error>> {
        let out = self.out.as_ref()?;
        Some(Scene::of_files(disk::folder(out), vec![out.clone()]))
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let key = self.unlock.public(&self.key, with)?;
        let stem = self.key.stem();
        let file = PublicKeyFile::new(&key, self.name.as_deref().unwrap_or(&stem));
        let bytes = file.to_bytes().map_err(|cause| Failure::Document(cause.into()))?;
        match &self.out {
            Some(out) => {
                disk::replace(out, &bytes, |_| Ok::<_, disk::Error>(()))?;
                with.console
                    .say(format!("fingerprint, to be read aloud: {}", file.fingerprint()))?;
            }
            None => with.console.say(String::from_utf8_lossy(&bytes).trim_end())?,
        }
        Ok(())
    }
}
