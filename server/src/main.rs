//! The server's command line: reads the configuration, starts, and waits for the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tokio::runtime::Runtime;
use waxwing_server::clock::{Clock as _, SystemClock};
use waxwing_server::config::Config;
use waxwing_server::random::SystemRandom;
use waxwing_server::{broker, health, logging, run, setup};

/// Hands signed firmware to fleets of devices.
///
/// The first start makes the data folder, the certificates, the Director's key and an admin token,
/// which it prints once.
#[derive(Parser)]
#[command(version, after_long_help = EXAMPLES)]
struct Arguments {
    /// Configuration file. Default: waxwing/server.toml in the folder that `XDG_CONFIG_HOME` names,
    /// else /etc/waxwing/server.toml, where there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints the effective configuration and ends
    #[arg(long)]
    print_config: bool,
    /// Believes the machine's clock, however far ahead it is since the last start
    #[arg(long)]
    confirm_clock: bool,
    /// Makes another server CA in a folder, and ends. Have its certificate signed as a target first;
    /// once devices know it, move both files into `secrets_dir`
    #[arg(long, value_name = "FOLDER")]
    make_server_ca: Option<PathBuf>,
    /// Makes another device CA in a folder, and ends. Rename the present files to
    /// `device-ca-previous`, move these into `secrets_dir`, and restart: devices renew one by one
    #[arg(long, value_name = "FOLDER")]
    make_device_ca: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Asks the server that runs with this configuration whether it answers, and ends
    #[arg(long)]
    health_check: bool,
}

/// What has to do with a broker of others.
#[derive(clap::Args)]
struct BrokerArguments {
    /// Makes the certificates that a broker of others needs, and those of two servers that are its
    /// clients, in a folder, and ends
    #[arg(long, value_name = "FOLDER", requires = "broker_name")]
    make_broker_files: Option<PathBuf>,
    /// A name or address under which devices and servers reach that broker; may be given again
    #[arg(long, value_name = "NAME", requires = "make_broker_files")]
    broker_name: Vec<String>,
    /// Takes messages from the broker of the section `[broker]` for the server that runs on the same
    /// data folder, and does nothing else
    #[arg(long)]
    intake: bool,
}

const EXAMPLES: &str = "\
Examples:
  waxwing-server --config server.toml
  waxwing-server --print-config > server.toml
  WAXWING_SERVER__LISTEN__ADMIN=127.0.0.1:8445 waxwing-server

Every key of the file has an environment variable: WAXWING_SERVER__, its sections and name in
capitals, joined by two underscores.";

/// How long threads may take to end that block: a write to a file takes less, and what waits for another
/// machine, such as a mail server, is sent again after the next start.
const THREADS_END_MAX: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<()> {
    let runtime = Runtime::new().context("cannot start")?;
    let ended = runtime.block_on(act(Arguments::parse()));
    runtime.shutdown_timeout(THREADS_END_MAX);
    ended
}

async fn act(arguments: Arguments) -> anyhow::Result<()> {
    let environment: Vec<(String, String)> = std::env::vars().collect();
    let file = arguments.config.or_else(|| Config::default_file(&environment));
    let config = Config::load(file.as_deref(), environment)?;
    if arguments.print_config {
        return run::print(&config.to_toml()?).context("cannot print the configuration");
    }
    if let Some(folder) = arguments.make_server_ca {
        let now_ms = SystemClock::new().now_ms();
        return Ok(setup::make_server_ca(&folder, &SystemRandom, now_ms)?);
    }
    if let Some(folder) = arguments.make_device_ca {
        let now_ms = SystemClock::new().now_ms();
        return Ok(setup::make_device_ca(&folder, &SystemRandom, now_ms)?);
    }
    if let Some(folder) = arguments.broker.make_broker_files {
        let (names, now_ms) = (&arguments.broker.broker_name, SystemClock::new().now_ms());
        return Ok(broker::files::make(&config, &folder, names, &SystemRandom, now_ms)?);
    }
    if arguments.health_check {
        return Ok(health::check(&config).await?);
    }
    logging::start(&config.log)?;
    let signals = run::Signals::take_over()?;
    if arguments.broker.intake {
        let clock = Arc::new(SystemClock::new());
        return Ok(broker::run_intake(&config, clock, signals.ended()).await?);
    }
    let options = run::Options { confirm_clock: arguments.confirm_clock };
    let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let running = run::start(config, options, clock, random).await?;
    signals.wait(&running).await;
    running.stop().await;
    Ok(())
}
