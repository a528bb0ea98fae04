//! The program: the real clock, randomness and terminal around [`waxwing_keys::cli`].

use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser as _;
use waxwing_keys::cli::{Cli, Environment};
use waxwing_keys::console::Console;
use waxwing_keys::key_file;
use waxwing_tuf::Time;
use waxwing_tuf::author::printable;

/// Exit code for everything that was refused or failed; clap takes 2 for wrong usage.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, the exit code has to do.
            // What a file or a token says is part of it.
            let text = printable(&format!("{error:#}"));
            let _ = writeln!(std::io::stderr(), "waxwing-keys: {text}");
            ExitCode::from(FAILED)
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut console = Console::new();
    let mut random = random;
    Cli::parse().run(&mut Environment::new(now()?, &mut random, &mut console))?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn now() -> anyhow::Result<Time> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(Time::from_seconds(since_epoch.as_secs()))
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks for randomness")]
fn random(bytes: &mut [u8]) -> Result<(), key_file::Error> {
    getrandom::fill(bytes).map_err(|_| key_file::Error::Random)
}
