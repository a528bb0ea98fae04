//! `cargo xtask bench`: builds for release, then measures with `waxwing-bench`.
//!
//! Not here: the measuring, which lives with the tests in `tests/bench`.

use std::ffi::OsString;

use anyhow::Context as _;

use crate::workspace::{cargo, command, run, target_dir};

/// Options of `cargo xtask bench`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// What to measure, and how: `poll`, `poll --json`, `help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<OsString>,
}

/// Builds what is measured and what measures, and runs it.
///
/// # Errors
///
/// When either does not build, or the measurement fails.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let packages = ["--release", "-p", "waxwing-server", "-p", "waxwing-bench", "--bins"];
    run(cargo("build").args(packages))?;
    let program = target_dir()?.join("release/waxwing-bench");
    let status = command(program).args(&args.arguments).status();
    let status = status.context("cannot start waxwing-bench")?;
    anyhow::ensure!(status.success(), "waxwing-bench: {status}");
    Ok(())
}
