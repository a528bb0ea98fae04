//! What a query costs: the index over a whole fleet against asking every device, in turns, in the same
//! run; and what the index costs, in memory and with every device that changes.
//!
//! Not here: HTTP, and the lock around the fleet.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::id;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use semver::Version;
use waxwing_server::clock::{Clock as _, SystemClock};
use waxwing_server::domain::device::{Attributes, Status};
use waxwing_server::domain::{Device, Query};
use waxwing_server::fleet::Index;
use waxwing_wire::{DeviceId, ProductId};

use crate::process;
use crate::table::{Row, Table};

/// Runs of each query: the median of five is what is reported (D32).
const RUNS: usize = 5;

/// What a query may cost that the index answers by itself, in milliseconds, with a million devices.
const QUERY_GOAL_MS: f64 = 10.0;

/// Queries as people write them, and whether the index answers all of them by itself.
const QUERIES: [(&str, bool); 8] = [
    ("tag==canary", true),
    ("tag==canary;version=lt=1.3.0", true),
    ("tag=in=(canary,beta) and attribute.region!=eu and version=ge=1.2.0", true),
    ("tag.site==s7*", true),
    ("attribute.serial==serial-000123", true),
    ("attribute.cells=gt=4,tag!=*", true),
    ("controllerId==th1-00*;tag==canary", false),
    ("controllerId==th1-00*", false),
];

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Devices in the index.
    #[arg(long, default_value_t = 1_000_000)]
    devices: u32,
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
    let before = process::memory(id())?;
    let devices = (0..args.devices).map(device).collect::<anyhow::Result<Vec<_>>>()?;
    let with_devices = process::memory(id())?;
    let mut index = Index::default();
    let (build, ()) = timed(|| {
        for device in &devices {
            index.put(None, device);
        }
    });
    let with_index = process::memory(id())?;
    let count = f64::from(args.devices);
    table.add(Row::new("index built, ms", millis(build)));
    table.add(Row::new("a device, bytes", bytes(with_devices, before) / count));
    table.add(Row::new("its share of the index, bytes", bytes(with_index, with_devices) / count));
    for (text, is_indexed) in QUERIES {
        add_query(&mut table, &index, &devices, (text, is_indexed))?;
    }
    add_changes(&mut table, &mut index, &devices)?;
    table.finish(None, args.json)
}

fn add_query(
    table: &mut Table,
    index: &Index,
    devices: &[Arc<Device>],
    (text, is_indexed): (&str, bool),
) -> anyhow::Result<()> {
    let query = Query::parse(text)?;
    let (mut indexed, mut scanned) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (time, found) = timed(|| index.search(&query));
        indexed.push(millis(time));
        let (time, asked) =
            timed(|| devices.iter().filter(|device| query.matches(&***device)).count());
        scanned.push(millis(time));
        anyhow::ensure!(found.len() == u64::try_from(asked)?, "{text}: the index is wrong");
    }
    let (indexed, scanned) = (median(&mut indexed), median(&mut scanned));
    let row = Row::new(format!("{text}, ms"), indexed);
    table.add(if is_indexed { row.at_most(QUERY_GOAL_MS) } else { row });
    table.add(Row::new("  every device asked, ms", scanned));
    Ok(())
}

/// Changes of versions, as after an update, and the question that a poll asks.
fn add_changes(
    table: &mut Table,
    index: &mut Index,
    devices: &[Arc<Device>],
) -> anyhow::Result<()> {
    let version = Arc::new(Version::new(1, 5, 0));
    let changed = (0..).zip(devices).step_by(100).map(|(number, device)| {
        let version = Some(Arc::clone(&version));
        (number, Arc::new(Device { version, ..Device::clone(device) }))
    });
    let changed: Vec<_> = changed.collect();
    let (time, ()) = timed(|| {
        for (number, device) in &changed {
            index.put(Some(*number), device);
        }
    });
    let count = f64::from(u32::try_from(changed.len())?);
    table.add(Row::new("a device changes its version, us", micros(time) / count));
    let (text, _) = QUERIES.get(2).context("a query")?;
    let query = Query::parse(text)?;
    let device = devices.first().context("a device")?;
    let asked = 1_000_000_u32;
    let (time, ()) = timed(|| {
        for _ in 0..asked {
            black_box(query.matches(&**black_box(device)));
        }
    });
    table.add(Row::new("a poll asks for membership, us", micros(time) / f64::from(asked)));
    Ok(())
}

/// A device of a fleet of a hundred sites, with a canary in a hundred and a serial number of its own.
fn device(n: u32) -> anyhow::Result<Arc<Device>> {
    let mut tags = BTreeMap::from([("site".to_owned(), format!("s{}", n % 100))]);
    match n % 100 {
        17 => drop(tags.insert("canary".to_owned(), String::new())),
        18..28 => drop(tags.insert("beta".to_owned(), String::new())),
        _ => {}
    }
    let region = ["eu", "us", "jp"].get(usize::try_from(n % 3)?).context("a region")?;
    let reported = BTreeMap::from([
        ("region".to_owned(), (*region).to_owned()),
        ("serial".to_owned(), format!("serial-{n:06}")),
        ("cells".to_owned(), (n % 7).to_string()),
    ]);
    Ok(Arc::new(Device {
        id: DeviceId::parse(&format!("th1-{n:06}"))?,
        product: ProductId::parse("acme-th1")?,
        tags,
        attributes: Attributes { given: BTreeMap::new(), reported },
        version: Some(Arc::new(Version::new(1, (n % 5).into(), 0))),
        status: Status::Active,
        created_at: n.into(),
        changed_at: 0,
        certificates: Vec::new(),
    }))
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let clock = SystemClock::new();
    let start = clock.monotonic();
    let done = work();
    (clock.monotonic().saturating_sub(start), done)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Memory that was added.
fn bytes(after: u64, before: u64) -> f64 {
    let kilobytes = after.saturating_sub(before) / 1024;
    f64::from(u32::try_from(kilobytes).unwrap_or(u32::MAX)) * 1024.0
}
