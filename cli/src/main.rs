//! `waxwing`: the operator's command line over the server's REST API.
//!
//! One module per command group: arguments, request, what to print. Not here: rules. The server
//! decides, and this program shows its answer; it holds no key that signs anything.
//!
//! Exit codes: 0 done; 1 the server refused, cannot be reached, a watched rollout ended badly, or a
//! check of `doctor` failed; 2 wrong use: arguments, files or profile.

mod affected;
mod alert;
mod api;
mod audit;
mod device;
mod director;
mod doctor;
mod error;
mod group;
mod input;
mod login;
mod mail;
mod operator;
mod output;
mod product;
mod profile;
mod release;
mod rollout;
mod secret;
mod sink;
mod webhook;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use api::Api;
use error::Error;
use output::Output;
use profile::ProfileName;

const EXAMPLES: &str = "\
Examples:
  waxwing login https://updates.example:8445 --ca server-ca.pem --token-file token
  waxwing product create releases/th1/product.toml --root 1.root.json
  waxwing device add th1-0001 --template th1.toml --out th1-0001.bin --tag site=lab
  waxwing device add --csv devices.csv --template th1.toml --out-dir credentials
  waxwing group create lab --product th1 --tag site=lab
  waxwing rollout create --product th1 --channel stable --release 1.1.0 --group lab --phases 10,50,100
  waxwing rollout start ROLLOUT && waxwing rollout watch ROLLOUT
  waxwing device list --json | jq -r '.[].id'
  waxwing doctor

Prints tables on a terminal, and JSON with --json or into a pipe.";

/// Operate a Waxwing server: products, devices, groups, releases and rollouts.
#[derive(Parser)]
#[command(name = "waxwing", version, after_help = EXAMPLES)]
struct Arguments {
    /// Which login to use.
    #[arg(long, global = true, env = "WAXWING_PROFILE", default_value = "default")]
    profile: ProfileName,
    /// Why, for the audit log; a sentence or the link of a ticket.
    #[arg(long, global = true)]
    reason: Option<String>,
    /// Print JSON also on a terminal.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Alerts: what somebody must know, and the rules for it.
    #[command(subcommand)]
    Alert(alert::Command),
    /// Show who did what.
    Audit(audit::Args),
    /// Devices: register, tag, enrol, revoke, command.
    #[command(subcommand)]
    Device(device::Command),
    /// List devices that run a release with a component in it, as SBOMs say.
    Affected(affected::Args),
    /// The Director: its online key and its root.
    #[command(subcommand)]
    Director(director::Command),
    /// Check that everything is as it should be: server, expiries, rollouts, audit log.
    Doctor(doctor::Args),
    /// Groups of devices, by name or by tag.
    #[command(subcommand)]
    Group(group::Command),
    /// Keep a server's address, CA and token as a profile.
    Login(login::Args),
    /// E-mail about alerts: try it, and see what became of it.
    #[command(subcommand)]
    Mail(mail::Command),
    /// Operators: replace their tokens.
    #[command(subcommand)]
    Operator(operator::Command),
    /// Products: one kind of device each.
    #[command(subcommand)]
    Product(product::Command),
    /// Releases that keyholders signed and published.
    #[command(subcommand)]
    Release(release::Command),
    /// Rollouts: bring a release to a group, in phases.
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Sinks: other systems that get what devices say.
    #[command(subcommand)]
    Sink(sink::Command),
    /// Webhooks: tell other machines of rollouts.
    #[command(subcommand)]
    Webhook(webhook::Command),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    let out = Output::new(arguments.json);
    let reason = arguments.reason.as_deref();
    let api = || Api::new(&profile::load(&arguments.profile)?, reason);
    match arguments.command {
        Command::Affected(args) => affected::run(args, &api()?, out).await,
        Command::Alert(command) => alert::run(command, &api()?, out).await,
        Command::Audit(args) => audit::run(args, &api()?, out).await,
        Command::Device(command) => {
            let profile = profile::load(&arguments.profile)?;
            device::run(command, &Api::new(&profile, reason)?, &profile, out).await
        }
        Command::Director(command) => director::run(command, &api()?, out).await,
        Command::Doctor(args) => doctor::run(args, &api()?, &arguments.profile, out).await,
        Command::Group(command) => group::run(command, &api()?, out).await,
        Command::Login(args) => login::run(args, &arguments.profile).await,
        Command::Mail(command) => mail::run(command, &api()?, out).await,
        Command::Operator(command) => operator::run(command, &api()?, out).await,
        Command::Product(command) => product::run(command, &api()?, out).await,
        Command::Release(command) => release::run(command, &api()?, out).await,
        Command::Rollout(command) => rollout::run(command, &api()?, out).await,
        Command::Sink(command) => sink::run(command, &api()?, out).await,
        Command::Webhook(command) => webhook::run(command, &api()?, out).await,
    }
}
