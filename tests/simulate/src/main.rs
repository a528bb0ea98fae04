//! `cargo xtask simulate`: what plans do to fleets, and whether promises hold, in virtual time.
//!
//! Every number comes from the server's own rules; a seed gives the same run again. Exits 0 only if
//! every promise held. Not here: how fast the server is, which `cargo xtask bench` measures.

mod characteristics;
mod fleets;
mod operating;
mod plot;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::fleets::{Done, Scenario};

/// A simulation takes a fifth less time with it than with that of the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rollouts to modelled fleets, in virtual time: all scenarios, or some of them.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask simulate", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    fleets: FleetArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How often the default plan halts, and what it costs, over many seeds.
    Characteristics(CharacteristicsArgs),
}

#[derive(Debug, clap::Args)]
struct FleetArgs {
    /// Only this scenario; may be given again.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Devices of each fleet.
    #[arg(long, default_value_t = 1_000_000)]
    devices: u32,
    /// Another seed, another run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the adoption curves into this folder.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct CharacteristicsArgs {
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
    let args = Args::parse();
    let done = match &args.what {
        Some(What::Characteristics(args)) => characteristics(args),
        None => fleets(&args.fleets),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells whether every promise held in every scenario.
fn fleets(args: &FleetArgs) -> anyhow::Result<bool> {
    let scenarios = chosen(&args.scenario, args.devices)?;
    let done = fleets::run_all(&scenarios, args.devices, args.seed, |one| say(one, args))?;
    write!(io::stdout(), "\n{}", fleets::table(&done, args.devices))?;
    if let Some(folder) = &args.plots {
        std::fs::create_dir_all(folder)?;
        done.iter().try_for_each(|one| draw(folder, one, args.devices))?;
    }
    Ok(done.iter().all(|(_, outcome)| outcome.is_ok()))
}

fn chosen(names: &[String], devices: u32) -> anyhow::Result<Vec<Scenario>> {
    let all = fleets::all(devices);
    if names.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        let found = all.iter().find(|scenario| scenario.name == name).cloned();
        found.with_context(|| {
            let names: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
            format!("no scenario {name}; there are {}", names.join(", "))
        })
    };
    names.iter().map(find).collect()
}

/// Says how a scenario went, as soon as it has.
fn say((scenario, outcome): &Done, args: &FleetArgs) {
    match outcome {
        Ok(it) => eprintln!(
            "{}: every promise held ({} polls and {} reports answered, {} of the polls left out tried)",
            scenario.name, it.polls, it.reports, it.sampled
        ),
        Err(broken) => {
            eprintln!("{}", fleets::accusation(scenario.name, broken, args.devices, args.seed));
        }
    }
}

fn draw(folder: &Path, (scenario, outcome): &Done, devices: u32) -> anyhow::Result<()> {
    let Ok(summary) = outcome else { return Ok(()) };
    let file = folder.join(format!("adoption-{}.svg", scenario.name));
    plot::adoption(&file, scenario.about, &summary.adoption, devices)
}

/// Tells whether every promise of the default plan held.
fn characteristics(args: &CharacteristicsArgs) -> anyhow::Result<bool> {
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
