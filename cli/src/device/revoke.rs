//! `waxwing device revoke`: shuts devices out, one after the other, and says what ended.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use waxwing_wire::{DeviceId, RolloutId};

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

/// A device before it is revoked, as far as something of it ends.
#[derive(Deserialize)]
struct Device {
    status: String,
    connected: bool,
    certificates: Vec<Value>,
    deployments: Vec<Deployment>,
}

#[derive(Deserialize)]
struct Deployment {
    rollout: RolloutId,
    state: waxwing_wire::report::State,
}

/// What became of one device.
#[derive(Serialize)]
struct Ended {
    device: DeviceId,
    outcome: &'static str,
    /// How many certificates are refused now.
    certificates: usize,
    /// Whether a connection was closed.
    connected: bool,
    /// The rollouts it takes no part in any more.
    rollouts: Vec<RolloutId>,
    code: String,
    next: String,
}

/// Revokes each of them that can be.
pub(super) async fn run(devices: &[DeviceId], api: &Api, out: Output) -> Result<(), Error> {
    if let [device] = devices {
        let ended = revoke(device, api).await?;
        return out.done(&sentence(&ended), &json!(ended));
    }
    let mut report = Vec::with_capacity(devices.len());
    let mut failed = 0;
    for device in devices {
        let ended = match revoke(device, api).await {
            Err(error) if error.is_final() && report.is_empty() => return Err(error),
            Err(error) => {
                failed += 1;
                not_ended(device, &error)
            }
            Ok(ended) => ended,
        };
        report.push(json!(ended));
    }
    let fields = ["device", "outcome", "certificates", "connected", "rollouts", "code", "next"];
    out.list(&report, &fields)?;
    if failed == 0 { Ok(()) } else { Err(Error::Incomplete { failed, all: devices.len() }) }
}

async fn revoke(device: &DeviceId, api: &Api) -> Result<Ended, Error> {
    let before: Device = api.read(&format!("devices/{device}"), &[]).await?;
    api.act(&format!("devices/{device}/revoke")).await?;
    let open = before.deployments.into_iter().filter(|deployment| !deployment.state.is_final());
    Ok(Ended {
        device: device.clone(),
        outcome: if before.status == "revoked" { "revoked_before" } else { "revoked" },
        certificates: before.certificates.len(),
        connected: before.connected,
        rollouts: open.map(|deployment| deployment.rollout).collect(),
        code: String::new(),
        next: String::new(),
    })
}

fn not_ended(device: &DeviceId, error: &Error) -> Ended {
    Ended {
        device: device.clone(),
        outcome: "failed",
        certificates: 0,
        connected: false,
        rollouts: Vec::new(),
        code: error.code().to_owned(),
        next: error.advice(),
    }
}

fn sentence(ended: &Ended) -> String {
    let Ended { device, certificates, connected, rollouts, .. } = ended;
    if ended.outcome == "revoked_before" {
        return format!("{device} was revoked before");
    }
    let connection = if *connected { ", its connection was closed" } else { "" };
    let rollouts = match rollouts.len() {
        0 => String::new(),
        1 => ", it left 1 rollout".to_owned(),
        count => format!(", it left {count} rollouts"),
    };
    let plural = if *certificates == 1 { "" } else { "s" };
    format!("revoked {device}: {certificates} certificate{plural} ended{connection}{rollouts}")
}
