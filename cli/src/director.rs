//! `waxwing director`: the signer that tells each device what to run.

use std::path::PathBuf;

use clap::Subcommand;

use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::output::{self, Output};

/// Subcommands of `waxwing director`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Give the server the Director's root, made in a ceremony for its online key.
    #[command(after_help = "Example:\n  waxwing director import director/metadata/1.root.json")]
    Import {
        /// The signed root metadata; a later root follows the one before it.
        root: PathBuf,
    },
    /// Print the public half of its online key as a file that a ceremony takes.
    #[command(after_help = "Example:\n  waxwing director key > director.pub.json")]
    Key,
    /// Show its online key and its root.
    Show,
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Import { root } => {
            let answer = api.put_bytes("director/root", input::file(&root)?).await?;
            out.done("imported the Director's root", &answer)
        }
        Command::Key => {
            let director = api.get("director", &[]).await?;
            let key = director.get("public_key");
            output::json(key.ok_or_else(|| Error::Answer("it has no `public_key`".to_owned()))?)
        }
        Command::Show => out.one(&api.get("director", &[]).await?),
    }
}
