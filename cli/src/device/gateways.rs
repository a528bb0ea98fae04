//! `waxwing device gateway` and `gateways`: which devices may carry for others.

use serde_json::{Value, json};
use waxwing_wire::DeviceId;

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

pub(super) const EXAMPLES: &str = "\
Examples:
  waxwing device gateway sensor-17 --through gateway-3
  waxwing device gateway sensor-17 --through gateway-3 --remove

A gateway can drop and delay what it carries, and nothing else: devices sign for themselves.";

/// Who carries for whom.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The device that cannot reach the server.
    device: DeviceId,
    /// The device that may carry for it.
    #[arg(long, value_name = "GATEWAY")]
    through: DeviceId,
    /// Let it carry nothing for it any more.
    #[arg(long)]
    remove: bool,
}

/// Grants, or takes back.
pub(super) async fn run(args: Args, api: &Api, out: Output) -> Result<(), Error> {
    let Args { device, through, remove } = args;
    let path = format!("devices/{device}/gateways/{through}");
    if remove {
        let answer = api.remove(&path).await?;
        return out.done(&format!("{through} carries nothing for {device} any more"), &answer);
    }
    let answer = api.put(&path, &json!({})).await?;
    out.done(&format!("{through} may carry for {device}"), &answer)
}

/// Lists who may carry for whom.
pub(super) async fn list(device: &DeviceId, api: &Api, out: Output) -> Result<(), Error> {
    let all: Vec<Value> = api.read(&format!("devices/{device}/gateways"), &[]).await?;
    out.list(&all, &["device", "gateway", "granted_at"])
}
