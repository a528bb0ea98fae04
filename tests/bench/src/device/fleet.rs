//! Thousands of agents in one process, all updating from the real server on this machine.
//!
//! The whole thing as the end-to-end tests have it: ceremony, server, operator, fleet, each the real
//! program. Not here: what a device is.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use waxwing_e2e::ceremony::Plan;
use waxwing_e2e::fleet::Batch;
use waxwing_e2e::image::{self, Behaviour, Recipe};
use waxwing_e2e::world::{EVERYBODY, World};

use crate::process;
use crate::table::{Row, Table};

/// Most memory of the process that simulates the fleet, in bytes.
const MEMORY_GOAL: u32 = 300_000_000;
/// Most cores it may keep busy.
const CORES_GOAL: f64 = 2.0;
/// Devices that start in a second: a handshake and a certificate each.
const STARTS_PER_SECOND: u32 = 100;
/// How often a device polls. More often, and polls are what is measured.
const POLL: &str = "20s";
/// How long a device waits at most after a failure: where the hard limit of open files is low, the server
/// takes fewer connections than there are devices, and the others ask again.
const BACK_OFF_MAX: &str = "20s";
/// The server closes connections on which nothing happens for so long, for the same reason.
const IDLE: &str = "[limits]\nrequest_head_s = 5\n";

/// What was measured.
pub(super) struct Fleet {
    devices: u32,
    updated: u32,
    /// From the order to update until the last device was healthy.
    time: Duration,
    /// Processor time of the fleet in that time.
    cpu: Duration,
    server_cpu: Duration,
    /// Most memory that the fleet has had, in bytes.
    memory: u64,
}

/// Lets so many devices enrol and update.
///
/// # Errors
///
/// When a program refuses a step, a device stops, or nothing happens for two minutes.
pub(super) fn measure(devices: u32, code_bytes: u32) -> anyhow::Result<Fleet> {
    let folder = tempfile::tempdir()?;
    let plan = Plan { worthless_keys: true, ..Plan::default() };
    let world = World::create_with(folder.path(), plan, IDLE)?;
    let image = |version| -> anyhow::Result<_> {
        let path = folder.path().join(version);
        let code_bytes = usize::try_from(code_bytes)?;
        let recipe = Recipe { version, behaviour: Behaviour::Work, code_bytes };
        fs::write(&path, image::make(recipe)?)?;
        Ok(path)
    };
    let names: Vec<_> = (1..=devices).map(|number| format!("th1-{number:05}")).collect();
    let spread = format!("{}s", devices.div_ceil(STARTS_PER_SECOND));
    let (poll_min, back_off_max) = (POLL, BACK_OFF_MAX);
    let batch =
        Batch { names: &names, poll_min, back_off_max, spread: &spread, ..Batch::default() };
    eprintln!("registering {devices} devices");
    let tokens = world.register_all(&names)?;
    eprintln!("enrolling them, over {spread}");
    let mut fleet = world.start_with(&batch, &tokens, &image("1.0.0")?)?;
    world.publish("1.1.0", 1, &image("1.1.0")?)?;
    let (id, server) = (fleet.process_id(), world.server.process_id()?);
    let (began, cpu) = (now(), process::cpu(id)?);
    let server_cpu = process::cpu(server)?;
    eprintln!("updating them");
    world.start_rollout("r-1", "1.1.0", EVERYBODY, "100")?;
    fleet.wait_for_many(names.len(), |event| event.is_acknowledged("r-1", "healthy"))?;
    let time = began.elapsed();
    let cpu = process::cpu(id)?.saturating_sub(cpu);
    let server_cpu = process::cpu(server)?.saturating_sub(server_cpu);
    let memory = process::memory_most(id)?;
    let summary = fleet.switch_off()?;
    let updated = summary.pointer("/states/healthy").and_then(Value::as_u64);
    let updated = updated.context("no device is healthy")?;
    Ok(Fleet { devices, updated: u32::try_from(updated)?, time, cpu, server_cpu, memory })
}

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn now() -> Instant {
    Instant::now()
}

impl Fleet {
    /// Adds the numbers to a table.
    pub(super) fn add_to(&self, table: &mut Table) {
        let devices = f64::from(self.devices);
        let missing = self.devices.saturating_sub(self.updated);
        table.add(Row::new("fleet: agents in one process", devices));
        table.add(Row::new("fleet: agents that did not update", missing.into()).at_most(0.0));
        let memory = f64::from(u32::try_from(self.memory).unwrap_or(u32::MAX));
        let row = Row::new("fleet: memory at most, bytes", memory);
        table.add(row.at_most(MEMORY_GOAL.into()));
        table.add(Row::new("fleet: memory, bytes an agent", (memory / devices).round()));
        let cores = self.cpu.as_secs_f64() / self.time.as_secs_f64();
        table.add(Row::new("fleet: cores busy", cores).at_most(CORES_GOAL));
        table.add(Row::new("fleet: seconds until the last was healthy", self.time.as_secs_f64()));
        let each = |time: Duration| time.as_secs_f64() * 1e3 / devices;
        table.add(Row::new("fleet: processor, ms an update", each(self.cpu)));
        table.add(Row::new("server: processor, ms an update", each(self.server_cpu)));
    }
}
