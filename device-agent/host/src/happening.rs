//! What can be seen of a device from outside.

use semver::Version;
use serde::Serialize;
use waxwing_agent::ports::{ResetReason, Slot};
use waxwing_wire::report::State;
use waxwing_wire::{DeviceId, Digest, ErrorCode, RolloutId};

/// Something that happened to a device, as a line of NDJSON.
#[derive(Clone, Debug, Serialize)]
pub struct Happening {
    /// The device.
    pub device: DeviceId,
    /// How often something has gone wrong around it, in this process.
    #[serde(skip_serializing_if = "is_none")]
    pub faults: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum What {
    /// The boot loader started an image.
    Booted {
        /// From where: `ota_0`, `ota_1`.
        slot: String,
        /// The release it was installed as.
        release: Version,
        /// The image.
        sha256: Digest,
        /// Why the device restarted.
        reset: &'static str,
    },
    /// Its application did what an operator asked for.
    Commanded {
        /// What it is called.
        command: String,
        /// With what, as JSON.
        arguments: String,
    },
    /// It has its first certificate, or still had one.
    Enrolled,
    /// It knows its server by other certificates from now on.
    Pinned {
        /// Their SHA-256.
        sha256: Digest,
    },
    /// A poll was answered.
    Polled,
    /// A poll was not answered, or not by somebody who is believed.
    PollFailed {
        /// Why.
        code: ErrorCode,
        /// Its name.
        reason: &'static str,
    },
    /// It has its next certificate.
    Renewed,
    /// The server has stored a report, so the agent keeps it no longer.
    Acknowledged {
        /// The deployment's rollout.
        rollout: RolloutId,
        /// The state reported.
        state: State,
    },
    /// The agent wrote a report about a deployment down; the server hears it later.
    Reported {
        /// The deployment's rollout.
        rollout: RolloutId,
        /// Its release.
        release: Version,
        /// The state just reached.
        state: State,
        /// Why, if it failed.
        code: ErrorCode,
        /// Its name.
        reason: &'static str,
        /// Which try it is.
        attempt: u32,
    },
    /// It stopped for good.
    Stopped {
        /// Why.
        error: String,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_none(faults: &u64) -> bool {
    *faults == 0
}

/// The name of a slot in the partition table.
pub(crate) fn slot_name(slot: Slot) -> String {
    match slot {
        Slot::Factory => "factory".into(),
        Slot::Ota(index) => format!("ota_{index}"),
    }
}

/// A reset reason in a word.
pub(crate) const fn reset_name(reset: ResetReason) -> &'static str {
    match reset {
        ResetReason::Brownout => "brownout",
        ResetReason::Crash => "crash",
        ResetReason::PowerOn => "power_on",
        ResetReason::Requested => "requested",
        ResetReason::Unknown => "unknown",
        ResetReason::Watchdog => "watchdog",
    }
}
