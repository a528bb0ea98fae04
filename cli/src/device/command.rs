//! `waxwing device command`: what a device is asked to do, and what it said.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Map, Value, json};
use waxwing_wire::{CommandName, DeviceId};

use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::output::Output;

const SEND_EXAMPLES: &str = "\
Examples:
  waxwing device command send th1-0001 reboot
  waxwing device command send th1-0001 set_interval --argument seconds=600 --expires 7d
  waxwing device command send th1-0001 open_valve --arguments valve.json";

/// Subcommands of `waxwing device command`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Take a command back that the device has not answered.
    Cancel {
        /// The device.
        device: DeviceId,
        /// The command, as `list` shows it.
        id: u64,
    },
    /// List the commands of a device, the newest first.
    List {
        /// The device.
        device: DeviceId,
        /// Commands to show.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Send a signed command to a device. One that is not connected over MQTT gets it when it is.
    #[command(after_help = SEND_EXAMPLES)]
    Send(Box<Send>),
    /// Show one command, with what the device said.
    Show {
        /// The device.
        device: DeviceId,
        /// The command, as `list` shows it.
        id: u64,
    },
}

/// What is sent to whom.
#[derive(clap::Args)]
pub(crate) struct Send {
    /// The device.
    device: DeviceId,
    /// What it shall do: `poll`, `reboot`, `collect_logs`, `set_interval`, or what the applications of its
    /// product know: `waxwing product command list`.
    command: CommandName,
    /// An argument; may be given several times. What is no JSON is a text.
    #[arg(long = "argument", value_name = "NAME=VALUE", value_parser = input::pair)]
    each: Vec<(String, String)>,
    /// All arguments: a file with a JSON object.
    #[arg(long, value_name = "FILE", conflicts_with = "each")]
    arguments: Option<PathBuf>,
    /// For how long it is good; the device gets it when it is back within that time.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = input::seconds)]
    expires: u32,
}

/// Runs one of them.
pub(super) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Cancel { device, id } => {
            let answer = api.remove(&format!("devices/{device}/commands/{id}")).await?;
            out.done(&format!("took command {id} to {device} back"), &answer)
        }
        Command::List { device, limit } => {
            let commands = api.list(&format!("devices/{device}/commands"), &[], limit).await?;
            out.list(&commands, &["id", "command", "state", "created_at", "ended_at", "detail"])
        }
        Command::Send(send) => self::send(*send, api, out).await,
        Command::Show { device, id } => {
            out.one(&api.get(&format!("devices/{device}/commands/{id}"), &[]).await?)
        }
    }
}

async fn send(send: Send, api: &Api, out: Output) -> Result<(), Error> {
    let Send { device, command, each, arguments, expires } = send;
    let arguments = match arguments {
        Some(path) => serde_json::from_str(&input::file(&path)?)
            .map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?,
        None => Value::Object(each.into_iter().map(argument).collect::<Map<_, _>>()),
    };
    let request = json!({ "command": command, "arguments": arguments, "expires_in_s": expires });
    let answer = api.post(&format!("devices/{device}/commands"), &request).await?;
    let id = answer.get("id").and_then(Value::as_str).unwrap_or_default();
    out.done(&format!("sent {command} to {device} as {id}"), &answer)
}

fn argument((name, text): (String, String)) -> (String, Value) {
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (name, value)
}
