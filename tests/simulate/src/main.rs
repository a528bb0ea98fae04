//! `cargo xtask simulate`: what plans do to fleets, in virtual time.
//!
//! Every number comes from the server's own rules; a seed gives the same run again. Exits 0 only if
//! every promise held. Not here: how fast the server is, which `cargo xtask bench` measures.

mod characteristics;
mod operating;
mod plot;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Rollouts to modelled fleets, in virtual time.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask simulate")]
struct Args {
    /// Devices of each fleet whose rollout is tried many times.
    #[arg(long, default_value_t = 100_000)]
    devices: u64,
    /// Seeds for each share of broken devices.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Only this seed, to see a run again.
    #[arg(long)]
    seed: Option<u64>,
    /// Write plots into this folder.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells whether every promise held.
fn run(args: &Args) -> anyhow::Result<bool> {
    let mut out = io::stdout();
    let seeds = args.seed.map_or(0..args.seeds, |seed| seed..seed + 1);
    let lines = characteristics::of_default_plan(args.devices, seeds)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&lines)?)?;
    } else {
        write!(out, "{}", characteristics::table(&lines))?;
    }
    if let Some(folder) = &args.plots {
        std::fs::create_dir_all(folder)?;
        plot::characteristics(&folder.join("operating-characteristics.svg"), &lines)?;
    }
    let broken = characteristics::broken_promises(&lines);
    for promise in &broken {
        eprintln!("broken promise: {promise}");
    }
    Ok(broken.is_empty())
}
