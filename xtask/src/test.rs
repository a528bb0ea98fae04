//! `cargo xtask test`: everything that proves a promise of this repository.

use std::path::Path;

use crate::debian::{self, Package};
use crate::python;
use crate::steps::Steps;
use crate::workspace::{cargo, run, succeeds};

/// Programs that tests run. Each probe also succeeds where the program came another way.
const PACKAGES: [Package; 5] = [
    Package {
        name: "ca-certificates",
        probe: &["test", "-e", "/etc/ssl/certs/ca-certificates.crt"],
    },
    Package { name: "curl", probe: &["curl", "--version"] },
    Package { name: "mosquitto-clients", probe: &["which", "mosquitto_pub", "mosquitto_sub"] },
    Package { name: "openssl", probe: &["openssl", "version"] },
    Package { name: "python3-venv", probe: &["python3", "-c", "import ensurepip, venv"] },
];

/// The test runner; pinned, because its output and options are part of this file.
const NEXTEST_VERSION: &str = "0.9.143";

/// Cases per property in a deep run (proptest's own default is 256).
const DEEP_CASES: &str = "20000";

/// Options of `cargo xtask test`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Try many more random cases per property; takes hours.
    #[arg(long)]
    deep: bool,
}

/// Runs all tests.
///
/// # Errors
///
/// Names the steps that failed.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    run_steps(&mut steps, args);
    steps.finish()
}

/// Returns early when a step fails without which the next makes no sense.
fn run_steps(steps: &mut Steps, args: &Args) -> Option<()> {
    steps.run("system packages", || debian::require(&PACKAGES))?;
    let python = steps.run("python packages", python::environment)?;
    steps.run("test runner", nextest_installed)?;
    steps.run("build", || run(cargo("build").args(["--workspace", "--bins", "--all-features"])))?;
    steps.run("tests", || nextest(&python, args.deep));
    steps.run("doc tests", || run(cargo("test").args(["--workspace", "--all-features", "--doc"])))
}

fn nextest_installed() -> anyhow::Result<()> {
    if succeeds(cargo("nextest").arg("--version")) {
        return Ok(());
    }
    run(cargo("install").args(["cargo-nextest", "--locked", "--version", NEXTEST_VERSION]))
}

/// `WAXWING_IMAGES` reaches the tests as every other variable does: by inheritance.
fn nextest(python: &Path, deep: bool) -> anyhow::Result<()> {
    let mut command = cargo("nextest");
    command.args(["run", "--workspace", "--all-features"]).env("WAXWING_PYTHON", python);
    if deep {
        command.env("PROPTEST_CASES", DEEP_CASES);
    }
    run(&mut command)
}
