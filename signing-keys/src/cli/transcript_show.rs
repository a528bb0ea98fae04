//! `transcript show`.

use std::path::PathBuf;

use waxwing_tuf::author::printable;

use super::{Environment, Failure};
use crate::transcript::{Change, Line, Outcome, Transcript, Use};

/// Show who did what to which file, and when
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: waxwing-keys transcript show --dir ceremony")]
pub(super) struct Args {
    /// The ceremony folder
    #[arg(long, default_value = ".", value_name = "CEREMONY")]
    dir: PathBuf,
}

impl Args {
    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        for line in Transcript::read(&self.dir)?.lines() {
            for text in describe(line) {
                // What it says came from a file.
                with.console.say(printable(&text))?;
            }
        }
        Ok(())
    }
}

fn describe(line: &Line) -> Vec<String> {
    let ended = match line.outcome {
        Outcome::Begun => ", about to",
        Outcome::Done => "",
        Outcome::Failed => ", which failed",
    };
    let Line { at, by, command, tool, .. } = line;
    let title = format!("{}  {at}  {command}{ended}  by {by}  ({tool})", line.line);
    let keys = line.keys.iter().map(|key| match key.r#use {
        Use::Exposed => format!("     EXPOSED key `{}`", key.fingerprint),
        Use::Made => format!("     made key `{}`", key.fingerprint),
        Use::Signed => format!("     signed with key `{}`", key.fingerprint),
    });
    let files = line.files.iter().map(|change| match change {
        Change { path, before: None, after: Some(after) } => format!("     + {path}  {after}"),
        Change { path, before: Some(_), after: Some(after) } => format!("     ~ {path}  {after}"),
        Change { path, after: None, .. } => format!("     - {path}"),
    });
    [title].into_iter().chain(keys).chain(files).collect()
}
