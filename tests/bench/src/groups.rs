//! What a query costs: the index over a whole fleet against asking every device, in turns, in the same
//! run; and what the index costs with every device that changes.
//!
//! Not here: HTTP, and memory ([`crate::scale`]).

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use semver::Version;
use waxwing_server::clock::{Clock as _, SystemClock};
use waxwing_server::domain::group::Members;
use waxwing_server::domain::{Device, Group, Query};
use waxwing_server::fleet::Fleet;
use waxwing_wire::GroupId;

use crate::fleet;
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
    let devices = (0..args.devices).map(device).collect::<anyhow::Result<Vec<_>>>()?;
    let fleet = Fleet::default();
    let (build, ()) = timed(|| devices.iter().cloned().for_each(|device| fleet.put_device(device)));
    table.add(Row::new("all devices taken in, ms", millis(build)));
    for (text, is_indexed) in QUERIES {
        add_query(&mut table, &fleet, &devices, (text, is_indexed))?;
    }
    add_changes(&mut table, &fleet, &devices)?;
    table.finish(None, args.json)
}

fn add_query(
    table: &mut Table,
    fleet: &Fleet,
    devices: &[Device],
    (text, is_indexed): (&str, bool),
) -> anyhow::Result<()> {
    let query = Query::parse(text)?;
    let group = group_of(query.clone())?;
    let id = group.id.clone();
    fleet.put_group(group);
    let (mut indexed, mut scanned) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (time, found) = timed(|| fleet.member_count(&id));
        indexed.push(millis(time));
        let (time, asked) = timed(|| devices.iter().filter(|it| query.matches(*it)).count());
        scanned.push(millis(time));
        anyhow::ensure!(found == u64::try_from(asked)?, "{text}: the index is wrong");
    }
    let (indexed, scanned) = (median(&mut indexed), median(&mut scanned));
    let row = Row::new(format!("{text}, ms"), indexed);
    table.add(if is_indexed { row.at_most(QUERY_GOAL_MS) } else { row });
    table.add(Row::new("  every device asked, ms", scanned));
    Ok(())
}

/// Changes of versions, as after an update, and the question that a poll asks.
fn add_changes(table: &mut Table, fleet: &Fleet, devices: &[Device]) -> anyhow::Result<()> {
    let version = Arc::new(Version::new(1, 5, 0));
    let changed = devices.iter().step_by(100);
    let changed: Vec<_> = changed
        .map(|device| Device { version: Some(Arc::clone(&version)), ..device.clone() })
        .collect();
    let count = f64::from(u32::try_from(changed.len())?);
    let (time, ()) = timed(|| changed.into_iter().for_each(|device| fleet.put_device(device)));
    table.add(Row::new("a device changes its version, us", micros(time) / count));
    let (text, _) = QUERIES.get(2).context("a query")?;
    let query = Query::parse(text)?;
    let device = devices.first().context("a device")?;
    let asked = 1_000_000_u32;
    let (time, ()) = timed(|| {
        for _ in 0..asked {
            black_box(query.matches(black_box(device)));
        }
    });
    table.add(Row::new("a poll asks for membership, us", micros(time) / f64::from(asked)));
    Ok(())
}

/// The group of those whom a query finds.
fn group_of(query: Query) -> anyhow::Result<Group> {
    let (id, product) = (GroupId::parse("found")?, fleet::product_id()?);
    let (description, members) = (String::new(), Members::Query(query));
    Ok(Group { id, product, description, members, created_at: 0 })
}

/// A device of those that run one of five versions.
fn device(n: u32) -> anyhow::Result<Device> {
    let version = Some(Arc::new(Version::new(1, (n % 5).into(), 0)));
    Ok(Device { version, ..fleet::device(usize::try_from(n)?, n.into())? })
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
