//! Where the workspace is, and running programs in it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Returns the folder of the root `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Returns a command that runs `program` in the root of the workspace.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Returns a command that runs the Cargo which started us.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = command(program);
    command.arg(subcommand);
    command
}

/// Runs a command to its end; what it says goes to standard error.
///
/// # Errors
///
/// When it cannot start or does not succeed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{status}: {command:?}");
    }
    Ok(())
}

/// Builds every program and every test. Together: what tests ask of a crate besides would have it built twice.
///
/// # Errors
///
/// When something does not build.
pub(crate) fn build_everything() -> anyhow::Result<()> {
    run(cargo("build").args(["--workspace", "--bins", "--tests", "--all-features"]))
}

/// Returns true when the command starts and succeeds; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Asks Cargo for the members of the workspace and its folders.
///
/// # Errors
///
/// When a manifest is broken.
pub(crate) fn metadata() -> anyhow::Result<Value> {
    let mut command = cargo("metadata");
    command.args(["--format-version", "1", "--no-deps"]);
    let output = command.output().context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Returns the folder that Cargo builds into (`CARGO_TARGET_DIR` and configuration honoured).
///
/// # Errors
///
/// When a manifest is broken.
pub(crate) fn target_dir() -> anyhow::Result<PathBuf> {
    let metadata = metadata()?;
    let folder = metadata.pointer("/target_directory").and_then(Value::as_str);
    Ok(folder.context("cargo metadata names no target_directory")?.into())
}
