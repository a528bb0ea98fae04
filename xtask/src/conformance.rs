//! `cargo xtask conformance`: what foreign test suites drive, a workspace of its own.
//!
//! It is built with flags that no other build has: only there do RSA keys exist, or the dialect of
//! the Uptane test vectors. Not here: the suites, which are other people's and are never vendored.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::workspace::{cargo, command, root, run, target_dir};

/// What reads RSA keys, for tuf-conformance.
const RSA: &str = "rsa";

/// What reads the metadata of the Uptane test vectors.
const UPTANE_ATS: &str = "uptane-ats";

/// Options of `cargo xtask conformance`.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Args {
    /// Build the client and print its path, for the `--entrypoint` of tuf-conformance.
    #[arg(long)]
    path: bool,
    /// Run a checkout of tuf-conformance against the client; `WAXWING_PYTHON` names a Python that
    /// has what it requires.
    #[arg(long, value_name = "FOLDER")]
    suite: Option<PathBuf>,
    /// Run the Uptane test vectors of a server that was started with `--compact --ecu-identifier
    /// 123 --hardware-id abc`.
    #[arg(long, value_name = "URL")]
    vectors: Option<String>,
}

/// Builds the client, and runs a suite against it if told so.
///
/// # Errors
///
/// When it does not build, or the suite does not pass.
#[expect(clippy::print_stdout, reason = "the path is the output of this command")]
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    if let Some(url) = &args.vectors {
        build(UPTANE_ATS, "uptane-vectors")?;
        return run(command(binary(UPTANE_ATS, "uptane-vectors")?).arg(url));
    }
    build(RSA, "tuf-client")?;
    let client = binary(RSA, "tuf-client")?;
    if let Some(suite) = &args.suite {
        let python = std::env::var_os("WAXWING_PYTHON").unwrap_or_else(|| "python3".into());
        let pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tuf_conformance"];
        run(Command::new(python).args(pytest).arg("--entrypoint").arg(&client).current_dir(suite))?;
    }
    println!("{}", client.display());
    Ok(())
}

/// Checks format and lints of the workspace, in both of its guises.
///
/// # Errors
///
/// When a check fails.
pub(crate) fn check() -> anyhow::Result<()> {
    run(cargo("fmt").arg("--check").arg("--manifest-path").arg(manifest()))?;
    // The tests are those of the client; without them the other needs no RSA to be built.
    for (dialect, targets) in [(RSA, "--all-targets"), (UPTANE_ATS, "--bins")] {
        run(foreign("clippy", dialect)?.arg(targets).args(["--", "--deny", "warnings"]))?;
    }
    Ok(())
}

/// Drives the client over HTTP, as the suite does, and returns what the test runner said.
///
/// # Errors
///
/// When a test fails.
pub(crate) fn test() -> anyhow::Result<String> {
    let output = foreign("test", RSA)?.output().context("cannot start cargo test")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("{}\n{}", said.trim_end(), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn build(dialect: &str, binary: &str) -> anyhow::Result<()> {
    run(foreign("build", dialect)?.args(["--bin", binary]))
}

/// Returns a Cargo command on the workspace, with the flags of one dialect and a folder to itself.
///
/// The suite sets the clock through the dynamic loader, so this builds for the machine it runs on,
/// whatever target is configured for others.
fn foreign(subcommand: &str, dialect: &str) -> anyhow::Result<Command> {
    let mut command = cargo(subcommand);
    command.arg("--manifest-path").arg(manifest()).arg("--target-dir").arg(folder(dialect)?);
    command.args(["--features", dialect]);
    command.env("RUSTFLAGS", format!("--cfg waxwing_foreign=\"{dialect}\""));
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    Ok(command)
}

fn manifest() -> PathBuf {
    root().join("protocol/tuf/conformance/Cargo.toml")
}

fn folder(dialect: &str) -> anyhow::Result<PathBuf> {
    Ok(target_dir()?.join("conformance").join(dialect))
}

fn binary(dialect: &str, name: &str) -> anyhow::Result<PathBuf> {
    Ok(folder(dialect)?.join(Path::new("debug")).join(name))
}
