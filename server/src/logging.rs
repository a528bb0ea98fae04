//! Log lines on standard error, as text or as JSON.

use std::io::{self, IsTerminal as _};

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

/// The configured filter cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("configuration key `log.filter` is not in the syntax of RUST_LOG")]
pub struct InvalidFilter(#[source] ParseError);
