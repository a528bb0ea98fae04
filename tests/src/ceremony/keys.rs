//! The keys of a ceremony: made by the real tool, or worthless ones made at once.

use std::fs::{self, File};
use std::io::Read as _;

use anyhow::{Context as _, Result};
use serde_json::Value;
use waxwing_keys::key_file::{self, Cost};
use waxwing_keys::secret::Secret;
use waxwing_tuf::author::{Algorithm, PublicKeyFile, SecretKey};

use super::{Ceremony, PASSPHRASE, passphrases};
use crate::process::run;
use crate::program::Program;

impl Ceremony {
    /// Makes a key.
    ///
    /// # Errors
    ///
    /// Fails when there is one of that name.
    pub fn make_key(&self, name: &str) -> Result<()> {
        if self.plan.worthless_keys {
            return self.make_worthless_key(name);
        }
        let mut new = Program::Keys.command()?;
        new.args(["key", "new", "--passphrase-fd", "0", "-o"]).arg(self.secret(name));
        run(&mut new, &passphrases()).with_context(|| format!("key {name}")).map(drop)
    }

    /// Keeps a public key that was made elsewhere, such as the server's.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written.
    pub fn keep_public_key(&self, name: &str, key: &Value) -> Result<()> {
        Ok(fs::write(self.public(name), serde_json::to_vec(key)?)?)
    }

    /// Opens a key, as somebody who stole it with its passphrase would.
    ///
    /// # Errors
    ///
    /// Fails when there is none of that name.
    pub fn open_key(&self, name: &str) -> Result<SecretKey> {
        Ok(key_file::open(&self.secret(name), &Secret::new(PASSPHRASE.to_owned()))?)
    }

    fn make_worthless_key(&self, name: &str) -> Result<()> {
        let mut random = |bytes: &mut [u8]| {
            File::open("/dev/urandom")
                .and_then(|mut random| random.read_exact(bytes))
                .map_err(|_| key_file::Error::Random)
        };
        let passphrase = Secret::new(PASSPHRASE.to_owned());
        let path = self.secret(name);
        let (kind, cost) = (Algorithm::Ed25519, Cost::DANGER_NONE);
        let key = key_file::create(&path, kind, &passphrase, cost, &mut random)?;
        Ok(fs::write(self.public(name), PublicKeyFile::of(&key, name).to_bytes()?)?)
    }
}
