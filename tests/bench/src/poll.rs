//! What a poll costs: the real server with a large fleet, against a bare `204` with the same TLS.
//!
//! Not here: how the load is made and how numbers are written.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use waxwing_server::clock::{Clock as _, SystemClock};

use crate::fleet::{self, Prepared};
use crate::load::{self, Bounds, Device, Mode};
use crate::process::{self, Process};
use crate::report::{Comparison, Report, Run};

/// Runs of each server in each mode: the median of five is what is reported (D32).
const RUNS: usize = 5;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Registered devices.
    #[arg(long, default_value_t = 100_000)]
    devices: usize,
    /// Devices that poll at the same time.
    #[arg(long, default_value_t = 32)]
    pollers: usize,
    /// Longest time of one run in seconds; there are twenty.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Most polls of one run.
    #[arg(long, default_value_t = 200_000)]
    polls: u32,
    /// The server to measure; default: beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Print all numbers as JSON.
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let clock = SystemClock::new();
    let prepared = fleet::prepare(&data, args.devices, args.pollers, clock.now_ms()).await?;
    let start = clock.monotonic();
    let waxwing =
        Process::waxwing(&process::server(args.server.as_deref())?, &prepared.config, &data)
            .await?;
    let start_time = clock.monotonic().saturating_sub(start);
    let bare = Process::bare(&prepared.config).await?;
    let devices = caught_up(&prepared, &waxwing).await?;
    let bounds = Bounds { time: Duration::from_secs(args.seconds), polls: args.polls };
    let mut comparisons = Vec::new();
    for mode in [Mode::KeepAlive, Mode::NewConnection] {
        comparisons.push(compare(&devices, &bare, &waxwing, mode, bounds).await?);
    }
    let report = Report {
        devices: args.devices,
        pollers: args.pollers,
        start_seconds: start_time.as_secs_f64(),
        memory_bytes: waxwing.memory()?,
        comparisons,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        return Ok(());
    }
    Ok(report.write(&mut out)?)
}

async fn compare(
    devices: &[Arc<Device>],
    bare: &Process,
    waxwing: &Process,
    mode: Mode,
    bounds: Bounds,
) -> anyhow::Result<Comparison> {
    let (mut bare_runs, mut waxwing_runs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        bare_runs.push(measure(devices, bare, mode, devices.len(), bounds).await?);
        waxwing_runs.push(measure(devices, waxwing, mode, devices.len(), bounds).await?);
    }
    Ok(Comparison::new(mode, bare_runs, waxwing_runs))
}

/// Lets devices poll, so many of them at once.
pub(crate) async fn measure(
    devices: &[Arc<Device>],
    server: &Process,
    mode: Mode,
    at_once: usize,
    bounds: Bounds,
) -> anyhow::Result<Run> {
    let callers = load::callers(devices, server.address, mode).await?;
    let before = server.cpu()?;
    let observed = load::run(callers, server.address, at_once, bounds).await?;
    Ok(Run::new(observed, server.cpu()?.saturating_sub(before)))
}

/// Returns the devices of a fleet that poll, each with all that there is for it.
pub(crate) async fn caught_up(
    prepared: &Prepared,
    waxwing: &Process,
) -> anyhow::Result<Vec<Arc<Device>>> {
    let mut devices = Vec::new();
    for (number, poller) in (0..).zip(&prepared.devices) {
        let mut device = Device::new(poller, &prepared.server_ca, number)?;
        device.catch_up(waxwing.address).await?;
        devices.push(Arc::new(device));
    }
    Ok(devices)
}
