//! `waxwing device add`: a device is registered, gets a token, and its credentials become a file.
//!
//! In this order, and each step may be done again: whoever runs the same command after a crash gets
//! a device with a file, and the token of the lost one is good no more.

mod bulk;
mod csv;
mod kit;
mod make;
mod qr;
mod unfit;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use waxwing_wire::{DeviceId, Hardware, ProductId};

use self::csv::Order;
use self::kit::Kit;
use self::make::{Made, Outcome};
pub(crate) use self::unfit::Unfit;
use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::output::Output;
use crate::profile::Profile;

/// Shown below the help.
pub(super) const EXAMPLES: &str = "\
A template is a TOML file with what the devices of a product have in common: director_root and
image_root (files of the ceremony); optional hardware, channels, server, enrol, mqtt (host:port),
server_ca (a file), settings, and [wifi] with ssid and password (a file).

Examples:
  waxwing device add th1-0001 --template th1.toml --out th1-0001.bin
  waxwing device add --csv devices.csv --template th1.toml --out-dir credentials
  waxwing device add th1-0001 --product th1 --tag site=lab

The first line of a CSV file names its columns: id,product,hardware,tag,tag
The last example registers only; `waxwing device token` makes the token later.";

/// Arguments of `waxwing device add`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The device.
    #[arg(required_unless_present = "csv", conflicts_with = "csv")]
    device: Option<DeviceId>,
    /// Its product; a template may say it.
    #[arg(long, required_unless_present = "template")]
    product: Option<ProductId>,
    /// Its hardware revision; a template may say it.
    #[arg(long, requires = "template", conflicts_with = "csv")]
    hardware: Option<Hardware>,
    /// What groups can ask for; may be given several times.
    #[arg(long = "tag", value_name = "KEY[=VALUE]", value_parser = input::tag, conflicts_with = "csv")]
    tags: Vec<(String, String)>,
    /// What the devices of the product have in common; secrets are in files that it names.
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// Write the credentials partition there, for you alone to read.
    #[arg(long, value_name = "FILE", requires = "template", conflicts_with = "csv")]
    out: Option<PathBuf>,
    /// Add the devices of this file, each line by itself.
    #[arg(long, value_name = "FILE", requires_all = ["template", "out_dir"])]
    csv: Option<PathBuf>,
    /// Write the credentials of each into this folder, as ID.bin.
    #[arg(long, value_name = "FOLDER", requires = "csv")]
    out_dir: Option<PathBuf>,
    /// Partition table of devices that have their own, as read from 0x8000.
    #[arg(long, value_name = "FILE", requires = "template")]
    table: Option<PathBuf>,
    /// Partition of that table that is given up for the agent, as in the call of `guard`.
    #[arg(long, value_name = "LABEL", requires = "table")]
    spare: Option<String>,
    /// Replace files that are there, and the tokens in them; also for devices that have enrolled.
    #[arg(long, requires = "template")]
    force: bool,
}

/// Runs it.
pub(super) async fn run(
    args: Args,
    api: &Api,
    profile: &Profile,
    out: Output,
) -> Result<(), Error> {
    let Some(template) = &args.template else {
        return register_only(args, api, out).await;
    };
    let kit = Kit::prepare(template, &args, api, profile).await?;
    match (args.device, args.out, args.csv, args.out_dir) {
        (Some(device), Some(file), None, None) => {
            let tags = args.tags.into_iter().collect();
            let order = Order { device, product: args.product, hardware: args.hardware, tags };
            let made = make::make(&kit, &order, &file, args.force, api).await?;
            show(&kit, &made, out)
        }
        (None, None, Some(csv), Some(folder)) => {
            bulk::run(&kit, &csv, &folder, args.force, api, out).await
        }
        _ => Err(Error::Usage("a template goes with --out FILE".to_owned())),
    }
}

async fn register_only(args: Args, api: &Api, out: Output) -> Result<(), Error> {
    let (Some(device), Some(product)) = (args.device, args.product) else {
        return Err(Error::Usage("name a device and its --product".to_owned()));
    };
    let tags: BTreeMap<_, _> = args.tags.into_iter().collect();
    let answer = make::register(api, &device, &product, &tags).await?;
    out.done(
        &format!("registered {device}; `waxwing device token {device}` lets it enrol"),
        &answer,
    )
}

/// Shows one device: for people with a picture to scan, for programs as one object.
fn show(kit: &Kit, made: &Made, out: Output) -> Result<(), Error> {
    if out == Output::Json {
        return out.one(&object(kit, made)?);
    }
    let Made { outcome, provision, file, expires_at } = made;
    let device = &provision.device;
    out.say(&match (outcome, expires_at) {
        (Outcome::Exists, _) | (_, None) => {
            format!("{device}: nothing was done, its credentials are there; --force makes new ones")
        }
        (Outcome::Added, Some(end)) => format!("registered {device}; it can enrol until {end}"),
        (Outcome::Renewed, Some(end)) => {
            format!("{device} has a new token; it can enrol until {end}")
        }
    })?;
    out.say(&qr::draw(&kit.uri(provision)?)?)?;
    out.say(&format!("credentials: {}, for you alone to read", file.display()))?;
    out.say(&format!("next: {}", kit.flash_command(file)))
}

fn object(kit: &Kit, made: &Made) -> Result<Value, Error> {
    let Made { outcome, provision, file, expires_at } = made;
    Ok(json!({
        "device": provision.device,
        "product": provision.product,
        "outcome": outcome.as_str(),
        "file": file.display().to_string(),
        "offset": kit.offset(),
        "token": provision.token.expose(),
        "expires_at": expires_at,
        "uri": kit.uri(provision)?.encode().expose(),
        "flash": kit.flash_command(file),
    }))
}
