//! The command line that the suite prescribes (its CLIENT-CLI.md).

use std::path::PathBuf;

use lexopt::Arg::{Long, Value};
use lexopt::{Parser, ValueExt as _};

use crate::Outcome;

/// What to do, and the folder of the trusted metadata.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) metadata: PathBuf,
    pub(crate) command: Command,
}

#[derive(Debug)]
pub(crate) enum Command {
    /// Refresh, then bring targets.
    Download { url: String, targets: Targets },
    /// Begin with this root.
    Init { root: PathBuf },
    /// Bring the top-level metadata up to date.
    Refresh { url: String },
}

/// Which targets to bring, in order, from where to where.
#[derive(Debug)]
pub(crate) struct Targets {
    pub(crate) names: Vec<String>,
    pub(crate) url: String,
    pub(crate) folder: PathBuf,
}

/// Reads the arguments of this process.
pub(crate) fn parse() -> Outcome<Arguments> {
    let mut parser = Parser::from_env();
    let (mut metadata, mut url, mut target_url, mut folder) = (None, None, None, None);
    let mut names = Vec::new();
    let mut words = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("metadata-dir") => metadata = Some(PathBuf::from(parser.value()?)),
            Long("metadata-url") => url = Some(parser.value()?.string()?),
            Long("target-base-url") => target_url = Some(parser.value()?.string()?),
            Long("target-dir") => folder = Some(PathBuf::from(parser.value()?)),
            Long("target-name") => names.push(parser.value()?.string()?),
            Value(word) => words.push(word),
            other @ (Long(_) | lexopt::Arg::Short(_)) => return Err(other.unexpected().into()),
        }
    }
    let mut words = words.into_iter();
    let command = match words.next().ok_or("no command")?.to_str() {
        Some("download") => Command::Download {
            url: url.ok_or("--metadata-url is missing")?,
            targets: Targets {
                names,
                url: target_url.ok_or("--target-base-url is missing")?,
                folder: folder.ok_or("--target-dir is missing")?,
            },
        },
        Some("init") => Command::Init { root: words.next().ok_or("no root")?.into() },
        Some("refresh") => Command::Refresh { url: url.ok_or("--metadata-url is missing")? },
        Some(_) | None => return Err("the command is init, refresh or download".into()),
    };
    Ok(Arguments { metadata: metadata.ok_or("--metadata-dir is missing")?, command })
}
