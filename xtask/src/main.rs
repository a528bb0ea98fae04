//! `cargo xtask`: everything one does with this workspace besides building it.
//!
//! Each subcommand is a plain function in a file of its own. Not here: code that any product
//! binary needs.

mod debian;
mod python;
mod steps;
mod test;
mod workspace;

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
    /// Run every test; as root on Debian, install what they need first.
    Test(test::Args),
}

fn main() -> anyhow::Result<()> {
    match Xtask::parse().task {
        Task::Test(args) => test::run_all(&args),
    }
}
