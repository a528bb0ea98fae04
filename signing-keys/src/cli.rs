//! The command line: one file per command, each with its arguments and a `run`.
//!
//! Commands ask, show and call the library; they decide nothing.

mod arguments;
mod check;
mod delegate;
mod delegate_documents;
mod key_expose;
mod key_new;
mod key_pub;
mod publish;
mod record;
mod release_add;
mod release_attach;
mod release_limit;
mod release_remove;
mod renew;
mod root_init;
mod root_rotate;
mod sign;
mod transcript_show;
mod transcript_verify;
mod trust_server_ca;

use std::io;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use waxwing_tuf::Time;

use crate::console::Console;
use crate::token::{self, uri};
use crate::transcript::UsedKey;
use crate::{definition, disk, document, folder, key_file, steps, transcript, upload};

/// Make keys, hold key ceremonies, sign and publish releases.
///
/// Every step reads and writes plain TUF files; any of them can be done on another machine, by
/// another person, in any order. What is written is first read back by the verifier devices run.
#[derive(Debug, Parser)]
#[command(name = "waxwing-keys", version, after_help = EXAMPLES)]
pub struct Cli {
    /// Who you are, for the transcript
    #[arg(long, global = true, value_name = "NAME", env = "USER", default_value = "somebody")]
    by: String,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Example: a product with two of three keys for root, and a first release
  waxwing-keys key new -o alice.key                       (each holder, on their own machine)
  waxwing-keys root init --repo image/acme-th1 --root 2:alice.pub.json,bob.pub.json,carol.pub.json \\
      --targets 2:at.pub.json,bt.pub.json,ct.pub.json --snapshot 1:s.pub.json \\
      --timestamp 1:t.pub.json -o acme-th1/metadata/1.root.json
  waxwing-keys sign acme-th1/metadata/1.root.json --key alice.key
  waxwing-keys sign acme-th1/metadata/1.root.json --key bob.key
  waxwing-keys delegate --dir acme-th1 --role acme-th1-stable --keys 2:ar.pub.json,br.pub.json
  waxwing-keys release add releases/acme-th1/1.0.0.toml --dir acme-th1 --file app.bin
  waxwing-keys sign acme-th1/metadata/acme-th1-stable.json --key ar.key
  waxwing-keys publish --dir acme-th1 --snapshot-key s.key --timestamp-key t.key \\
      --server https://ota.example:8445 --server-ca server-ca.pem --token-file token

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.";

/// What a command has of the world.
pub struct Environment<'a> {
    now: Time,
    random: &'a mut Random<'a>,
    console: &'a mut Console,
    /// The keys that were made or used so far, for the transcript.
    keys: Vec<UsedKey>,
    page: Option<record::Page>,
}

impl Environment<'_> {
    fn say_waiting(&self, file: &Path) -> Result<(), Failure> {
        Ok(self.console.say(format!("{} waits for signatures", file.display()))?)
    }
}

/// Fills bytes with randomness.
pub type Random<'a> = dyn FnMut(&mut [u8]) -> Result<(), key_file::Error> + 'a;

impl<'a> Environment<'a> {
    /// Gives a command the time, a source of randomness and somebody to talk to.
    pub fn new(now: Time, random: &'a mut Random<'a>, console: &'a mut Console) -> Self {
        Self { now, random, console, keys: Vec::new(), page: None }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Delegate(delegate::Args),
    DelegateDocuments(delegate_documents::Args),
    /// Make a key, show its public half, or give it to a server.
    #[command(subcommand)]
    Key(Key),
    Publish(publish::Args),
    /// Put a release on the list of its channel, or take it off.
    #[command(subcommand)]
    Release(Release),
    Renew(renew::Args),
    /// Write the first root of a repository, or the next one.
    #[command(subcommand)]
    Root(Root),
    Sign(sign::Args),
    /// Read or check the transcript that every step adds a line to.
    #[command(subcommand)]
    Transcript(Transcript),
    /// Say by what devices know their server.
    #[command(subcommand)]
    Trust(Trust),
}

#[derive(Debug, Subcommand)]
enum Key {
    Expose(key_expose::Args),
    New(key_new::Args),
    Pub(key_pub::Args),
}

#[derive(Debug, Subcommand)]
enum Release {
    Add(release_add::Args),
    Attach(release_attach::Args),
    Limit(release_limit::Args),
    Remove(release_remove::Args),
}

#[derive(Debug, Subcommand)]
enum Root {
    Init(root_init::Args),
    Rotate(root_rotate::Args),
}

#[derive(Debug, Subcommand)]
enum Transcript {
    Show(transcript_show::Args),
    Verify(transcript_verify::Args),
}

#[derive(Debug, Subcommand)]
enum Trust {
    ServerCa(trust_server_ca::Args),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// [`Failure`] says why it did not do what it should.
    pub fn run(self, environment: &mut Environment<'_>) -> Result<(), Failure> {
        record::run(self.command, self.by, environment)
    }
}

impl Command {
    fn run(self, environment: &mut Environment<'_>) -> Result<(), Failure> {
        match self {
            Self::Check(args) => args.run(environment),
            Self::Delegate(args) => args.run(environment),
            Self::Key(Key::Expose(args)) => args.run(environment),
            Self::DelegateDocuments(args) => args.run(environment),
            Self::Key(Key::New(args)) => args.run(environment),
            Self::Key(Key::Pub(args)) => args.run(environment),
            Self::Publish(args) => args.run(environment),
            Self::Release(Release::Add(args)) => args.run(environment),
            Self::Release(Release::Attach(args)) => args.run(environment),
            Self::Release(Release::Limit(args)) => args.run(environment),
            Self::Release(Release::Remove(args)) => args.run(environment),
            Self::Renew(args) => args.run(environment),
            Self::Root(Root::Init(args)) => args.run(environment),
            Self::Root(Root::Rotate(args)) => args.run(environment),
            Self::Sign(args) => args.run(environment),
            Self::Transcript(Transcript::Show(args)) => args.run(environment),
            Self::Transcript(Transcript::Verify(args)) => args.run(environment),
            Self::Trust(Trust::ServerCa(args)) => args.run(environment),
        }
    }
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Somebody said no.
    #[error("not signed, as you wish")]
    Declined,
    /// A definition could not be read.
    #[error(transparent)]
    Definition(#[from] definition::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A file could not be judged or signed.
    #[error(transparent)]
    Document(#[from] document::Error),
    /// The folder is not in order.
    #[error(transparent)]
    Folder(#[from] folder::Error),
    /// There is no image to look at.
    #[error("the definition does not say where the image is; name it with --file")]
    ImageUnnamed,
    /// A key could not be made or opened.
    #[error(transparent)]
    Key(#[from] key_file::Error),
    /// Not the name of a key in a token.
    #[error(transparent)]
    KeyUri(uri::Malformed),
    /// The public half of a key could not be read.
    #[error("{} is no public key file", path.display())]
    PublicKey {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: waxwing_tuf::author::Error,
    },
    /// The repository is not ready.
    #[error(transparent)]
    Publish(#[from] crate::publish::Error),
    /// A step could not be taken.
    #[error(transparent)]
    Step(#[from] steps::Error),
    /// The person could not be asked or told.
    #[error("cannot talk to you")]
    Terminal(#[from] io::Error),
    /// A token could not be used.
    #[error(transparent)]
    Token(#[from] token::Error),
    /// The transcript cannot be relied on, or not be written.
    #[error(transparent)]
    Transcript(#[from] transcript::Error),
    /// The server did not take it.
    #[error(transparent)]
    Upload(#[from] upload::Error),
}
