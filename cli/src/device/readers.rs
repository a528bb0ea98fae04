//! `waxwing device grant` and `readers`: which devices may read what another one says.

use serde_json::{Value, json};
use waxwing_wire::DeviceId;

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

pub(super) const EXAMPLES: &str = "\
Examples:
  waxwing device grant th1-0001 --to display-7 --kind telemetry --kind state
  waxwing device grant th1-0001 --to display-7 --remove";

/// What is granted to whom.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The device whose messages are read.
    device: DeviceId,
    /// The device that may read them.
    #[arg(long, value_name = "READER")]
    to: DeviceId,
    /// Which messages: `telemetry`, `report`, `state` or `response`; may be given several times.
    #[arg(long = "kind", value_name = "KIND", required_unless_present = "remove")]
    kinds: Vec<String>,
    /// Let it read nothing any more.
    #[arg(long, conflicts_with = "kinds")]
    remove: bool,
}

/// Grants, or takes back.
pub(super) async fn run(args: Args, api: &Api, out: Output) -> Result<(), Error> {
    let Args { device, to, kinds, remove } = args;
    let path = format!("devices/{device}/readers/{to}");
    if remove {
        let answer = api.remove(&path).await?;
        return out.done(&format!("{to} reads nothing of {device} any more"), &answer);
    }
    let answer = api.put(&path, &json!({ "kinds": kinds })).await?;
    out.done(&format!("{to} may read {} of {device}", kinds.join(", ")), &answer)
}

/// Lists who may read what.
pub(super) async fn list(device: &DeviceId, api: &Api, out: Output) -> Result<(), Error> {
    let all: Vec<Value> = api.read(&format!("devices/{device}/readers"), &[]).await?;
    out.list(&all, &["device", "reader", "kinds", "granted_at"])
}
