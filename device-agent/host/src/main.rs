//! The command line of the simulated devices.

use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use waxwing_agent_host::config::BootLoader;
use waxwing_agent_host::fleet::{Counters, Fleet, Scoreboard, View, describe, print_line};
use waxwing_agent_host::gateway::{self, Gateway, Said};
use waxwing_agent_host::profile::Mix;
use waxwing_agent_host::{Config, Device, Kit};
use waxwing_wire::DeviceId;

/// How often the counters on a terminal change.
const REFRESH: Duration = Duration::from_millis(200);
/// Open files of a device: two connections, and one that is just being closed.
const FILES_PER_DEVICE: u64 = 3;
/// Open files of the process itself, and of a few name lookups.
const FILES_BESIDES: u64 = 64;

const EXAMPLES: &str = "\
Examples:
  waxwing-agent-host enrol --config device.toml --id d-1 --token-file token.txt
  waxwing-agent-host run --config device.toml --id d-1
  waxwing-agent-host gateway --config gateway.toml --token-file token.txt
  waxwing-agent-host fleet --config fleet.toml --devices 1000
  waxwing-agent-host fleet --config fleet.toml --for 60s --json > summary.json
  waxwing-agent-host fleet --config fleet.toml --profile loss=20,power-cuts=10 --seed 7
  waxwing-agent-host fleet --config fleet.toml --profile crash --events | jq .

Profiles, in per cent of a fleet; what goes wrong is around the agent, which does not know of it:
  bad-sector   a sector of the slot for updates keeps nothing
  clock        the clock is 49.7 days ahead and a quarter too fast
  crash        every image but the first crashes before it is confirmed
  latency      after each silence, what comes is half a second late
  loss         a fifth of all connections is never made, others break
  power-cuts   the power goes in the middle of an operation of the flash, every 20 to 100 of them
  slow         16 KiB a second

A configuration:
  product = \"acme-th1\"
  hardware = \"r1\"
  chip = \"esp32c3\"
  channels = [\"stable\"]
  work = \"work\"                     # credentials, and flash of single devices
  tokens = \"tokens.csv\"             # lines of device,token: for a fleet
  boot_loader = \"idf-rollback\"      # or \"espflash\", which never goes back by itself
  [server]
  device = \"localhost:8443\"
  enrol = \"localhost:8444\"
  mqtt = \"localhost:8883\"           # optional: without it reports travel with polls
  gateway = \"localhost:7000\"        # optional: reach the server through a gateway only
  ca = \"server-ca.pem\"
  [factory]
  image = \"factory.bin\"
  version = \"1.0.0\"
  [trust]
  director_root = \"director-root.json\"
  image_root = \"image-root.json\"
  [image]                           # optional
  version = \"ignore\"                # take images whose descriptor has another version
  [policy]                          # optional: the device's own limits are 1m and 24h
  poll_min = \"200ms\"
  [profiles]                        # optional, as --profile
  loss = 20

A configuration of a gateway:
  id = \"gw-1\"
  listen = \"127.0.0.1:7000\"         # for links of devices: a radio's bytes come in here
  work = \"work\"
  [server]
  device = \"localhost:8443\"
  enrol = \"localhost:8444\"
  ca = \"server-ca.pem\"

Exit codes: 0 as asked for, 1 something failed, 2 wrong usage.";

/// Runs Waxwing's agent on simulated ESP32s.
#[derive(Debug, Parser)]
#[command(name = "waxwing-agent-host", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Gets a device its first certificate.
    Enrol(EnrolArgs),
    /// Runs many devices in this process, their flash in memory.
    Fleet(FleetArgs),
    /// Carries what devices without IP say, and their firmware.
    Gateway(GatewayArgs),
    /// Runs one device, its flash in a file.
    Run(RunArgs),
}

#[derive(Args, Debug)]
struct EnrolArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// File with the device's one-time token.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
}

#[derive(Args, Debug)]
struct RunArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// Stop after this long.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
}

#[derive(Args, Debug)]
struct ConfigArgs {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Boot loader of the devices: idf-rollback or espflash; else as in the configuration.
    #[arg(long, value_name = "NAME")]
    bootloader: Option<BootLoader>,
}

#[derive(Args, Debug)]
struct DeviceArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Name of the device; else the one in the configuration.
    #[arg(long)]
    id: Option<DeviceId>,
}

#[derive(Args, Debug)]
struct FleetArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How many devices of the tokens file; else all.
    #[arg(long, value_name = "N")]
    devices: Option<usize>,
    /// What goes wrong around how many per cent of the devices; else as in the configuration.
    #[arg(long, value_name = "NAME=PERCENT,...")]
    profile: Option<Mix>,
    /// The same number makes the same trouble: bad sectors, power cuts, lost connections.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Over how long the starts are spread.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1s")]
    spread: Duration,
    /// Threads; else one for each core.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Stop after this long; else when interrupted.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Print what happens, one JSON object a line.
    #[arg(long)]
    events: bool,
    /// Print a summary as JSON at the end.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct GatewayArgs {
    /// Configuration file of the gateway.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// File with the gateway's one-time token, for its first start.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Enrol(args) => single(enrol(args)),
        Command::Fleet(args) => fleet(&args),
        Command::Gateway(args) => single(run_gateway(args)),
        Command::Run(args) => single(run(args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {}", describe(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

/// A device stays on one thread.
fn single(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn enrol(args: EnrolArgs) -> Result<()> {
    let (kit, id) = args.device.load()?;
    let token = std::fs::read_to_string(&args.token_file)
        .with_context(|| format!("cannot read {}", args.token_file.display()))?;
    Device::in_folder(&kit, id.clone(), Some(token.trim())).await?;
    complain(&format!("{id} has its certificate"));
    Ok(())
}

async fn run_gateway(args: GatewayArgs) -> Result<()> {
    let config = gateway::Config::read(&args.config)?;
    let token = args.token_file.map(|path| {
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    });
    let token = token.transpose()?;
    let gateway = Gateway::open(config, token.as_deref().map(str::trim)).await?;
    tokio::select! {
        outcome = gateway.run(say) => outcome.map_err(Into::into),
        outcome = over(None) => outcome,
    }
}

fn say(said: &Said) {
    match said {
        Said::Listening(address) => complain(&format!("listening for devices on {address}")),
        Said::NotRenewed(error) => {
            complain(&format!("certificate not renewed: {}", describe(error)));
        }
    }
}

async fn run(args: RunArgs) -> Result<()> {
    let (kit, id) = args.device.load()?;
    let mut device = Device::in_folder(&kit, id, None).await?;
    let mut observer = |happening| {
        print_line(&happening);
        ControlFlow::Continue(())
    };
    tokio::select! {
        outcome = device.run(&mut observer) => outcome.map_err(Into::into),
        outcome = over(args.duration) => outcome,
    }
}

fn fleet(args: &FleetArgs) -> Result<()> {
    let kit = args.config.load()?;
    let Some(tokens) = &kit.config.tokens else { bail!("the configuration names no tokens file") };
    let mut devices = Kit::tokens(tokens)?;
    let wanted = args.devices.unwrap_or(devices.len());
    if devices.len() < wanted {
        bail!("{} has tokens for {} devices, not {wanted}", tokens.display(), devices.len());
    }
    devices.truncate(wanted);
    let wanted = u64::try_from(wanted)?;
    open_files(wanted)?;
    let profiles = args.profile.clone().unwrap_or_else(|| kit.config.profiles.clone());
    let (spread, print, seed) = (args.spread, args.events, args.seed);
    let fleet = Fleet { kit: Arc::clone(&kit), devices, profiles, seed, spread, print };
    let threads = args.threads.unwrap_or_else(cores);
    let (scoreboard, (stop, stopped)) = (Scoreboard::default(), watch::channel(false));
    let duration = args.duration;
    let show = !args.events && !args.json && std::io::stderr().is_terminal();
    let watcher = show.then(|| (View::new(wanted), scoreboard.clone()));
    std::thread::scope(|scope| {
        scope.spawn(move || single(watch_over(stop, duration, watcher)));
        fleet.run(threads, &scoreboard, &stopped)
    })?;
    finish(&scoreboard.counters(), args)
}

/// Sees to it that the process may have enough files open.
fn open_files(devices: u64) -> Result<()> {
    let wanted = devices.saturating_mul(FILES_PER_DEVICE).saturating_add(FILES_BESIDES);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if let Some(most) = limit.maximum.filter(|most| *most < wanted) {
        bail!(
            "{devices} devices need {wanted} open files, and the hard limit is {most} (ulimit -Hn)"
        );
    }
    limit.current = Some(wanted);
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Shows the counters until it is time to stop, then says so.
async fn watch_over(
    stop: watch::Sender<bool>,
    duration: Option<Duration>,
    watcher: Option<(View, Scoreboard)>,
) -> Result<()> {
    let outcome = tokio::select! {
        outcome = over(duration) => outcome,
        never = show(watcher) => never,
    };
    stop.send_replace(true);
    outcome
}

async fn show(watcher: Option<(View, Scoreboard)>) -> Result<()> {
    let Some((mut view, scoreboard)) = watcher else { return std::future::pending().await };
    let mut refresh = tokio::time::interval(REFRESH);
    loop {
        refresh.tick().await;
        view.show(&scoreboard.counters());
    }
}

/// Ends after the duration, or when the process is asked to end.
async fn over(duration: Option<Duration>) -> Result<()> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let timeout = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = timeout => {}
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the summary is what was asked for")]
fn finish(counters: &Counters, args: &FleetArgs) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string(counters)?);
    } else {
        complain(&counters.to_string());
    }
    if counters.stopped > 0 {
        bail!("{} devices stopped; --events says why", counters.stopped);
    }
    Ok(())
}

fn complain(text: &str) {
    use std::io::Write as _;
    // Nobody listens: nothing to be done about it.
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl ConfigArgs {
    fn load(&self) -> Result<Arc<Kit>> {
        let mut config = Config::read(&self.config)?;
        config.boot_loader = self.bootloader.unwrap_or(config.boot_loader);
        Ok(Arc::new(Kit::load(config)?))
    }
}

impl DeviceArgs {
    fn load(&self) -> Result<(Arc<Kit>, DeviceId)> {
        let kit = self.config.load()?;
        let id = self.id.clone().or_else(|| kit.config.id.clone());
        let id = id.context("give the device a name: --id, or `id` in the configuration")?;
        Ok((kit, id))
    }
}
