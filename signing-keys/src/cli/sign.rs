//! `sign`.

use std::path::PathBuf;

use super::arguments::{KeyName, Unlock};
use super::check::show_to_signer;
use super::{Environment, Failure};
use crate::disk;
use crate::document::Document;
use crate::folder::Folder;
use crate::transcript::{Scene, Use, UsedKey};

/// Show what a file changes since the last version this key signed, and add one signature to it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys sign acme-th1/metadata/1.root.json --key alice.key
         waxwing-keys sign acme-th1/metadata/1.root.json --key 'pkcs11:token=ota;object=root-alice'")]
pub(super) struct Args {
    /// The file; the files it depends on lie beside it
    file: PathBuf,
    /// The secret key to sign with: a file or `pkcs11:token=TOKEN;object=LABEL`
    #[arg(long)]
    key: KeyName,
    /// The version before it, if that lies elsewhere
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    unlock: Unlock,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        Scene::of_metadata(&self.file)
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let mut document = Document::open(&self.file, self.previous.as_deref())?;
        // First the key: what is shown depends on what it has signed before.
        let key = self.unlock.fetch(&self.key, with)?;
        document.check_asked(key.public())?;
        let names = Folder::around(&self.file).names();
        show_to_signer(&document, key.public(), &names, with)?;
        let question = format!("Sign {}?", self.file.display());
        if !self.yes && !with.console.confirm(&question)? {
            return Err(Failure::Declined);
        }
        with.keys.push(UsedKey::new(key.public(), Use::Signed));
        document.sign(key.as_ref())?;
        for progress in document.progress()? {
            with.console.say(progress.to_string())?;
        }
        Ok(())
    }
}
