//! Log lines on standard error, as text or as JSON.
//!
//! Errors go into a field as [`Chain`]. Not here: what is worth a line.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::iter;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

/// Starts logging for the whole process.
///
/// # Errors
///
/// When `log.filter` is not in the syntax of `RUST_LOG`.
pub fn start(log: &Log) -> Result<(), InvalidFilter> {
    let filter = EnvFilter::try_new(&log.filter).map_err(InvalidFilter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let lines = lines.with_ansi(io::stderr().is_terminal());
    match log.format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines.init(),
    }
    Ok(())
}

/// An error and all its causes in one line, for a field of a log line: `error = %Chain(&error)`.
///
/// An error may quote what a device sent. Whatever is not printable is escaped, so that nobody else
/// ends a line and begins another.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, error) in iter::successors(Some(self.0), |error| (*error).source()).enumerate()
        {
            let separator = if depth == 0 { "" } else { ": " };
            write!(f, "{separator}{}", escaped(&error.to_string()))?;
        }
        Ok(())
    }
}

/// Escapes what is not printable, and the escape character.
fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' => line.push(c),
            _ => line.extend(c.escape_debug()),
        }
    }
    line
}

/// The configured filter cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("configuration key `log.filter` is not in the syntax of RUST_LOG")]
pub struct InvalidFilter(#[source] ParseError);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot do it")]
    struct Failure(#[source] io::Error);

    fn chain(cause: &str) -> String {
        Chain(&Failure(io::Error::other(cause.to_owned()))).to_string()
    }

    #[test]
    fn the_whole_chain_is_one_line_whatever_is_quoted_in_it() {
        assert_eq!(chain("no `x` in \"y\""), "cannot do it: no `x` in \"y\"");
        assert_eq!(chain("a\nb\r\\n"), "cannot do it: a\\nb\\r\\\\n");
        assert_eq!(
            chain("\u{1b}[2J\u{2028}\u{202e}"),
            "cannot do it: \\u{1b}[2J\\u{2028}\\u{202e}"
        );
    }
}
