//! What the MQTT endpoint costs beside Mosquitto: connections over mutual TLS, memory of idle ones, and
//! messages that pass the five checks and are stored.
//!
//! Both servers have the same certificates and get the same devices, in turns. What the devices cost is
//! not counted: "per core" is per second of processor time that the server used. Not here: packets, and how
//! load is made.

mod line;
mod load;
mod mosquitto;
mod said;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use waxwing_server::clock::{Clock as _, SystemClock};
use waxwing_server::config::Config;

use self::line::Line;
use self::load::{Client, Load};
use self::said::Signing;
use crate::fleet::{self, Prepared};
use crate::operator::Operator;
use crate::process::{self, Process};
use crate::table::{Row, Table};

/// Runs of each measurement: the median of five is what is reported (D32).
const RUNS: usize = 5;

/// Devices that are connected before memory is looked at: what a server takes once is not theirs.
const FIRST: usize = 100;

/// Messages that a device sends in one run, all at once.
const MESSAGES_EACH: u16 = 20;

/// Connections that other listeners of the server may have here.
const OTHER_CONNECTIONS: usize = 500;

/// The goals: connections over those of Mosquitto, bytes of an idle connection, bytes of everything, and
/// messages per second and core.
const CONNECTS_RATIO_MIN: f64 = 2.0;
const IDLE_BYTES_MAX: f64 = 20_000.0;
const RESIDENT_MB_MAX: f64 = 250.0;
const HS256_MIN: f64 = 25_000.0;
const ES256_MIN: f64 = 8_000.0;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Registered devices, all of which connect.
    #[arg(long, default_value_t = 10_000)]
    devices: usize,
    /// Devices that send messages, with either kind of signature; each sends twenty in a run.
    #[arg(long, default_value_t = 1_000)]
    senders: usize,
    /// Connections of one run; there are ten.
    #[arg(long, default_value_t = 2_000)]
    connects: usize,
    /// The server to measure; default: beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Print all numbers as JSON.
    #[arg(long)]
    json: bool,
}

/// Both servers, and the devices.
struct Stage {
    waxwing: Process,
    mosquitto: Process,
    prepared: Prepared,
    clients: Vec<Arc<Client>>,
}

/// Measures and prints.
///
/// # Errors
///
/// When something cannot be measured, or a goal is missed.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.devices > FIRST && args.senders * 2 <= args.devices, "too few devices");
    ensure!(args.connects <= args.devices, "each device connects once in a run");
    raise_files(args.devices)?;
    let folder = tempfile::tempdir()?;
    let stage = Stage::set(args, folder.path()).await?;
    let mut table = Table::default();
    drop(stage.add_memory(&mut table, &stage.mosquitto, "Mosquitto").await?);
    let lines = stage.add_memory(&mut table, &stage.waxwing, "Waxwing").await?;
    let resident = number(stage.waxwing.memory()?)? / 1e6;
    let name = format!("Waxwing with {} devices connected, MB", args.devices);
    table.add(Row::new(name, resident).at_most(RESIDENT_MB_MAX));
    stage.add_messages(&mut table, lines, args).await?;
    stage.add_connects(&mut table, args.connects).await?;
    table.finish(None, args.json)
}

impl Stage {
    async fn set(args: &Args, folder: &std::path::Path) -> anyhow::Result<Self> {
        let data = folder.join("data");
        let now_ms = SystemClock::new().now_ms();
        let prepared = fleet::prepare(&data, args.devices, args.devices, now_ms).await?;
        let mut config = Config::load(Some(&prepared.config), [])?;
        config.limits.connections = OTHER_CONNECTIONS;
        config.limits.mqtt_connections = args.devices + OTHER_CONNECTIONS;
        std::fs::write(&prepared.config, config.to_toml()?)?;
        let server = process::server(args.server.as_deref())?;
        let waxwing = Process::waxwing(&server, &prepared.config, &data).await?;
        let mosquitto = mosquitto::start(&prepared.config, &folder.join("mosquitto")).await?;
        let client = |(n, poller)| {
            let client = Client::new(fleet::device_id(n)?, poller, &prepared.server_ca)?;
            Ok(Arc::new(client))
        };
        let clients = prepared.devices.iter().enumerate().map(client);
        let clients = clients.collect::<anyhow::Result<_>>()?;
        Ok(Self { waxwing, mosquitto, prepared, clients })
    }

    /// Connects all devices, and adds what one of them costs while nothing happens.
    async fn add_memory(
        &self,
        table: &mut Table,
        server: &Process,
        name: &str,
    ) -> anyhow::Result<Vec<Line>> {
        let address = server.mqtt.context("no listener for MQTT")?;
        let (first, others) = self.clients.split_at(FIRST);
        let mut lines = load::connect(first, address).await?;
        load::rest(server).await?;
        let before = server.memory()?;
        lines.extend(load::connect(others, address).await?);
        load::rest(server).await?;
        let more = number(server.memory()?.saturating_sub(before))?;
        let each = Row::new(
            format!("idle connection, {name}, bytes"),
            more / number(u64::try_from(others.len())?)?,
        );
        table.add(if name == "Waxwing" { each.at_most(IDLE_BYTES_MAX) } else { each });
        Ok(lines)
    }

    /// Sends messages of either signature to the server, and those of one to Mosquitto, which looks at none.
    async fn add_messages(
        &self,
        table: &mut Table,
        mut lines: Vec<Line>,
        args: &Args,
    ) -> anyhow::Result<()> {
        let rest = lines.split_off(args.senders * 2);
        let of_keys = lines.split_off(args.senders);
        let with_secrets = self.give_secrets(args.senders).await?;
        let with_keys = vec![Signing::Es256; args.senders];
        let address = self.mosquitto.mqtt.context("no listener for MQTT")?;
        let senders = self.clients.get(args.senders..args.senders * 2).unwrap_or_default();
        let others = load::connect(senders, address).await?;
        let hs256 = (0, "HS256", &with_secrets, &self.waxwing, lines);
        let es256 = (args.senders, "ES256", &with_keys, &self.waxwing, of_keys);
        let unread = (args.senders, "unread", &with_keys, &self.mosquitto, others);
        for ((first, name, signing, server, lines), goal) in
            [(hs256, Some(HS256_MIN)), (es256, Some(ES256_MIN)), (unread, None)]
        {
            let (per_core, per_s) = self.messages(first, signing, server, lines).await?;
            let who = if goal.is_some() { "Waxwing" } else { "Mosquitto" };
            let row = Row::new(format!("messages, {name}, {who}, per s and core"), per_core);
            table.add(goal.map_or(row.clone(), |goal| row.at_least(goal)));
            table.add(Row::new(format!("  per s, {name}, {who}, devices included"), per_s));
        }
        drop(rest);
        Ok(())
    }

    /// Returns messages per second of processor time of the server, and per second.
    async fn messages(
        &self,
        first: usize,
        signing: &[Signing],
        server: &Process,
        mut lines: Vec<Line>,
    ) -> anyhow::Result<(f64, f64)> {
        let (mut per_core, mut per_s) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            let loads = self.loads(first, signing, run)?;
            let count = loads.iter().map(|(_, count)| count).sum::<usize>();
            let count = number(u64::try_from(count)?)?;
            load::rest(server).await?;
            let before = server.cpu()?;
            let (back, time) = load::say(lines, loads).await?;
            let cpu = server.cpu()?.saturating_sub(before);
            lines = back;
            per_core.push(count / cpu.as_secs_f64());
            per_s.push(count / time.as_secs_f64());
        }
        Ok((median(&mut per_core), median(&mut per_s)))
    }

    fn loads(&self, first: usize, signing: &[Signing], run: usize) -> anyhow::Result<Vec<Load>> {
        let now_ms = SystemClock::new().now_ms();
        let begin = u64::try_from(run)? * u64::from(MESSAGES_EACH);
        let devices = self.clients.iter().zip(&self.prepared.devices).skip(first);
        let load = |((client, poller), signing): ((&Arc<Client>, _), &Signing)| {
            let ids = (begin, MESSAGES_EACH);
            let packets = said::packets(&client.id, poller, signing, ids, now_ms)?;
            Ok((packets, usize::from(MESSAGES_EACH)))
        };
        devices.zip(signing).map(load).collect()
    }

    /// Has the first devices sign with secrets from now on.
    async fn give_secrets(&self, count: usize) -> anyhow::Result<Vec<Signing>> {
        let admin = self.waxwing.admin.context("no listener for operators")?;
        let mut operator = Operator::connect(admin, &self.prepared.server_ca).await?;
        let mut secrets = Vec::with_capacity(count);
        for client in self.clients.iter().take(count) {
            secrets.push(Signing::Hs256(operator.give_secret(&client.id).await?));
        }
        Ok(secrets)
    }

    /// Lets devices come and go, at either server in turns.
    async fn add_connects(&self, table: &mut Table, count: usize) -> anyhow::Result<()> {
        let clients = self.clients.get(..count).context("too few devices")?;
        let (mut ours, mut theirs) = (Connects::default(), Connects::default());
        for _ in 0..RUNS {
            theirs.run(clients, &self.mosquitto).await?;
            ours.run(clients, &self.waxwing).await?;
        }
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        let cores = number(u64::try_from(cores)?)?;
        // It has one thread, so more cores are nothing to it.
        let (ours_all, theirs_all) = (cores * 1e6 / ours.cpu_us(), 1e6 / theirs.cpu_us());
        table.add(Row::new("connects per s, Mosquitto, devices included", theirs.per_s()));
        table.add(Row::new("connects per s, Waxwing, devices included", ours.per_s()));
        table.add(Row::new("CPU of a connect, Mosquitto, us", theirs.cpu_us()));
        table.add(Row::new("CPU of a connect, Waxwing, us", ours.cpu_us()));
        table.add(Row::new("  Mosquitto's over ours", theirs.cpu_us() / ours.cpu_us()));
        let name = format!("connects per s that {cores} cores give, Mosquitto (one thread)");
        table.add(Row::new(name, theirs_all));
        table.add(Row::new(format!("connects per s that {cores} cores give, Waxwing"), ours_all));
        let ratio = Row::new("  ours over Mosquitto's", ours_all / theirs_all);
        table.add(ratio.at_least(CONNECTS_RATIO_MIN));
        Ok(())
    }
}

/// What connections cost.
#[derive(Debug, Default)]
struct Connects {
    cpu_us: Vec<f64>,
    per_s: Vec<f64>,
}

impl Connects {
    async fn run(&mut self, clients: &[Arc<Client>], server: &Process) -> anyhow::Result<()> {
        let count = number(u64::try_from(clients.len())?)?;
        load::rest(server).await?;
        let before = server.cpu()?;
        let time = load::come_and_go(clients, server.mqtt.context("no listener for MQTT")?).await?;
        // The last of them may still be on its way out.
        load::rest(server).await?;
        let cpu: Duration = server.cpu()?.saturating_sub(before);
        self.cpu_us.push(cpu.as_secs_f64() * 1e6 / count);
        self.per_s.push(count / time.as_secs_f64());
        Ok(())
    }

    fn cpu_us(&self) -> f64 {
        median(&mut self.cpu_us.clone())
    }

    fn per_s(&self) -> f64 {
        median(&mut self.per_s.clone())
    }
}

/// Lets this program and its children open as many files as the system gives.
fn raise_files(devices: usize) -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let needed = u64::try_from(devices + 4 * OTHER_CONNECTIONS)?;
    let enough = limit.maximum.is_none_or(|files| files > needed);
    ensure!(
        enough,
        "{devices} devices need {needed} open files: raise the hard limit (RLIMIT_NOFILE)"
    );
    Ok(())
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Counts and bytes here are below 2^52.
fn number(count: u64) -> anyhow::Result<f64> {
    let (thousands, rest) = (count / 1_000, count % 1_000);
    Ok(f64::from(u32::try_from(thousands)?) * 1e3 + f64::from(u32::try_from(rest)?))
}
