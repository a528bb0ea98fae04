//! One story of an emulated ESP32-C3 that runs the real boot loader and the real firmware, with the
//! real server; its serial line on the terminal.
#![expect(clippy::print_stdout, reason = "this program talks to people")]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use waxwing_e2e::story::{Outcome, Scenario, Story};

/// Take a release to an emulated ESP32-C3: Espressif's boot loader and our firmware, unchanged, with
/// the real server.
///
/// The device enrols, polls, takes the release, restarts into it, and keeps it or goes back. Its
/// serial line and what happens around it go to standard error, how it ended to standard output. Exit
/// code 0 only if it ended as it must.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask emulate", after_help = EXAMPLES)]
struct Arguments {
    /// What the release does.
    #[arg(long, value_enum, default_value = "update")]
    scenario: Scenario,
    /// Print how it ended as JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask emulate
  cargo xtask emulate --scenario hang
  cargo xtask emulate --scenario crash --json 2>/dev/null | jq .starts
  cargo xtask emulate chip --flash target/firmware/flash-ethernet.bin   any flash file, no server
  cargo xtask emulate chip --help";

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let folder = tempfile::Builder::new().prefix("waxwing-emulate-").tempdir()?;
    eprintln!("==> ceremony, server, a device that was never on");
    let mut story = Story::begin(folder.path())?;
    eprintln!("==> release 1.1.0 is offered; the device is switched on");
    let outcome = arguments.scenario.play(&mut story, |line| eprintln!("{line}"))?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        show(&outcome);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(outcome: &Outcome) {
    for start in &outcome.starts {
        println!("slot at 0x{:06x}  {}  {}", start.slot, &start.sha256[..12], start.hello);
    }
    println!(
        "the server: {}, code {}; release {} runs",
        outcome.state, outcome.code, outcome.release
    );
}
