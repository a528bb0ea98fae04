//! The emulated chip, a workspace of its own: built, checked and tested here, and run with our
//! firmware.
//!
//! Its library is under the GPL, so nothing else may share a build with it. Not here: the stories
//! that are told with it (`tests/src/story.rs`).

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::debian::{self, Package};
use crate::firmware;
use crate::workspace::{build_everything, cargo, root, run, target_dir};

/// Builds Unicorn, whose C code comes with its crate.
const CMAKE: Package = Package { name: "cmake", probe: &["cmake", "--version"] };

/// Before options of the emulator itself.
const CHIP: &str = "chip";

/// Options of a story; `cargo xtask emulate --help` lists them. Behind the word `chip`, those of the
/// emulator itself; `cargo xtask emulate chip --help` lists them.
#[derive(clap::Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
    options: Vec<OsString>,
}

/// Builds firmware, emulator and server, and tells a story with them; or runs a flash file.
///
/// # Errors
///
/// When something cannot be built, or the story does not end as it should.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let emulator = build()?;
    if let Some((first, options)) = args.options.split_first()
        && first == CHIP
    {
        return ends_well(Command::new(emulator).args(options));
    }
    firmware::run_for_emulator()?;
    build_everything()?;
    ends_well(Command::new(target_dir()?.join("debug/waxwing-emulate")).args(&args.options))
}

/// Runs a program whose standard output is ours.
fn ends_well(program: &mut Command) -> anyhow::Result<()> {
    let status = program.status()?;
    if status.success() { Ok(()) } else { bail!("{status}: {program:?}") }
}

/// Builds the emulator and returns the program.
///
/// # Errors
///
/// When it cannot be built.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    debian::require(&[CMAKE])?;
    run(on_workspace("build")?.args(["--release", "--bins"]))?;
    Ok(folder()?.join("release/waxwing-emulator"))
}

/// Checks format and lints.
///
/// # Errors
///
/// When a check fails.
pub(crate) fn check() -> anyhow::Result<()> {
    debian::require(&[CMAKE])?;
    run(cargo("fmt").arg("--check").arg("--manifest-path").arg(manifest()))?;
    let clippy = ["--release", "--all-targets", "--", "--deny", "warnings"];
    run(on_workspace("clippy")?.args(clippy))
}

/// Tests the model, with the real boot loader among its opponents; returns what the runner said.
///
/// # Errors
///
/// When a test fails.
pub(crate) fn test() -> anyhow::Result<String> {
    debian::require(&[CMAKE])?;
    let mut test = on_workspace("test")?;
    test.arg("--release").env("WAXWING_BOOT_LOADER", firmware::boot_loader()?);
    let output = test.output().context("cannot start cargo test")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("{}\n{}", said.trim_end(), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns a Cargo command on the workspace, with a folder to itself.
fn on_workspace(subcommand: &str) -> anyhow::Result<Command> {
    let mut command = cargo(subcommand);
    command.arg("--manifest-path").arg(manifest()).arg("--locked");
    command.env("CARGO_TARGET_DIR", folder()?);
    command.env_remove("CARGO_BUILD_TARGET");
    Ok(command)
}

fn manifest() -> PathBuf {
    root().join("tests/emulator/Cargo.toml")
}

fn folder() -> anyhow::Result<PathBuf> {
    Ok(target_dir()?.join("emulator"))
}
