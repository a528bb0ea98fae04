//! Arguments that several commands share.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use waxwing_tuf::author::{PublicKeyFile, Signer};
use waxwing_tuf::key::PublicKey;
use waxwing_wire::{Channel, ProductId};

use super::{Environment, Failure};
use crate::ceremony::{Holders, product_of};
use crate::folder::Folder;
use crate::token::uri::{KeyUri, Malformed, SCHEME};
use crate::token::{self, ID_BYTES, Token};
use crate::transcript::{Scene, Use, UsedKey};
use crate::{disk, key_file, steps};

/// Names a secret key: a file, or a key in a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum KeyName {
    File(PathBuf),
    /// Judged when the key is opened: clap would repeat what is wrong, and that may be a PIN.
    Token(Result<KeyUri, Malformed>),
}

impl KeyName {
    /// Returns what the key is called if nobody says otherwise.
    pub(super) fn stem(&self) -> String {
        match self {
            Self::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Token(uri) => {
                uri.as_ref().map_or_else(|_| String::new(), |uri| uri.object.clone())
            }
        }
    }
}

impl FromStr for KeyName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text.starts_with(SCHEME) {
            Self::Token(text.parse())
        } else {
            Self::File(PathBuf::from(text))
        })
    }
}

/// How to open keys.
#[derive(Debug, clap::Args)]
pub(super) struct Unlock {
    /// Read passphrases, PINs and answers from this open file descriptor, one per line, instead of
    /// the terminal
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
    /// Read the PIN of the token from the first line of this file, which only you may read
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// The PKCS#11 module of the token, by its absolute path
    #[arg(
        long,
        visible_alias = "pkcs11",
        value_name = "MODULE",
        env = "WAXWING_PKCS11_MODULE",
        hide_env_values = true
    )]
    pkcs11_module: Option<PathBuf>,
}

impl Unlock {
    /// Opens a key to sign with.
    pub(super) fn open(
        &self,
        key: &KeyName,
        with: &mut Environment<'_>,
    ) -> Result<Box<dyn Signer>, Failure> {
        let signer = self.fetch(key, with)?;
        with.keys.push(UsedKey::new(signer.public(), Use::Signed));
        Ok(signer)
    }

    /// Reads the public half of a key; one in a token proves that it has the secret half.
    pub(super) fn public(
        &self,
        key: &KeyName,
        with: &mut Environment<'_>,
    ) -> Result<PublicKey, Failure> {
        match key {
            KeyName::File(_) => Ok(self.fetch(key, with)?.public().clone()),
            KeyName::Token(uri) => {
                let uri = uri.as_ref().map_err(|cause| Failure::KeyUri(*cause))?;
                let mut challenge = [0; ID_BYTES];
                (with.random)(&mut challenge)?;
                Ok(self.token(uri, with)?.proven(&uri.object, challenge)?.public().clone())
            }
        }
    }

    /// Finds a token and logs in, unless an earlier key of this command has.
    pub(super) fn token(&self, uri: &KeyUri, with: &mut Environment<'_>) -> Result<Token, Failure> {
        self.prepare(with)?;
        let token = self.reach(uri)?;
        if token.needs_pin()? {
            let tries = token.tries()?;
            let pin = match &self.pin_file {
                Some(path) => disk::read_secret_line(path)?,
                None => with.console.pin(&format!("token `{}`{tries}", uri.token))?,
            };
            token.login(&pin)?;
        }
        Ok(token)
    }

    /// Opens a key that nothing is signed with yet.
    pub(super) fn fetch(
        &self,
        key: &KeyName,
        with: &mut Environment<'_>,
    ) -> Result<Box<dyn Signer>, Failure> {
        self.prepare(with)?;
        match key {
            KeyName::File(path) => {
                let passphrase = with.console.passphrase(&path.display().to_string())?;
                Ok(Box::new(key_file::open(path, &passphrase)?))
            }
            KeyName::Token(uri) => {
                let uri = uri.as_ref().map_err(|cause| Failure::KeyUri(*cause))?;
                Ok(Box::new(self.token(uri, with)?.signer(&uri.object)?))
            }
        }
    }

    fn reach(&self, uri: &KeyUri) -> Result<Token, Failure> {
        let module = uri.module.as_ref().or(self.pkcs11_module.as_ref());
        let module = module.ok_or(token::Error::ModuleUnnamed)?;
        Ok(Token::open(module, &uri.token, uri.serial.as_deref())?)
    }

    /// Makes the console read from the descriptor, if there is one.
    pub(super) fn prepare(&self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let Some(descriptor) = self.passphrase_fd else { return Ok(()) };
        Ok(with.console.read_passphrases_from(descriptor)?)
    }
}

/// The repository that a command works on.
#[derive(Debug, clap::Args)]
pub(super) struct Repository {
    /// The folder of the repository
    #[arg(long, default_value = ".", value_name = "REPOSITORY")]
    dir: PathBuf,
}

impl Repository {
    /// Names its folder.
    pub(super) fn folder(&self) -> Folder {
        Folder::of(&self.dir)
    }

    /// What a command that works on it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        Scene::of_repository(&self.folder())
    }
}

/// Releases on the list of a channel.
#[derive(Debug, clap::Args)]
pub(super) struct Listed {
    #[command(flatten)]
    pub(super) at: Repository,
    /// `<product>-<channel>`
    #[arg(long)]
    pub(super) role: String,
    /// Target paths, as `check` shows them
    #[arg(required = true)]
    pub(super) paths: Vec<String>,
    /// How long the list is good for
    #[arg(long, default_value = "90d", value_parser = life)]
    pub(super) expires: Duration,
}

/// A channel to delegate something of.
#[derive(Debug, clap::Args)]
pub(super) struct Delegated {
    #[command(flatten)]
    pub(super) at: Repository,
    /// `<product>-<channel>`
    #[arg(long)]
    pub(super) role: String,
    /// How long targets.json is good for
    #[arg(long, default_value = "365d", value_parser = life)]
    pub(super) expires: Duration,
    /// How long the role file is good for
    #[arg(long, default_value = "90d", value_parser = life)]
    pub(super) role_expires: Duration,
}

/// `2:alice.pub.json,bob.pub.json`: how many of which keys must sign.
#[derive(Clone, Debug)]
pub(super) struct HoldersArgument {
    threshold: u32,
    files: Vec<PathBuf>,
}

impl HoldersArgument {
    /// Returns the key files.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Reads the key files.
    pub(super) fn read(&self) -> Result<Holders, Failure> {
        Ok(Holders { threshold: self.threshold, keys: public_keys(&self.files)? })
    }
}

impl FromStr for HoldersArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "give a number of signatures and public key files, such as \
                            2:alice.pub.json,bob.pub.json,carol.pub.json";
        let (threshold, files) = text.split_once(':').ok_or(FORM)?;
        let threshold = threshold.parse().map_err(|_| FORM)?;
        let files: Vec<_> = files.split(',').map(PathBuf::from).collect();
        if files.iter().any(|file| file.as_os_str().is_empty()) {
            Err(FORM)
        } else {
            Ok(Self { threshold, files })
        }
    }
}

/// Reads the role of a channel, `<product>-<channel>`, of the product whose repository this is.
pub(super) fn channel_of(folder: &Folder, role: &str) -> Result<(ProductId, Channel), Failure> {
    let repo = folder.roots()?.repo;
    let product = product_of(&repo).ok_or(steps::Error::OtherRepo(repo))?;
    let channel = role.strip_prefix(product.as_str()).and_then(|rest| rest.strip_prefix('-'));
    match channel.map(Channel::parse) {
        Some(Ok(channel)) => Ok((product, channel)),
        None | Some(Err(_)) => {
            Err(steps::Error::RoleName { role: role.to_owned(), product }.into())
        }
    }
}

/// Reads public key files.
pub(super) fn public_keys(files: &[PathBuf]) -> Result<Vec<PublicKey>, Failure> {
    let key = |path: &PathBuf| {
        let file = PublicKeyFile::parse(&disk::read(path)?);
        let key = file.and_then(|file| file.public());
        key.map_err(|cause| Failure::PublicKey { path: path.clone(), cause })
    };
    files.iter().map(key).collect()
}

/// A life such as `365d`.
pub(super) fn life(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}
