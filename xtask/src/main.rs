//! `cargo xtask`: everything one does with this workspace besides building it.
//!
//! Each subcommand is a plain function in a file of its own. Not here: code that any product
//! binary needs.

mod bench;
mod ci;
mod conformance;
mod debian;
mod demo;
mod device;
mod emulator;
mod firmware;
mod firmware_check;
mod fuzz;
mod python;
mod simulate;
mod steps;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tests, checks, demo and benchmarks of Waxwing.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build for release and measure what things cost.
    Bench(bench::Args),
    /// Check everything besides the tests: format, lints, dependencies, documentation, layout.
    Ci,
    /// Build what foreign test suites of TUF and Uptane drive, and run one.
    Conformance(conformance::Args),
    /// Take a signed release to a simulated fleet, and show what is refused.
    Demo(demo::Args),
    /// Take a release to an emulated chip that runs the real firmware, or run any flash file in it.
    Emulate(emulator::Args),
    /// Build the firmware, as images that a chip boots, and check them.
    Firmware(firmware::Args),
    /// Build what runs on a device for one.
    FirmwareCheck,
    /// Feed every parser of foreign bytes with what nobody thought of.
    Fuzz(fuzz::Args),
    /// Take rollouts to modelled fleets in virtual time, and check what plans promise.
    Simulate(simulate::Args),
    /// Run every test; as root on Debian, install what they need first.
    Test(test::Args),
    /// Check the rules about files that no other tool knows.
    Tidy,
}

fn main() -> ExitCode {
    match run(Xtask::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Bench(args) => bench::run_all(&args),
        Task::Ci => ci::run_all(),
        Task::Conformance(args) => conformance::run_all(&args),
        Task::Demo(args) => demo::run_all(&args),
        Task::Emulate(args) => emulator::run_all(&args),
        Task::Firmware(args) => firmware::run_all(&args),
        Task::FirmwareCheck => firmware_check::run_build(),
        Task::Fuzz(args) => fuzz::run_all(&args),
        Task::Simulate(args) => simulate::run_all(&args),
        Task::Test(args) => test::run_all(&args),
        Task::Tidy => tidy::run(),
    }
}
