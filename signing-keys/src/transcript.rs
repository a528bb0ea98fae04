//! The transcript of a ceremony: who did what to which file with which key, one line of JSON each.
//!
//! Every line carries the SHA-256 of the line before it, so none can be changed, dropped or put in
//! without changing all that follow. The six words of the last line, written on paper by those who
//! were there, fix the whole of it. Not here: secrets of any kind, and images, whose hashes are in
//! the role files that list them.

mod scene;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use waxwing_tuf::Time;
use waxwing_tuf::author::{fingerprint, words};
use waxwing_tuf::key::PublicKey;
use waxwing_wire::Digest;

pub use self::scene::Scene;
use crate::disk;

/// Name of the file, in the ceremony folder.
pub const FILE_NAME: &str = "transcript.jsonl";

/// Longest transcript read, in bytes: some twenty thousand steps.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the first line has for a line before it.
const NOTHING_BEFORE: Digest = Digest([0; 32]);

/// One step of a ceremony.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Number of the line, from 1.
    pub line: u64,
    /// When, by the clock of that machine.
    pub at: Time,
    /// Who, as they said themselves; the keys tell more.
    pub by: String,
    /// Name and version of the program.
    pub tool: String,
    /// Which command, without its arguments.
    pub command: String,
    /// Whether it went well; a command that failed may have written something before.
    pub outcome: Outcome,
    /// The keys that were made, signed with or exposed.
    pub keys: Vec<UsedKey>,
    /// The files that are not what they were before.
    pub files: Vec<Change>,
    /// SHA-256 of the line before, without its end.
    pub previous: Digest,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was about to do what leaves no trace in any file; a later line says how that ended, if
    /// that could still be written down.
    Begun,
    /// As it should.
    Done,
    /// With an error.
    Failed,
}

/// A key that took part.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UsedKey {
    /// Its six words.
    pub fingerprint: String,
    /// Its id in metadata.
    pub key_id: String,
    /// What it was used for.
    pub r#use: Use,
}

/// What a key was used for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Its secret was written down unencrypted.
    Exposed,
    /// It was made.
    Made,
    /// It was opened to sign.
    Signed,
}

impl UsedKey {
    /// Describes a key.
    pub fn new(key: &PublicKey, r#use: Use) -> Self {
        Self { fingerprint: fingerprint(key), key_id: key.key_id(), r#use }
    }
}

/// A file before and after, by its SHA-256; `None` where there is no file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Its path below the ceremony folder, or all of it.
    pub path: String,
    /// Before.
    pub before: Option<Digest>,
    /// After.
    pub after: Option<Digest>,
}

/// What is to be written down.
#[derive(Clone, Debug)]
pub struct Step {
    /// When.
    pub at: Time,
    /// Who.
    pub by: String,
    /// Which command.
    pub command: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// With which keys.
    pub keys: Vec<UsedKey>,
    /// What it changed.
    pub files: Vec<Change>,
}

/// A transcript whose lines follow each other without a break.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    lines: Vec<Line>,
    head: Option<Digest>,
}

impl Transcript {
    /// Reads the transcript of a ceremony folder; one that was never begun is empty.
    ///
    /// # Errors
    ///
    /// [`Error`] names the first line that does not follow the one before.
    pub fn read(ceremony: &Path) -> Result<Self, Error> {
        let path = ceremony.join(FILE_NAME);
        match File::open(&path) {
            Ok(mut file) => Self::parse(&path, &mut file),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(cause) => Err(disk::Error::io("read", &path, cause).into()),
        }
    }

    /// Adds a line, and waits until the disk has it.
    ///
    /// # Errors
    ///
    /// [`Error`] when the transcript is broken or cannot be written.
    pub fn append(ceremony: &Path, step: Step) -> Result<(), Error> {
        let path = ceremony.join(FILE_NAME);
        let io = |cause| Error::Disk(disk::Error::io("write", &path, cause));
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let file = file.as_mut().map_err(|cause| io(io::Error::from(cause.kind())))?;
        // Two programs at once would both follow the same line.
        file.lock().map_err(io)?;
        let before = Self::parse(&path, file)?;
        let mut line =
            serde_json::to_vec(&before.next(step)).map_err(io::Error::from).map_err(io)?;
        line.push(b'\n');
        let length = file.metadata().map_err(io)?.len();
        let written = file.write_all(&line).and_then(|()| file.sync_all());
        written.map_err(|cause| {
            // On a full disk no half a line shall be in the way of the next one.
            let _ = file.set_len(length);
            io(cause)
        })
    }

    /// The lines, the first one first.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Six words that fix the whole transcript: those of the last line's SHA-256.
    pub fn words(&self) -> String {
        words(&self.head.unwrap_or(NOTHING_BEFORE).0)
    }

    /// Compares the files of the ceremony with what the lines say, and the lines with each other.
    ///
    /// # Errors
    ///
    /// [`Error::Elsewhere`] names the first file that something else has changed.
    pub fn compare(&self, ceremony: &Path) -> Result<(), Error> {
        let mut last: BTreeMap<&str, (u64, Option<Digest>)> = BTreeMap::new();
        for line in &self.lines {
            for change in &line.files {
                let known = last.insert(&change.path, (line.line, change.after));
                if let Some((line, after)) = known
                    && after != change.before
                {
                    return Err(Error::Elsewhere { path: change.path.clone(), line });
                }
            }
        }
        for (path, (line, after)) in last {
            if scene::hash(&ceremony.join(path))? != after {
                return Err(Error::Elsewhere { path: path.to_owned(), line });
            }
        }
        Ok(())
    }

    fn parse(path: &Path, file: &mut File) -> Result<Self, Error> {
        let io = |cause| Error::Disk(disk::Error::io("read", path, cause));
        let mut text = Vec::new();
        // One byte more than allowed, to notice that there is more.
        let length = file.take(BYTES_MAX + 1).read_to_end(&mut text).map_err(io)?;
        if u64::try_from(length).is_ok_and(|length| length > BYTES_MAX) {
            return Err(Error::TooLong(path.to_owned()));
        }
        let mut transcript = Self::default();
        for bytes in text.split_inclusive(|byte| *byte == b'\n') {
            transcript.push(path, bytes)?;
        }
        Ok(transcript)
    }

    fn push(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let number = self.next_number();
        let broken = || Error::Broken { path: path.to_owned(), line: number };
        let bytes = bytes
            .strip_suffix(b"\n")
            .ok_or_else(|| Error::Unfinished { path: path.to_owned(), line: number })?;
        let line: Line = serde_json::from_slice(bytes).map_err(|_| broken())?;
        if line.line != number || line.previous != self.head.unwrap_or(NOTHING_BEFORE) {
            return Err(broken());
        }
        self.lines.push(line);
        self.head = Some(Digest(Sha256::digest(bytes).into()));
        Ok(())
    }

    fn next(&self, step: Step) -> Line {
        Line {
            line: self.next_number(),
            at: step.at,
            by: step.by,
            tool: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
            command: step.command.to_owned(),
            outcome: step.outcome,
            keys: step.keys,
            files: step.files,
            previous: self.head.unwrap_or(NOTHING_BEFORE),
        }
    }

    fn next_number(&self) -> u64 {
        self.lines.last().map_or(1, |last| last.line.saturating_add(1))
    }
}

/// The transcript cannot be relied on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody changed, dropped or put in a line.
    #[error(
        "line {line} of {} does not follow the one before it: somebody has changed the transcript; \
         stop, and compare it with the words on paper and with your backups",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
    },
    /// The file could not be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A file is not as the transcript says.
    #[error(
        "{path} is not as line {line} of the transcript left it: something else has changed it, \
         or it was signed on another machine, whose transcript then says so"
    )]
    Elsewhere {
        /// The file.
        path: String,
        /// The line.
        line: u64,
    },
    /// The words on paper are of another line.
    #[error(
        "the transcript ends with `{found}`, not with the words given: lines are missing or new"
    )]
    Head {
        /// Words of the last line.
        found: String,
    },
    /// Longer than any ceremony.
    #[error("{} is longer than {BYTES_MAX} bytes; put it away and begin a new one", .0.display())]
    TooLong(PathBuf),
    /// A power cut.
    #[error(
        "line {line} of {} is not complete: the machine stopped while it was written; \
         see what that step did, then remove the line",
        path.display()
    )]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
    },
}
