//! `cargo xtask test`: everything that proves a promise of this repository.
//!
//! Progress goes to standard error; the one line on standard output counts the tests.

use std::num::NonZero;
use std::path::Path;
use std::{fs, str, thread};

use anyhow::{Context as _, bail};

use crate::debian::{self, Package};
use crate::steps::Steps;
use crate::workspace::{build_everything, cargo, run, target_dir};
use crate::{conformance, emulator, firmware, python, tools};

/// Programs that tests run. Each probe also succeeds where the program came another way.
const PACKAGES: [Package; 12] = [
    Package {
        name: "ca-certificates",
        probe: &["test", "-e", "/etc/ssl/certs/ca-certificates.crt"],
    },
    Package { name: "curl", probe: &["curl", "--version"] },
    Package { name: "faketime", probe: &["which", "faketime"] },
    Package { name: "influxdb", probe: &["influxd", "version"] },
    Package { name: "mosquitto", probe: &["which", "mosquitto", "mosquitto_passwd"] },
    Package { name: "mosquitto-clients", probe: &["which", "mosquitto_pub", "mosquitto_sub"] },
    Package { name: "nats-server", probe: &["which", "nats-server"] },
    Package { name: "openssl", probe: &["openssl", "version"] },
    Package { name: "prometheus", probe: &["which", "prometheus", "promtool"] },
    Package { name: "python3-venv", probe: &["python3", "-c", "import ensurepip, venv"] },
    Package { name: "softhsm2", probe: &["softhsm2-util", "--version"] },
    Package { name: "tshark", probe: &["which", "dumpcap", "tshark"] },
];

/// Cases per property in a deep run (proptest's own default is 256).
const DEEP_CASES: &str = "20000";

/// Options of `cargo xtask test`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Try many more random cases per property; takes hours.
    #[arg(long)]
    deep: bool,
}

/// Runs all tests and prints how many passed and failed.
///
/// # Errors
///
/// Names the steps that failed.
#[expect(clippy::print_stdout, reason = "the count is the output of this command")]
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    let count = run_steps(&mut steps, args);
    let outcome = steps.finish();
    if let Some(Count { passed, failed }) = count {
        println!("{passed} passed, {failed} failed");
    }
    outcome
}

/// Stops at a step without which the next makes no sense; failing tests do not stop doc tests.
fn run_steps(steps: &mut Steps, args: &Args) -> Option<Count> {
    steps.run("system packages", || debian::require(&PACKAGES))?;
    let python = steps.run("python packages", python::environment)?;
    steps.run("test runner", || tools::require(tools::NEXTEST))?;
    steps.run("build", build_everything)?;
    let tests = run_tests(steps, "tests", "default", &python, args.deep);
    steps.run("firmware", firmware::run_for_emulator);
    steps.run("emulator build", emulator::build);
    let emulated = run_tests(steps, "emulated chip", "emulated", &python, args.deep);
    let doc_tests = steps.run("doc tests", doc_tests).unwrap_or(Count::FAILED);
    if args.deep {
        steps.run("the same firmware twice", firmware::run_twice)?;
    }
    let conformance = steps.run("conformance", conformance::test);
    let conformance = conformance.map_or(Count::FAILED, |said| Count::of_rustdoc(&said));
    let emulator = steps.run("emulator", emulator::test);
    let emulator = emulator.map_or(Count::FAILED, |said| Count::of_rustdoc(&said));
    Some(tests.plus(emulated).plus(doc_tests).plus(conformance).plus(emulator))
}

/// Runs the tests of a profile of `.config/nextest.toml` as a step, and counts them.
fn run_tests(
    steps: &mut Steps,
    step: &'static str,
    profile: &str,
    python: &Path,
    deep: bool,
) -> Count {
    let Ok(target) = target_dir() else { return Count::FAILED };
    let results = target.join("nextest").join(profile).join("junit.xml");
    steps.run(step, || nextest(profile, python, deep, &results));
    let report = fs::read_to_string(&results).ok();
    report.as_deref().and_then(Count::of_junit).unwrap_or(Count::FAILED)
}

/// `WAXWING_IMAGES` reaches the tests as every other variable does: by inheritance.
fn nextest(profile: &str, python: &Path, deep: bool, results: &Path) -> anyhow::Result<()> {
    if results.exists() {
        fs::remove_file(results)?;
    }
    let mut command = cargo("nextest");
    command.args(["run", "--workspace", "--all-features", "--profile", profile]);
    command.env("WAXWING_PYTHON", python).env("NEXTEST_TEST_THREADS", at_once().to_string());
    if deep {
        command.env("PROPTEST_CASES", DEEP_CASES);
    }
    run(&mut command)
}

/// How many tests run at once: now and then each waits for disks, sockets or programs.
fn at_once() -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    processors + processors / 2
}

/// nextest does not run the examples in documentation.
fn doc_tests() -> anyhow::Result<Count> {
    let output = cargo("test").args(["--workspace", "--all-features", "--doc"]).output()?;
    let text = str::from_utf8(&output.stdout).context("rustdoc does not speak UTF-8")?;
    let count = Count::of_rustdoc(text);
    if !output.status.success() {
        bail!("{}\n{}", text.trim_end(), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(count)
}

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Count {
    passed: u32,
    failed: u32,
}

impl Count {
    /// A step that did not come to its end.
    const FAILED: Self = Self { passed: 0, failed: 1 };

    const fn plus(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }

    /// Reads the outermost element of the runner's `JUnit` report.
    fn of_junit(report: &str) -> Option<Self> {
        let element = report.split_once("<testsuites ")?.1.split_once('>')?.0;
        let attribute = |name: &str| {
            let value = element.split_once(&format!("{name}=\""))?.1.split_once('"')?.0;
            value.parse::<u32>().ok()
        };
        let failed = attribute("failures")? + attribute("errors")?;
        Some(Self { passed: attribute("tests")?.checked_sub(failed)?, failed })
    }

    /// Adds up the `test result:` lines of rustdoc or libtest, one per crate.
    fn of_rustdoc(output: &str) -> Self {
        let lines = output.lines().filter_map(|line| line.strip_prefix("test result: "));
        lines.map(Self::of_result_line).fold(Self::default(), Self::plus)
    }

    fn of_result_line(line: &str) -> Self {
        let number_before = |word: &str| {
            let number = line.split_once(word)?.0.rsplit([' ', '.']).next()?;
            number.parse().ok()
        };
        Self {
            passed: number_before(" passed").unwrap_or(0),
            failed: number_before(" failed").unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_the_report_is_of_all_suites() {
        let report = r#"<?xml version="1.0" encoding="UTF-8"?>
            <testsuites name="nextest-run" tests="7" failures="2" errors="1" uuid="0" time="0.1">
            <testsuite name="waxwing-wire" tests="4" disabled="0" errors="0" failures="0">"#;
        assert_eq!(Count::of_junit(report), Some(Count { passed: 4, failed: 3 }));
        assert_eq!(Count::of_junit(""), None, "a report that is not there is no success");
    }

    #[test]
    fn doc_tests_of_all_crates_add_up() {
        let output = "running 2 tests\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\n\
            test result: FAILED. 10 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Count::of_rustdoc(output), Count { passed: 12, failed: 1 });
    }
}
