//! `key new`.

use std::path::PathBuf;

use clap::ValueEnum;
use waxwing_tuf::author::{Algorithm, PublicKeyFile};

use super::arguments::Passphrase;
use super::{Environment, Failure};
use crate::key_file::{self, Cost};
use crate::{disk, steps};

/// Make a key: NAME.key, encrypted, for you alone, and NAME.pub.json to hand over
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: waxwing-keys key new -o alice.key")]
pub(super) struct Args {
    /// Where to write the secret key; must not exist
    #[arg(short, long = "output", value_name = "NAME.key")]
    out: PathBuf,
    /// Which kind of key
    #[arg(long, value_enum, default_value = "ed25519")]
    algorithm: AlgorithmName,
    /// What to call the key when it is shown to people [default: NAME]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    passphrase: Passphrase,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AlgorithmName {
    Ed25519,
    P256,
}

impl Args {
    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        self.passphrase.prepare(with)?;
        let stem = self.out.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let public = self.out.with_extension("pub.json");
        if public.exists() {
            return Err(Failure::Step(steps::Error::Exists(public)));
        }
        let algorithm = match self.algorithm {
            AlgorithmName::Ed25519 => Algorithm::Ed25519,
            AlgorithmName::P256 => Algorithm::EcdsaP256,
        };
        let passphrase = with.console.new_passphrase(&self.out.display().to_string())?;
        let key = key_file::create(&self.out, algorithm, &passphrase, Cost::SECURE, with.random)?;
        let file = PublicKeyFile::of(&key, self.name.as_deref().unwrap_or(&stem));
        let bytes = file.to_bytes().map_err(document_error)?;
        disk::replace(&public, &bytes, |_| Ok::<_, disk::Error>(()))?;
        with.console.say(format!("{} and {}", self.out.display(), public.display()))?;
        with.console.say(format!("fingerprint, to be read aloud: {}", file.fingerprint()))?;
        Ok(())
    }
}

fn document_error(cause: waxwing_tuf::author::Error) -> Failure {
    Failure::Document(cause.into())
}
