//! `key new`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use waxwing_tuf::author::{Algorithm, PublicKeyFile, Signer as _, fingerprint};

use super::arguments::Unlock;
use super::{Environment, Failure, record};
use crate::key_file::{self, Cost};
use crate::token::ID_BYTES;
use crate::token::uri::KeyUri;
use crate::transcript::{Scene, Use, UsedKey};
use crate::{disk, steps};

/// Make a key: NAME.key, encrypted, for you alone, and NAME.pub.json to hand over; or one that
/// never leaves a token
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys key new -o alice.key
         waxwing-keys key new --pkcs11 /usr/lib/softhsm/libsofthsm2.so --token ota --label root-alice
The public half of a key in a token is written by `waxwing-keys key pub`.")]
pub(super) struct Args {
    /// Where to write the secret key; must not exist
    #[arg(
        short,
        long = "output",
        value_name = "NAME.key",
        required_unless_present = "token",
        conflicts_with = "token"
    )]
    out: Option<PathBuf>,
    /// Which kind of key
    #[arg(long, visible_alias = "alg", value_enum, default_value = "ed25519")]
    algorithm: AlgorithmName,
    /// What to call the key when it is shown to people [default: NAME]
    #[arg(long, conflicts_with = "token")]
    name: Option<String>,
    /// Make it in the token of this label
    #[arg(long, requires = "label")]
    token: Option<String>,
    /// What to call it there
    #[arg(long, requires = "token")]
    label: Option<String>,
    #[command(flatten)]
    unlock: Unlock,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AlgorithmName {
    Ed25519,
    P256,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        match &self.out {
            Some(out) => Scene::of_files(
                disk::folder(out),
                vec![out.clone(), out.with_extension("pub.json")],
            ),
            None => Scene::of_files(Path::new("."), Vec::new()),
        }
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        self.unlock.prepare(with)?;
        let algorithm = match self.algorithm {
            AlgorithmName::Ed25519 => Algorithm::Ed25519,
            AlgorithmName::P256 => Algorithm::EcdsaP256,
        };
        if let (Some(token), Some(label)) = (&self.token, &self.label) {
            return self.in_token(&KeyUri::new(token, label), algorithm, with);
        }
        // Without a token clap insists on it.
        self.in_file(&self.out.clone().unwrap_or_default(), algorithm, with)
    }

    fn in_file(
        &self,
        out: &Path,
        algorithm: Algorithm,
        with: &mut Environment<'_>,
    ) -> Result<(), Failure> {
        let stem = out.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let public = out.with_extension("pub.json");
        if public.exists() {
            return Err(Failure::Step(steps::Error::Exists(public)));
        }
        let passphrase = with.console.new_passphrase(&out.display().to_string())?;
        let key = key_file::create(out, algorithm, &passphrase, Cost::SECURE, with.random)?;
        with.keys.push(UsedKey::new(key.public(), Use::Made));
        let file = PublicKeyFile::of(&key, self.name.as_deref().unwrap_or(&stem));
        let bytes = file.to_bytes().map_err(document_error)?;
        disk::replace(&public, &bytes, |_| Ok::<_, disk::Error>(()))?;
        with.console.say(format!("{} and {}", out.display(), public.display()))?;
        with.console.say(format!("fingerprint, to be read aloud: {}", file.fingerprint()))?;
        Ok(())
    }

    fn in_token(
        &self,
        uri: &KeyUri,
        algorithm: Algorithm,
        with: &mut Environment<'_>,
    ) -> Result<(), Failure> {
        let mut id = [0; ID_BYTES];
        (with.random)(&mut id)?;
        let token = self.unlock.token(uri, with)?;
        record::begin(with, None)?;
        let key = token.create(&uri.object, algorithm, id)?;
        with.keys.push(UsedKey::new(key.public(), Use::Made));
        with.console.say(format!("made in the token, for good: {uri}"))?;
        let words = fingerprint(key.public());
        with.console.say(format!("fingerprint, to be read aloud: {words}"))?;
        let object = &uri.object;
        with.console
            .say(format!("to hand over: waxwing-keys key pub '{uri}' -o {object}.pub.json"))?;
        Ok(())
    }
}

fn document_error(cause: waxwing_tuf::author::Error) -> Failure {
    Failure::Document(cause.into())
}
