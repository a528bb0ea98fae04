//! What the trust core costs: a device in flash, memory, instructions and bytes, and a server in
//! signatures.
//!
//! Goals are printed beside the values, and a value beyond its goal is a failure: they are counts and
//! one ratio (D32). Instructions have no goal; they are compared with the run before. Not here: how
//! the harness for the device is built; `cargo xtask bench trust` does that.

mod device;
mod exchange;
mod proxy;
mod repository;
mod scenario;
mod signing;

use std::path::PathBuf;

use anyhow::Context as _;

use self::device::Numbers;
use crate::table::{Row, Table};

/// What is called a kilobyte here, as in the limits in the code.
const KB: u32 = 1024;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The harness without any of ours, for the device.
    #[arg(long)]
    alone: PathBuf,
    /// The harness with the trust core for Ed25519.
    #[arg(long)]
    ed25519: PathBuf,
    /// The harness with the trust core for Ed25519 and P-256.
    #[arg(long)]
    p256: PathBuf,
    /// The numbers of the run before; replaced by those of this run.
    #[arg(long)]
    previous: Option<PathBuf>,
    /// Leave out what depends on the machine or on optimisation: the costs of the server.
    #[arg(long)]
    counts: bool,
    /// The server to measure; default: beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Print all numbers as JSON.
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
///
/// When something cannot be measured, or a goal is missed.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let mut table = Table::default();
    let alone = device::run(&args.alone, &[])?;
    table.add(Row::new("text: harness alone, bytes", number(&alone, "text")?));
    for (name, program, text_max) in
        [("Ed25519", &args.ed25519, 80 * KB), ("Ed25519 and P-256", &args.p256, 105 * KB)]
    {
        for (releases, heap_max) in [(10, 6 * KB), (50, 16 * KB)] {
            let numbers = device::run(program, &scenario::scenario(releases)?)?;
            if releases == 10 {
                add_sizes(&mut table, name, &numbers, text_max)?;
            }
            add_memory(&mut table, name, releases, &numbers, heap_max)?;
            if releases == 10 {
                add_instructions(&mut table, name, &numbers)?;
            }
        }
    }
    let server = crate::process::server(args.server.as_deref())?;
    let (once, twice) =
        (exchange::measure(&server, 1).await?, exchange::measure(&server, 2).await?);
    // What the list of releases weighs: 265 bytes for each, and 214 for each signature.
    let row = Row::new("bytes: new release, 10 listed, one signature", once.new_release()?);
    table.add(row.at_most(5.5 * f64::from(KB)));
    table.add(Row::new("bytes: new release, 10 listed, two signatures", twice.new_release()?));
    twice.add_to(&mut table)?;
    if !args.counts {
        let ratio = signing::ratio()?;
        table.add(Row::new("server: idle poll, Ed25519 signatures", ratio).at_most(1.6));
    }
    table.finish(args.previous.as_deref(), args.json)
}

fn add_sizes(table: &mut Table, name: &str, numbers: &Numbers, max: u32) -> anyhow::Result<()> {
    let text = number(numbers, "text")?;
    table.add(Row::new(format!("text: {name}, bytes"), text).at_most(max.into()));
    table.add(Row::new(format!("rodata: {name}, bytes"), number(numbers, "rodata")?));
    Ok(())
}

fn add_memory(
    table: &mut Table,
    name: &str,
    releases: usize,
    numbers: &Numbers,
    max: u32,
) -> anyhow::Result<()> {
    // The most of all that happens in a device's life, not only of first contact.
    for (what, heap_max) in [("heap", Some(max)), ("stack", None)] {
        let most = numbers.iter().filter(|(name, _)| name.ends_with(what)).map(|(_, n)| *n).max();
        let most = f64::from(u32::try_from(most.context("no number of that name")?)?);
        let row = Row::new(format!("{what}: {name}, {releases} releases, bytes"), most);
        table.add(match heap_max {
            Some(max) => row.at_most(max.into()),
            None => row,
        });
    }
    Ok(())
}

fn add_instructions(table: &mut Table, name: &str, numbers: &Numbers) -> anyhow::Result<()> {
    for step in ["first-contact", "idle-poll", "new-release", "restart", "poll-after-restart"] {
        let count = number(numbers, &format!("{step}.instructions"))?;
        table.add(Row::new(format!("instructions: {name}, {step}"), count));
    }
    Ok(())
}

fn number(numbers: &Numbers, name: &str) -> anyhow::Result<f64> {
    let number = numbers.get(name).with_context(|| format!("the harness prints no {name}"))?;
    Ok(f64::from(u32::try_from(*number)?))
}
