//! `cargo xtask demo`: builds the programs and lets them tell their story.

use std::ffi::OsString;
use std::process::Command;

use anyhow::bail;

use crate::workspace::{cargo, run, target_dir};

/// What the story is told with.
const PACKAGES: [&str; 5] =
    ["waxwing", "waxwing-agent-host", "waxwing-e2e", "waxwing-keys", "waxwing-server"];

/// Options of the demo; `cargo xtask demo --help` lists them.
#[derive(clap::Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
    options: Vec<OsString>,
}

/// Builds and runs the demo.
///
/// # Errors
///
/// When something cannot be built, or a promise was not kept.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let mut build = cargo("build");
    build.arg("--bins").args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    run(&mut build)?;
    let demo = target_dir()?.join("debug/waxwing-demo");
    let status = Command::new(demo).args(&args.options).status()?;
    if status.success() { Ok(()) } else { bail!("the demo ended with {status}") }
}
