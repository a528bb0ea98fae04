//! Everything that can go wrong, each with what to do next.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use crate::device::Unfit;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The server's answer is not what its API promises.
    #[error("the server's answer makes no sense: {0}")]
    Answer(String),
    /// A rollout that was watched ended, but not well.
    #[error("rollout {id} is {state}: {reason}")]
    Ended {
        /// Which.
        id: String,
        /// How it ended.
        state: &'static str,
        /// Why, in the server's words.
        reason: String,
    },
    /// A file of the user's cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Some of many devices could not be done; the report says which.
    #[error("{failed} of {all} devices failed")]
    Incomplete {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
    },
    /// Nobody logged in under this name.
    #[error("there is no profile {0}")]
    NoProfile(String),
    /// Printing failed.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The server refused.
    #[error("{problem}")]
    Refused {
        /// Its reason.
        problem: Problem,
    },
    /// No answer.
    #[error("cannot reach {server}")]
    Unreachable {
        /// Which server.
        server: String,
        /// Why.
        source: reqwest::Error,
    },
    /// A device cannot be made as asked.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The counters of a rollout are not those of its evidence.
    #[error("the counters of rollout {0} are not what its signed reports say")]
    Unequal(String),
    /// `waxwing doctor` found something.
    #[error("{0} of the checks failed")]
    Unwell(usize),
    /// Wrong use that the argument parser cannot see.
    #[error("{0}")]
    Usage(String),
}

/// The status that says the token is not, or no longer, valid.
const UNAUTHORIZED: u16 = 401;

/// The status that says the token has no right to this.
const FORBIDDEN: u16 = 403;

/// From here on a status says that the server is ill.
const SERVER_ERROR: u16 = 500;

/// The status that says there is no such thing.
const NOT_FOUND: u16 = 404;

/// The server's reason (RFC 9457, with our `code` and `field`).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    status: u16,
    title: String,
    /// Stable name of the cause.
    code: String,
    detail: String,
    field: Option<String>,
    /// How many characters of the field come before what is wrong.
    position: Option<u16>,
    /// The query that was refused, as it was sent.
    #[serde(skip)]
    query: Box<str>,
}

impl Problem {
    /// Reads an answer that is not a success; one without a problem document has only a status.
    pub(crate) fn new(status: u16, body: &[u8]) -> Self {
        let problem: Self = serde_json::from_slice(body).unwrap_or_default();
        Self { status, ..problem }
    }

    /// Shows the refused query with a mark under the place at fault; `None` if that is not known.
    fn place(&self) -> Option<String> {
        let position = self.position.filter(|_| !self.query.is_empty())?;
        let line: String =
            self.query.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Some(format!(
            "  {line}\n  {}^\n",
            " ".repeat(usize::from(position).min(line.chars().count()))
        ))
    }

    /// Tells whether what was asked for does not exist.
    pub(crate) const fn is_not_found(&self) -> bool {
        self.status == NOT_FOUND
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = [&self.detail, &self.title].into_iter().find(|text| !text.is_empty());
        write!(f, "{}", reason.map_or("the server refused", String::as_str))?;
        write!(f, " [{}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        write!(f, "]")
    }
}

impl Error {
    /// Remembers the query that may have been refused, to show where.
    pub(crate) fn in_query(mut self, query: &str) -> Self {
        if let Self::Refused { problem } = &mut self {
            problem.query = query.into();
        }
        self
    }

    /// Prints the error with its causes and the next step.
    pub(crate) fn print(&self) {
        eprintln!("waxwing: {}", self.chain());
        if let Self::Refused { problem: Problem { field: Some(field), .. } } = self {
            eprintln!("  field: {field}");
        }
        if let Self::Refused { problem } = self
            && let Some(place) = problem.place()
        {
            eprint!("{place}");
        }
        if let Some(step) = self.next_step() {
            eprintln!("  next: {step}");
        }
    }

    /// Returns the error with its causes.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// Returns the stable name of the cause: the server's, or our own.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Answer(_) => "answer_unknown",
            Self::File { .. } | Self::Output(_) => "file_unusable",
            Self::Refused { problem } if problem.code.is_empty() => "refused",
            Self::Refused { problem } => &problem.code,
            Self::Unfit(unfit) => unfit.code(),
            Self::Unreachable { .. } => "server_unreachable",
            Self::Ended { .. }
            | Self::Incomplete { .. }
            | Self::NoProfile(_)
            | Self::Unequal(_)
            | Self::Unwell(_)
            | Self::Usage(_) => "wrong_use",
        }
    }

    /// Returns what to do about it: the next step where there is one, else the error itself.
    pub(crate) fn advice(&self) -> String {
        self.next_step().map_or_else(|| self.chain(), str::to_owned)
    }

    /// Tells whether the next request will fail as this one did: there is no server, or no right.
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::Refused { problem } => {
                matches!(problem.status, UNAUTHORIZED | FORBIDDEN | SERVER_ERROR..)
            }
            Self::Unreachable { .. } => true,
            Self::Answer(_)
            | Self::Ended { .. }
            | Self::File { .. }
            | Self::Incomplete { .. }
            | Self::NoProfile(_)
            | Self::Output(_)
            | Self::Unequal(_)
            | Self::Unfit(_)
            | Self::Unwell(_)
            | Self::Usage(_) => false,
        }
    }

    /// Returns 1 when the server or the network is why, 2 when the user is.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Answer(_)
            | Self::Ended { .. }
            | Self::Incomplete { .. }
            | Self::Output(_)
            | Self::Refused { .. }
            | Self::Unequal(_)
            | Self::Unreachable { .. }
            | Self::Unwell(_) => 1,
            Self::File { .. } | Self::NoProfile(_) | Self::Unfit(_) | Self::Usage(_) => 2,
        }
    }

    /// Returns what the user can do about it, where the message does not say it.
    fn next_step(&self) -> Option<&'static str> {
        match self {
            Self::Answer(_) => Some("compare the versions of waxwing and waxwing-server"),
            Self::Ended { .. } => Some("`waxwing rollout deployments ROLLOUT` shows each device"),
            Self::Incomplete { .. } => {
                Some("mend what the report names and run the same again; what is done stays")
            }
            Self::NoProfile(_) => Some("`waxwing login https://SERVER:8445 --ca server-ca.pem`"),
            Self::Refused { problem: Problem { status: UNAUTHORIZED, .. } } => {
                Some("log in again with a token that is valid: `waxwing login --help`")
            }
            Self::Unequal(_) => Some("keep the database, and report this as a bug"),
            Self::Unfit(unfit) => Some(unfit.next_step()),
            Self::Unreachable { source, .. } => Some(unreachable_step(source)),
            Self::File { .. }
            | Self::Output(_)
            | Self::Refused { .. }
            | Self::Unwell(_)
            | Self::Usage(_) => None,
        }
    }
}

fn unreachable_step(error: &reqwest::Error) -> &'static str {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("invalid peer certificate") {
            return "log in again with the --ca of this server, and with a name its certificate has";
        }
        cause = error.source();
    }
    "is the server running, and is this the address of its admin listener?"
}
