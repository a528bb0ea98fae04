//! Fleets in the memory of this program: what rollouts that have finished cost a poll, and how many
//! bytes a device takes.
//!
//! Not here: the rest of a poll, and memory that the allocator keeps for itself.

use std::hint::black_box;
use std::time::Duration;

use semver::Version;
use waxwing_server::clock::{Clock as _, SystemClock};
use waxwing_server::domain::device::{Certificate, CertificateStatus};
use waxwing_server::domain::rollout::State;
use waxwing_server::domain::{Deployment, Device, Running};
use waxwing_server::fleet::{Fleet, Records};
use waxwing_wire::{DeviceId, report};

use crate::fleet;

/// Devices of the fleets that are polled.
pub(super) const DEVICES: usize = 1_000;

/// Rollouts that every device took part in.
pub(super) const FINISHED: usize = 200;

/// A time after everything that has happened, in Unix milliseconds.
const NOW_MS: u64 = 1_795_176_000_000;

/// Fleets that are alike but for the rollouts that have finished.
pub(super) struct Histories {
    without: Fleet,
    with: Fleet,
    devices: Vec<DeviceId>,
    running: Running,
}

impl Histories {
    pub(super) fn new() -> anyhow::Result<Self> {
        let devices = (0..DEVICES).map(fleet::device_id).collect::<Result<_, _>>()?;
        let (version, sha256) = (Version::new(1, 0, 0), fleet::release(0)?.sha256);
        let running = Running { version, sha256, security_version: 1, pins: None, out_s: 0 };
        let (without, with) = (restored(DEVICES, 0)?, restored(DEVICES, FINISHED)?);
        Ok(Self { without, with, devices, running })
    }

    /// Lets every device poll once of either fleet; returns how long that took of each.
    pub(super) fn poll(&self) -> (Duration, Duration) {
        (self.poll_of(&self.without), self.poll_of(&self.with))
    }

    fn poll_of(&self, fleet: &Fleet) -> Duration {
        let clock = SystemClock::new();
        let begun = clock.monotonic();
        for device in &self.devices {
            black_box(fleet.poll(device, &self.running, NOW_MS));
        }
        clock.monotonic().saturating_sub(begun)
    }
}

/// A fleet in which everybody took part in so many rollouts, and half of it waits for a place in one
/// more.
fn restored(devices: usize, finished: usize) -> anyhow::Result<Fleet> {
    let ids = (0..devices).map(fleet::device_id).collect::<Result<Vec<_>, _>>()?;
    let mut records = Records {
        products: vec![fleet::product()?],
        releases: (0..3).map(fleet::release).collect::<anyhow::Result<_>>()?,
        groups: vec![fleet::group()?],
        ..Records::default()
    };
    let mut parts = Vec::new();
    for number in 0..finished {
        let at = u64::try_from(number)? + 1;
        let mut rollout = fleet::rollout(&format!("old-{number}"), 0, &[50, 100], at)?;
        rollout.start(ids.iter(), at)?;
        rollout.state = State::Finished;
        let offered = Deployment::waiting().offered(0, NOW_MS - 1_000);
        let healthy = Deployment { state: report::State::Healthy, attempt: 1, ..offered };
        parts.push((rollout.id.clone(), healthy));
        records.rollouts.push(rollout);
    }
    let mut next = fleet::rollout("next", 1, &[50, 100], NOW_MS)?;
    next.start(ids.iter(), NOW_MS)?;
    records.rollouts.push(next);
    let members = (0..devices).map(|n| Ok((certified(n)?, parts.clone())));
    Ok(Fleet::restored(records, members.collect::<anyhow::Result<Vec<_>>>()?))
}

/// A device with a certificate, seen with a version.
fn certified(n: usize) -> anyhow::Result<Device> {
    let certificate = Certificate {
        serial: format!("{n:032x}"),
        spki: fleet::key_of_nobody(),
        status: CertificateStatus::Current,
        expires_at: NOW_MS,
    };
    let version = Some(Version::new(1, 0, 0).into());
    Ok(Device { version, certificates: vec![certificate], ..fleet::device(n, NOW_MS)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough that what a fleet costs without any device is nothing beside them.
    const MEASURED: u32 = 20_000;

    /// What a registered device may cost, with tags, attributes, a certificate and a deployment, in
    /// bytes: 288, of which the halves of last chunks are 13, and 15 are the table of values that a device has
    /// alone, with their hashes: between 10 and 21, as tables double. The rest to 300 is the allocator's.
    const BYTES_MAX: i64 = 292;

    #[test]
    fn a_registered_device_takes_no_more_memory_than_it_did() {
        let mut fleet = None;
        let measured = allocation_counter::measure(|| {
            fleet = Some(restored(usize::try_from(MEASURED).unwrap(), 1).unwrap());
        });
        let bytes = measured.bytes_current / i64::from(MEASURED);
        assert!((100..=BYTES_MAX).contains(&bytes), "{bytes} bytes");
    }
}
