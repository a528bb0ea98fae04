//! `cargo xtask bench`: builds for release, then measures with `waxwing-bench`.
//!
//! Not here: the measuring, which lives with the tests in `tests/bench`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::debian::{self, Package};
use crate::device::{self, Features};
use crate::workspace::{build_everything, cargo, command, run, target_dir};

/// Runs the harness of `bench trust`.
const EMULATOR: Package =
    Package { name: "qemu-system-misc", probe: &["qemu-system-riscv32", "--version"] };

/// What `bench mqtt` compares with.
const BROKER: Package = Package { name: "mosquitto", probe: &["which", "mosquitto"] };

/// What a fleet is made of in `bench device`, besides the server.
const FLEET: [&str; 3] = ["waxwing", "waxwing-agent-host", "waxwing-keys"];

/// The option of `bench trust` and `bench device` that leaves out what depends on the machine.
const COUNTS: &str = "--counts";

/// Options of `cargo xtask bench`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// What to measure, and how: `groups`, `mqtt`, `poll`, `poll --json`, `scale`, `trust`, `trust --counts`,
    /// `device`, `device --devices 500`, `help`
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
    // Counts depend on no optimisation of ours; the build for tests is there already.
    let is_counts = args.arguments.iter().any(|option| option == COUNTS);
    let is = |what: &str| args.arguments.first().is_some_and(|first| first == what);
    let (programs, options) = match () {
        () if is("device") => (&FLEET[..], firmware_numbers()?),
        () if is("mqtt") => {
            debian::require(&[BROKER])?;
            (&[][..], Vec::new())
        }
        () if is("trust") => (&[][..], harnesses()?),
        () => (&[][..], Vec::new()),
    };
    let program = build(if is_counts { Profile::Dev } else { Profile::Release }, programs)?;
    measure(&program, args.arguments.iter().chain(&options))
}

/// Measures only what is the same on every machine: sizes, memory and bytes.
///
/// # Errors
///
/// As [`run_all`].
pub(crate) fn run_counts() -> anyhow::Result<()> {
    run_all(&Args { arguments: vec!["trust".into(), COUNTS.into()] })
}

fn build(profile: Profile, programs: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = match profile {
        Profile::Dev => {
            build_everything()?;
            "debug"
        }
        Profile::Release => {
            let mut build = cargo("build");
            build.args(["--release", "-p", "waxwing-server", "-p", "waxwing-bench", "--bins"]);
            run(build.args(programs.iter().flat_map(|program| ["-p", program])))?;
            "release"
        }
    };
    Ok(target_dir()?.join(folder).join("waxwing-bench"))
}

/// Names to `waxwing-bench device` what `cargo xtask firmware` found, if it has been run.
fn firmware_numbers() -> anyhow::Result<Vec<OsString>> {
    let target = target_dir()?;
    let manifest = target.join("firmware/manifest.json");
    let mut options = vec!["--previous".into(), target.join("bench-device.json").into()];
    if manifest.exists() {
        options.extend(["--firmware".into(), manifest.into()]);
    } else {
        eprintln!("bench: nothing is said of firmware until `cargo xtask firmware` has been run");
    }
    Ok(options)
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
