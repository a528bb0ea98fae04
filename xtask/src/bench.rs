//! `cargo xtask bench`: builds for release, then measures with `waxwing-bench`.
//!
//! Not here: the measuring, which lives with the tests in `tests/bench`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::debian::{self, Package};
use crate::device::{self, Features};
use crate::workspace::{cargo, command, run, target_dir};

/// Runs the harness of `bench trust`.
const EMULATOR: Package =
    Package { name: "qemu-system-misc", probe: &["qemu-system-riscv32", "--version"] };

/// The option of `bench trust` that leaves out what depends on the machine.
const COUNTS: &str = "--counts";

/// Options of `cargo xtask bench`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// What to measure, and how: `poll`, `poll --json`, `trust`, `trust --counts`, `device`, `help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<OsString>,
}

#[derive(Clone, Copy, Debug)]
enum Profile {
    Dev,
    Release,
}

/// Builds what is measured and what measures, and runs it.
///
/// # Errors
///
/// When either does not build, the measurement fails, or a goal is missed.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    if args.arguments.first().is_some_and(|what| what == "device") {
        return run_device();
    }
    // Counts depend on no optimisation of ours; the build for tests is there already.
    let is_counts = args.arguments.iter().any(|option| option == COUNTS);
    let program = build(if is_counts { Profile::Dev } else { Profile::Release })?;
    let is_trust = args.arguments.first().is_some_and(|what| what == "trust");
    let harnesses = if is_trust { harnesses()? } else { Vec::new() };
    measure(&program, args.arguments.iter().chain(&harnesses))
}

/// Prints what an update costs a simulated device, in counts and ratios: they are tests as well.
///
/// # Errors
///
/// When a goal is missed.
fn run_device() -> anyhow::Result<()> {
    let numbers = "package(waxwing-agent-host) & test(/^numbers::/)";
    let mut test = cargo("nextest");
    test.args(["run", "--workspace", "--all-features", "--test", "it", "--no-capture"]);
    run(test.args(["-E", numbers]))
}

/// Measures only what is the same on every machine: sizes, memory and bytes.
///
/// # Errors
///
/// As [`run_all`].
pub(crate) fn run_counts() -> anyhow::Result<()> {
    run_all(&Args { arguments: vec!["trust".into(), COUNTS.into()] })
}

fn build(profile: Profile) -> anyhow::Result<PathBuf> {
    let mut build = cargo("build");
    build.args(["-p", "waxwing-server", "-p", "waxwing-bench", "--bins"]);
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            build.arg("--release");
            "release"
        }
    };
    run(&mut build)?;
    Ok(target_dir()?.join(folder).join("waxwing-bench"))
}

/// Builds the trust core for a device, and names the programs to `waxwing-bench trust`.
fn harnesses() -> anyhow::Result<Vec<OsString>> {
    debian::require(&[EMULATOR])?;
    let mut options = Vec::new();
    for features in [Features::None, Features::Ed25519, Features::P256] {
        options.extend([features.option().into(), device::build_harness(features)?.into()]);
    }
    let previous = target_dir()?.join("bench-trust.json");
    options.extend(["--previous".into(), previous.into()]);
    Ok(options)
}

fn measure<'a>(
    program: &Path,
    arguments: impl Iterator<Item = &'a OsString>,
) -> anyhow::Result<()> {
    let status = command(program).args(arguments).status();
    let status = status.context("cannot start waxwing-bench")?;
    anyhow::ensure!(status.success(), "waxwing-bench: {status}");
    Ok(())
}
