//! A server as a process of its own, and the processor time it used.
//!
//! Not here: what is asked of it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use waxwing_server::run::Addresses;

/// How long a server may take to start: a million devices have to be read.
const START_TIMEOUT: Duration = Duration::from_mins(5);

/// How often it is looked whether a server has started.
const LOOK_PERIOD: Duration = Duration::from_millis(10);

/// Clock ticks per second in `/proc/<pid>/stat`: `USER_HZ`, 100 on every Linux there is.
const TICKS_PER_SECOND: u32 = 100;

/// A running server. Dropping it ends it.
pub(crate) struct Process {
    child: Child,
    /// Where it answers polls.
    pub(crate) address: SocketAddr,
    /// Where it answers operators, if it does.
    pub(crate) admin: Option<SocketAddr>,
    /// Where it speaks MQTT, if it does.
    pub(crate) mqtt: Option<SocketAddr>,
}

impl Process {
    /// Starts the server under test and waits until it listens.
    pub(crate) async fn waxwing(
        program: &Path,
        config: &Path,
        data: &Path,
    ) -> anyhow::Result<Self> {
        let announced = data.join("run/listeners.json");
        // What a server that ran before has left.
        if announced.exists() {
            fs::remove_file(&announced)?;
        }
        let mut command = Command::new(program);
        // At its first start it says things that are no result of ours.
        command.arg("--config").arg(config).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start {}", program.display()))?;
        let addresses = timeout(START_TIMEOUT, addresses(&announced)).await;
        let Addresses { device, admin, mqtt, .. } = addresses.context("not started")??;
        Ok(Self { child, address: device, admin: Some(admin), mqtt: Some(mqtt) })
    }

    /// Ends it, and waits until it has.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts the server to compare with.
    pub(crate) async fn bare(config: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bare").arg("--config").arg(config);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let line = timeout(START_TIMEOUT, BufReader::new(stdout).lines().next_line()).await;
        let address = line.context("not started")??.context("ended at once")?.parse()?;
        Ok(Self { child, address, admin: None, mqtt: None })
    }

    /// Starts a broker of others, and waits until it listens.
    pub(crate) async fn foreign(
        program: &str,
        arguments: &[&str],
        mqtt: SocketAddr,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        // Of connections that end without a word it says so; that is no result of ours.
        command.args(arguments).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start {program}"))?;
        timeout(START_TIMEOUT, answers(mqtt)).await.context("not started")?;
        Ok(Self { child, address: mqtt, admin: None, mqtt: Some(mqtt) })
    }

    /// Returns the processor time used so far, in user and kernel mode, by all its threads.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(self.child.id().context("the server has ended")?)
    }

    /// Returns the memory in use, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        memory(self.child.id().context("the server has ended")?)
    }
}

/// Returns the processor time a process has used so far, in user and kernel mode, by all its threads.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn cpu(id: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The second field is the name of the program, in parentheses and with any character.
    let (_, fields) = stat.rsplit_once(')').context("unreadable stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks =
        |at: usize| -> anyhow::Result<u32> { Ok(fields.get(at).context("short stat")?.parse()?) };
    // utime and stime: fields 14 and 15 of proc(5), 3 being the first after the name.
    Ok(Duration::from_secs((ticks(11)? + ticks(12)?).into()) / TICKS_PER_SECOND)
}

/// Returns the memory that a process has now, in bytes.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn memory(id: u32) -> anyhow::Result<u64> {
    status(id, "VmRSS:")
}

/// Returns the most memory that a process has had, in bytes.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn memory_most(id: u32) -> anyhow::Result<u64> {
    status(id, "VmHWM:")
}

/// Returns a length that the kernel tells of a process, in bytes.
fn status(id: u32, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("no {name}"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// Returns the server to measure: the one given, else the one beside this program.
///
/// # Errors
///
/// When there is none.
pub(crate) fn server(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(server) = given {
        return Ok(server.to_owned());
    }
    let here = std::env::current_exe()?;
    let server = here.parent().map(|folder| folder.join("waxwing-server"));
    server.filter(|server| server.exists()).context("no waxwing-server beside this program")
}

async fn answers(address: SocketAddr) {
    while TcpStream::connect(address).await.is_err() {
        sleep(LOOK_PERIOD).await;
    }
}

async fn addresses(announced: &Path) -> anyhow::Result<Addresses> {
    loop {
        if let Ok(json) = fs::read(announced) {
            return Ok(serde_json::from_slice(&json)?);
        }
        sleep(LOOK_PERIOD).await;
    }
}
