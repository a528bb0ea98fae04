//! What the agent costs: flash and memory in firmware, erases and processor time of an update, and a
//! fleet of thousands in one process against the real server.
//!
//! Goals are printed beside the values, and a value beyond its goal is a failure. Not here: building
//! the firmware, whose numbers `cargo xtask firmware` writes down.

mod firmware;
mod fleet;

use std::path::PathBuf;

use crate::cost;
use crate::table::{Row, Table};

/// What an update may cost in processor time, in hashes of its image.
const HASHES_GOAL: f64 = 9.0;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What `cargo xtask firmware` wrote about its images; without it nothing is said of them.
    #[arg(long)]
    firmware: Option<PathBuf>,
    /// The numbers of the run before; replaced by those of this run.
    #[arg(long)]
    previous: Option<PathBuf>,
    /// Simulated devices that update at once; 0 leaves them out.
    #[arg(long, value_name = "N", default_value_t = 5000)]
    devices: u32,
    /// Length of the code in the image that they update to, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 300_000)]
    image_bytes: u32,
    /// Leave out what depends on the machine: processor time and the fleet.
    #[arg(long)]
    counts: bool,
    /// Print all numbers as JSON.
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
///
/// When something cannot be measured, or a goal is missed.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut table = Table::default();
    if let Some(manifest) = &args.firmware {
        firmware::add_to(&mut table, manifest)?;
    }
    add_erases(&mut table)?;
    if !args.counts {
        add_time(&mut table);
        if args.devices > 0 {
            fleet::measure(args.devices, args.image_bytes)?.add_to(&mut table);
        }
    }
    table.finish(args.previous.as_deref(), args.json)
}

fn add_erases(table: &mut Table) -> anyhow::Result<()> {
    let cost::Erases { count, count_max, of_a_sector_max } = cost::erases();
    let (count, count_max) = (u32::try_from(count)?, u32::try_from(count_max)?);
    let row = Row::new("erases: update of 1.3 MB, whole chip", count.into());
    table.add(row.at_most(count_max.into()));
    let row = Row::new("erases: of any sector of the slot", of_a_sector_max.into());
    table.add(row.at_most(1.0));
    Ok(())
}

fn add_time(table: &mut Table) {
    let cost::Time { update, hash } = cost::time();
    table.add(Row::new("processor: SHA-256 of 1.3 MB, ms", hash * 1e3));
    table.add(Row::new("processor: update of 1.3 MB, ms", update * 1e3));
    let row = Row::new("processor: update of 1.3 MB, hashes of it", update / hash);
    table.add(row.at_most(HASHES_GOAL));
}
