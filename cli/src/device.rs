//! `waxwing device`: identities, what is said of them, and their tokens.

mod add;
mod command;
mod gateways;
mod readers;
mod revoke;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::{Serialize, Serializer};
use serde_json::Value;
use waxwing_wire::{DeviceId, ProductId};

use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::output::Output;
use crate::profile::Profile;
use crate::secret::Secret;

pub(crate) use self::add::Unfit;

const LABEL_EXAMPLES: &str = "\
Examples:
  waxwing device label th1-0001 th1-0002 --tag canary --untag beta
  waxwing device label --query 'tag.site==berlin' --product th1 --attribute region=eu";

const SECRET_EXAMPLES: &str = "\
Examples:
  waxwing device secret sensor_001 | jq -r .secret
  waxwing device secret sensor_001 --file secret.txt
  waxwing device secret sensor_001 --remove";

/// What to change, and of which devices.
#[derive(clap::Args, Serialize)]
pub(crate) struct Labels {
    /// These devices.
    #[arg(value_name = "DEVICE", required_unless_present = "query")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<DeviceId>,
    /// Whoever this finds; `waxwing group preview` shows them.
    #[arg(long, conflicts_with = "devices")]
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    /// With a query: only devices of this product.
    #[arg(long, requires = "query")]
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<ProductId>,
    /// A tag to set; may be given several times.
    #[arg(long = "tag", value_name = "KEY[=VALUE]", value_parser = input::tag)]
    #[serde(serialize_with = "as_map")]
    set_tags: Vec<(String, String)>,
    /// A tag to remove.
    #[arg(long = "untag", value_name = "KEY")]
    remove_tags: Vec<String>,
    /// An attribute to set.
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = input::pair)]
    #[serde(serialize_with = "as_map")]
    set_attributes: Vec<(String, String)>,
    /// An attribute to remove; what devices say of themselves stays.
    #[arg(long = "unset-attribute", value_name = "KEY")]
    remove_attributes: Vec<String>,
}

fn as_map<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

/// Subcommands of `waxwing device`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Register a device, or all of a CSV file, and make its credentials: a token, a file to flash, a QR
    /// code.
    #[command(after_help = add::EXAMPLES)]
    Add(Box<add::Args>),
    /// Let a device carry what another one says and signs, and its firmware.
    #[command(after_help = gateways::EXAMPLES)]
    Gateway(gateways::Args),
    /// List who may carry for a device, and for whom the device may carry.
    Gateways {
        /// The device.
        device: DeviceId,
    },
    /// Have a device do something: send signed commands, see what became of them, take them back.
    #[command(name = "command", subcommand)]
    Command(command::Command),
    /// Let a device read what another one says, over MQTT.
    #[command(after_help = readers::EXAMPLES)]
    Grant(readers::Args),
    /// Set and remove tags and attributes of many devices at once.
    #[command(after_help = LABEL_EXAMPLES)]
    Label(Box<Labels>),
    /// List devices.
    List {
        /// Only those of this product.
        #[arg(long)]
        product: Option<ProductId>,
        /// Devices to show.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// List who may read what a device says, and what it may read of others.
    Readers {
        /// The device.
        device: DeviceId,
    },
    /// Refuse devices from now on, for good; their connections end.
    #[command(
        after_help = "Example:\n  waxwing --reason 'stolen, ticket 42' device revoke th1-0001 th1-0002"
    )]
    Revoke {
        /// The devices.
        #[arg(required = true)]
        devices: Vec<DeviceId>,
    },
    /// Let a device sign its telemetry with a secret, for one that can do nothing else.
    #[command(after_help = SECRET_EXAMPLES)]
    Secret {
        /// The device.
        device: DeviceId,
        /// What the device has, in a file; without it the server makes one, shown here and never again.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Let it sign with the key of its certificate again.
        #[arg(long, conflicts_with = "file")]
        remove: bool,
    },
    /// Show one device.
    Show {
        /// The device.
        device: DeviceId,
    },
    /// Replace a device's tags by these.
    #[command(after_help = "Example:\n  waxwing device tag th1-0001 canary site=lab")]
    Tag {
        /// The device.
        device: DeviceId,
        /// All its tags.
        #[arg(value_name = "KEY[=VALUE]", value_parser = input::tag)]
        tags: Vec<(String, String)>,
    },
    /// Show what a device measured in the last 24 hours, the newest first; if that is nothing, what it measured
    /// last.
    #[command(after_help = "Example:\n  waxwing device telemetry th1-0001 | jq '.[0].payload'")]
    Telemetry {
        /// The device.
        device: DeviceId,
        /// Messages to show.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Make a token with which a device enrols once. It is shown here and never again.
    #[command(after_help = "Example:\n  waxwing device token th1-0001 | jq -r .token")]
    Token {
        /// The device.
        device: DeviceId,
    },
}

/// Runs one of them.
pub(crate) async fn run(
    command: Command,
    api: &Api,
    profile: &Profile,
    out: Output,
) -> Result<(), Error> {
    match command {
        Command::Add(args) => add::run(*args, api, profile, out).await,
        Command::Gateway(args) => gateways::run(args, api, out).await,
        Command::Gateways { device } => gateways::list(&device, api, out).await,
        Command::Command(command) => command::run(command, api, out).await,
        Command::Grant(args) => readers::run(args, api, out).await,
        Command::Label(labels) => {
            let answer = api.post("labels", &labels).await;
            let query = labels.query.unwrap_or_default();
            let answer = answer.map_err(|error| error.in_query(&query))?;
            let changed = answer.get("changed").and_then(Value::as_u64).unwrap_or_default();
            out.done(&format!("labelled {changed} devices"), &answer)
        }
        Command::List { product, limit } => {
            let query = product.as_ref().map(|product| ("product", product.as_str()));
            let devices = api.list("devices", query.as_slice(), limit).await?;
            out.list(&devices, &["id", "product", "status", "tags", "version", "last_seen_at"])
        }
        Command::Readers { device } => readers::list(&device, api, out).await,
        Command::Revoke { devices } => revoke::run(&devices, api, out).await,
        Command::Secret { device, remove: true, .. } => {
            let answer = api.remove(&format!("devices/{device}/message-secret")).await?;
            out.done(&format!("{device} signs with the key of its certificate"), &answer)
        }
        Command::Secret { device, file, remove: false } => {
            let read = |path: &Path| input::file(path).map(|text| Secret::new(&text));
            let secret = file.as_deref().map(read).transpose()?;
            let request = BTreeMap::from([("secret", secret)]);
            out.one(&api.put(&format!("devices/{device}/message-secret"), &request).await?)
        }
        Command::Show { device } => out.one(&api.get(&format!("devices/{device}"), &[]).await?),
        Command::Tag { device, tags } => {
            let tags: BTreeMap<_, _> = tags.into_iter().collect();
            let answer = api.put(&format!("devices/{device}/tags"), &tags).await?;
            out.done(&format!("tagged {device}"), &answer)
        }
        Command::Telemetry { device, limit } => {
            let path = format!("devices/{device}/telemetry");
            let mut readings = api.list(&path, &[], limit).await?;
            if readings.is_empty() {
                let answer = api.get(&path, &[]).await?;
                readings.extend(answer.get("last").filter(|last| !last.is_null()).cloned());
            }
            out.list(&readings, &["received_at", "payload", "position"])
        }
        Command::Token { device } => out.one(&api.act(&format!("devices/{device}/tokens")).await?),
    }
}
