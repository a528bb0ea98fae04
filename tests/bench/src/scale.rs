//! What a large fleet costs beside a small one: two real servers, one with a million registered
//! devices and one with a thousand, polled in turns by as many devices.
//!
//! Memory is what the kernel counts as resident after the start, as the difference between the two
//! over the devices that the one has more: whatever a device costs beyond its rows on disk. Not here:
//! the fleets themselves ([`crate::fleet`]), and how polls are made.

mod fleet;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use waxwing_server::clock::{Clock as _, SystemClock};

use self::fleet::{FINISHED, Histories};
use crate::fleet::{Prepared, prepare};
use crate::load::{Bounds, Device, Mode};
use crate::operator::Operator;
use crate::poll::{caught_up, measure};
use crate::process::{self, Process};
use crate::report::Run;
use crate::table::{Row, Table};

/// Runs of each server: the median of five is what is reported (D32).
const RUNS: usize = 5;

/// Devices of the small fleet.
const FEW: usize = 1_000;

/// What a million devices may cost at most: memory of each beyond its rows, in bytes.
const DEVICE_BYTES_MAX: f64 = 300.0;
/// Until the first poll is answered after a start, in milliseconds.
const START_MS_MAX: f64 = 10_000.0;
/// To draft a rollout over all of them and to start it, in milliseconds.
const ROLLOUT_MS_MAX: f64 = 1_000.0;
/// A poll, over a poll of a device of the small fleet; and the fleet's part of it after many rollouts,
/// over that after none.
const RATIO_MAX: f64 = 1.15;
/// How often every device polls in one run of the fleet's part.
const ROUNDS: u32 = 200;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Registered devices.
    #[arg(long, default_value_t = 1_000_000)]
    devices: usize,
    /// Devices that poll, of either fleet.
    #[arg(long, default_value_t = FEW)]
    pollers: usize,
    /// How many of them poll at the same time.
    #[arg(long, default_value_t = 16)]
    at_once: usize,
    /// Time of one run in seconds; there are ten.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// The server to measure; default: beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Print all numbers as JSON.
    #[arg(long)]
    json: bool,
}

/// A server on a fleet of its own.
struct Side {
    prepared: Prepared,
    process: Process,
    count: usize,
    /// How long each start took until a poll was answered, in milliseconds.
    starts: Vec<f64>,
    /// Resident after each start, in bytes.
    memory: Vec<f64>,
}

/// Measures and prints.
///
/// # Errors
///
/// When something cannot be measured, or a goal is missed.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let server = process::server(args.server.as_deref())?;
    let folder = tempfile::tempdir()?;
    let few = Side::start(&server, &folder.path().join("few"), FEW, args).await?;
    let many = Side::start(&server, &folder.path().join("many"), args.devices, args).await?;
    let mut table = Table::default();
    add_start(&mut table, &few, &many)?;
    add_polls(&mut table, &few, &many, args).await?;
    add_rollout(&mut table, &many).await?;
    drop((few, many));
    add_history(&mut table)?;
    table.finish(None, args.json)
}

impl Side {
    async fn start(server: &Path, data: &Path, count: usize, args: &Args) -> anyhow::Result<Self> {
        let clock = SystemClock::new();
        let prepared = prepare(data, count, args.pollers, clock.now_ms()).await?;
        let first = prepared.devices.first().context("no device polls")?;
        let (mut starts, mut memory) = (Vec::new(), Vec::new());
        loop {
            let begun = clock.monotonic();
            let process = Process::waxwing(server, &prepared.config, data).await?;
            Device::new(first, &prepared.server_ca, 0)?.catch_up(process.address).await?;
            starts.push(millis(clock.monotonic().saturating_sub(begun)));
            memory.push(number(process.memory()?)?);
            if starts.len() == RUNS {
                return Ok(Self { prepared, process, count, starts, memory });
            }
            process.end().await?;
        }
    }
}

fn add_start(table: &mut Table, few: &Side, many: &Side) -> anyhow::Result<()> {
    let more = number(u64::try_from(many.count.saturating_sub(few.count))?)?;
    let bytes = (median(&many.memory) - median(&few.memory)) / more;
    table.add(Row::new("memory of a registered device, bytes", bytes).at_most(DEVICE_BYTES_MAX));
    table.add(Row::new("resident with few devices, MB", median(&few.memory) / 1e6));
    table.add(Row::new("resident with many, MB", median(&many.memory) / 1e6));
    table.add(Row::new("start with few devices, ms", median(&few.starts)));
    table.add(Row::new("start with many, ms", median(&many.starts)).at_most(START_MS_MAX));
    Ok(())
}

async fn add_polls(table: &mut Table, few: &Side, many: &Side, args: &Args) -> anyhow::Result<()> {
    let bounds = Bounds { time: Duration::from_secs(args.seconds), polls: u32::MAX };
    let of_few = caught_up(&few.prepared, &few.process).await?;
    let of_many = caught_up(&many.prepared, &many.process).await?;
    let poll = async |devices: &[Arc<Device>], side: &Side| {
        measure(devices, &side.process, Mode::KeepAlive, args.at_once, bounds).await
    };
    let (mut few_runs, mut many_runs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        few_runs.push(poll(&of_few, few).await?);
        many_runs.push(poll(&of_many, many).await?);
    }
    let of =
        |runs: &[Run], what: fn(&Run) -> f64| median(&runs.iter().map(what).collect::<Vec<_>>());
    let cpu = |runs: &[Run]| of(runs, |run| run.cpu_us_per_poll);
    table.add(Row::new("CPU of a poll with few devices, us", cpu(&few_runs)));
    table.add(Row::new("CPU of a poll with many, us", cpu(&many_runs)));
    let ratio = cpu(&many_runs) / cpu(&few_runs);
    table.add(Row::new("  the one over the other", ratio).at_most(RATIO_MAX));
    for (name, runs) in [("few devices", &few_runs), ("many", &many_runs)] {
        table.add(Row::new(format!("a poll with {name}, p50, ms"), of(runs, |run| run.p50_ms)));
        table.add(Row::new(format!("a poll with {name}, p99, ms"), of(runs, |run| run.p99_ms)));
    }
    Ok(())
}

/// Drafts a rollout to everybody and starts it, as an operator does; what it was is taken back.
async fn add_rollout(table: &mut Table, many: &Side) -> anyhow::Result<()> {
    let admin: SocketAddr = many.process.admin.context("no listener for operators")?;
    let mut operator = Operator::connect(admin, &many.prepared.server_ca).await?;
    let clock = SystemClock::new();
    let (mut drafts, mut starts) = (Vec::new(), Vec::new());
    for n in 0..RUNS {
        let id = format!("new-{n}");
        let begun = clock.monotonic();
        operator.draft(&id).await?;
        let drafted = clock.monotonic();
        operator.change(&id, "start").await?;
        starts.push(millis(clock.monotonic().saturating_sub(drafted)));
        drafts.push(millis(drafted.saturating_sub(begun)));
        operator.change(&id, "cancel").await?;
    }
    table.add(Row::new("a rollout to all of them drafted, ms", median(&drafts)));
    table.add(Row::new("  started, ms", median(&starts)));
    let both: Vec<_> = drafts.iter().zip(&starts).map(|(draft, start)| draft + start).collect();
    table.add(Row::new("  both, ms", median(&both)).at_most(ROLLOUT_MS_MAX));
    Ok(())
}

/// What the fleet does in a poll, after rollouts that have finished and without them, in turns.
fn add_history(table: &mut Table) -> anyhow::Result<()> {
    let histories = Histories::new()?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut times = (Duration::ZERO, Duration::ZERO);
        for _ in 0..ROUNDS {
            let (one, other) = histories.poll();
            times = (times.0 + one, times.1 + other);
        }
        without.push(micros_per_poll(times.0));
        with.push(micros_per_poll(times.1));
    }
    table.add(Row::new("the fleet's part of a poll, us", median(&without)));
    let name = format!("  after {FINISHED} finished rollouts, us");
    table.add(Row::new(name, median(&with)));
    let ratio = median(&with) / median(&without);
    table.add(Row::new("  the one over the other ", ratio).at_most(RATIO_MAX));
    Ok(())
}

fn micros_per_poll(time: Duration) -> f64 {
    let polls = ROUNDS * u32::try_from(fleet::DEVICES).unwrap_or(u32::MAX);
    time.as_secs_f64() * 1e6 / f64::from(polls)
}

fn median(numbers: &[f64]) -> f64 {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Kilobytes are fine enough for a process.
fn number(bytes: u64) -> anyhow::Result<f64> {
    let (thousands, rest) = (bytes / 1_000, bytes % 1_000);
    Ok(f64::from(u32::try_from(thousands)?) * 1e3 + f64::from(u32::try_from(rest)?))
}
