//! `transcript verify`.

use std::path::PathBuf;

use super::{Environment, Failure};
use crate::transcript::{Error, Transcript};

/// Check that no line of the transcript was changed and that the files are as it says
///
/// Shows six words that stand for all of it: write them down at the end of the day, and give them
/// to --head the next time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys transcript verify --dir ceremony --head 'abandon ability able about above absent'")]
pub(super) struct Args {
    /// The ceremony folder
    #[arg(long, default_value = ".", value_name = "CEREMONY")]
    dir: PathBuf,
    /// The six words on paper: they must be those of the last line
    #[arg(long, value_name = "WORDS")]
    head: Option<String>,
}

impl Args {
    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let transcript = Transcript::read(&self.dir)?;
        let found = transcript.words();
        if self.head.is_some_and(|head| !head.split_whitespace().eq(found.split(' '))) {
            return Err(Failure::Transcript(Error::Head { found }));
        }
        transcript.compare(&self.dir)?;
        let lines = transcript.lines().len();
        with.console.say(format!("{lines} lines, none changed, and the files are as they say"))?;
        Ok(with.console.say(format!("the last line in words, for the minutes: {found}"))?)
    }
}
