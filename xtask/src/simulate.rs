//! `cargo xtask simulate`: builds for release, then simulates with `waxwing-simulate`.
//!
//! Not here: the simulating, which lives with the tests in `tests/simulate`.

use std::ffi::OsString;

use anyhow::Context as _;

use crate::workspace::{cargo, command, run, target_dir};

/// Options of `cargo xtask simulate`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// What to simulate, and how: `--scenario good`, `--seed 7`, `--plots docs/plots`, `characteristics`, `--help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Builds the simulation and runs it.
///
/// # Errors
///
/// When it does not build, or a promise is broken.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    run(cargo("build").args(["-p", "waxwing-simulate", "--release"]))?;
    let mut simulate = command(target_dir()?.join("release").join("waxwing-simulate"));
    let status =
        simulate.args(&args.arguments).status().context("cannot start waxwing-simulate")?;
    anyhow::ensure!(status.success(), "waxwing-simulate: {status}");
    Ok(())
}
