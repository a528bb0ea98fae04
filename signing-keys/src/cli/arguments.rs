//! Arguments that several commands share.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use waxwing_tuf::author::{PublicKeyFile, SecretKey};
use waxwing_tuf::key::PublicKey;
use waxwing_wire::id::InvalidName;
use waxwing_wire::{Channel, ProductId};

use super::{Environment, Failure};
use crate::ceremony::Holders;
use crate::{disk, key_file};

/// How to open key files.
#[derive(Debug, clap::Args)]
pub(super) struct Passphrase {
    /// Read passphrases from this open file descriptor, one per line, instead of the terminal
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
}

impl Passphrase {
    /// Opens a key file.
    pub(super) fn open(
        &self,
        path: &Path,
        with: &mut Environment<'_>,
    ) -> Result<SecretKey, Failure> {
        self.prepare(with)?;
        let passphrase = with.console.passphrase(&path.display().to_string())?;
        Ok(key_file::open(path, &passphrase)?)
    }

    /// Makes the console read from the descriptor, if there is one.
    pub(super) fn prepare(&self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let Some(descriptor) = self.passphrase_fd else { return Ok(()) };
        Ok(with.console.read_passphrases_from(descriptor)?)
    }
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

/// The role of a channel, `<product>-<channel>`.
pub(super) fn channel_of(role: &str, product: &ProductId) -> Option<Result<Channel, InvalidName>> {
    role.strip_prefix(product.as_str())?.strip_prefix('-').map(Channel::parse)
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
