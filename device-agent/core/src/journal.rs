//! What a device must not forget over a reset, and how it is kept.
//!
//! The [`Record`] is written *before* the action it announces. [`Pages`] keeps two or more copies
//! in flash and always replaces one that is not the newest, so a power cut costs the newest record
//! at most. Not here: what follows from a record after a reset.

mod codec;
mod pages;

use alloc::string::String;
use alloc::vec::Vec;

use semver::Version;
use waxwing_wire::command::Outcome;
use waxwing_wire::report::{Deferral, State};
use waxwing_wire::{Digest, ErrorCode, Report, RolloutId};

pub use codec::{InvalidRecord, RECORD_BYTES_MAX};
pub use pages::{Condition, Pages};

use crate::ports::Slot;

/// Most reports kept for a server that does not answer: one update makes seven.
pub const REPORTS_MAX: usize = 8;
/// Images whose failures are remembered; the oldest is forgotten first.
pub const FAILED_IMAGES_MAX: usize = 4;
/// The image has soaked and stays for good, whatever happens to it: longer than any soak.
pub const SOAKED_S: u32 = u32::MAX;
/// Images whose release is remembered: the running one, the one before, and one on its way.
pub const KNOWN_IMAGES_MAX: usize = 3;

/// What a device must not forget over a reset.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record {
    /// Highest security version of an image that soaked here: this device's floor (D2).
    pub security_version: u32,
    /// The update under way.
    pub update: Option<Update>,
    /// The last deployment that came to an end: it is not begun again.
    pub settled: Option<Settled>,
    /// Which release an image on this device is.
    pub known: Vec<KnownImage>,
    /// Images that failed here, and how often.
    pub failed: Vec<FailedImage>,
    /// What the server has not acknowledged.
    pub reports: Vec<UnsentReport>,
    /// Number of the last command that was accepted (D7).
    pub command: u64,
    /// The restart that the device's user put off last: also when the offer was taken back meanwhile.
    pub put_off: Option<PutOff>,
    /// Number of the last command that was begun of those that are kept for the device: none of them is
    /// begun twice.
    pub order: u64,
    /// What to say of that one after a reset.
    pub answer: Option<Outcome>,
    /// That was said, and somebody took it: it is said again to who asks again.
    pub told: bool,
    /// Seconds from poll to poll that an operator asked for; 0: as the server says.
    pub interval_s: u32,
}

/// What the server decided for this device: plain data, as the journal remembers it.
///
/// It is not leave to install anything: that is an offer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Deployment {
    /// The rollout it is part of.
    pub rollout: RolloutId,
    /// The release to install.
    pub release: Version,
    /// The image's SHA-256.
    pub sha256: Digest,
    /// The image's length in bytes.
    pub length: u32,
    /// The release's anti-rollback epoch.
    pub security_version: u32,
    /// The eFuse version in the image's descriptor.
    pub secure_version: u32,
    /// How long the image is watched after it was confirmed, in seconds.
    pub soak_s: u32,
}

/// An update under way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Update {
    /// What is being installed.
    pub deployment: Deployment,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// Restarts that had to repeat something: breaks the loop when nothing helps.
    pub repeats: u32,
    /// How far it is.
    pub phase: Phase,
}

/// How far an update is, in order of life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// The first `stored` bytes of the image are in the target slot.
    Fetching {
        /// A multiple of the sector size, or the whole length.
        stored: u32,
    },
    /// The boot record is about to name the new image.
    Activating(Slots),
    /// The new image runs and has to prove itself.
    Trial {
        /// Where both images are.
        slots: Slots,
        /// How often the new image was started.
        boots: u32,
    },
    /// The new image proved itself; the boot record is about to say so.
    Confirming(Slots),
    /// The new image is kept and watched (D19).
    Soaking {
        /// Where both images are.
        slots: Slots,
        /// Unexplained resets so far.
        resets: u32,
        /// How long it was watched in earlier boots, in seconds of uptime; [`SOAKED_S`] once that was
        /// long enough.
        soaked_s: u32,
    },
    /// The new image gives itself up.
    Rejecting {
        /// Where both images are.
        slots: Slots,
        /// Why.
        code: ErrorCode,
    },
    /// The old image is about to be activated again, after the new one was confirmed.
    Reverting {
        /// Where both images are.
        slots: Slots,
        /// Why.
        code: ErrorCode,
    },
}

/// Where the two images of an update are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slots {
    /// Where the new image is.
    pub new: Slot,
    /// Where the image before it is.
    pub old: Slot,
    /// What the image before it is.
    pub old_sha256: Digest,
}

/// A deployment that came to an end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settled {
    /// Its rollout.
    pub rollout: RolloutId,
    /// Its image.
    pub sha256: Digest,
}

/// A restart that the device's user put off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PutOff {
    /// The rollout it is part of.
    pub rollout: RolloutId,
    /// The image it would start.
    pub sha256: Digest,
    /// How often, and until when.
    pub deferral: Deferral,
}

/// Which release an image is. The image itself need not know (D27).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownImage {
    /// The image's SHA-256.
    pub sha256: Digest,
    /// The release it was installed as.
    pub release: Version,
}

/// How often an image failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FailedImage {
    /// The image's SHA-256.
    pub sha256: Digest,
    /// How often.
    pub times: u32,
}

/// A report the server has not acknowledged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnsentReport {
    /// Drawn at the boot that made it; with `number` it names the message, now and when it is
    /// sent again (D24).
    pub boot: u64,
    /// Counts the reports of one boot.
    pub number: u32,
    /// What to say.
    pub report: Report,
}

impl Record {
    /// Forgets how much of an image is in the slot, unless all of it is.
    pub(crate) fn start_over(&mut self) {
        if let Some(Update { deployment, phase: Phase::Fetching { stored }, .. }) = &mut self.update
            && *stored < deployment.length
        {
            *stored = 0;
        }
    }

    /// Returns how often the image failed here.
    pub fn failures_of(&self, sha256: &Digest) -> u32 {
        self.failed.iter().find(|image| image.sha256 == *sha256).map_or(0, |image| image.times)
    }

    /// Counts a failure of the image.
    pub fn count_failure(&mut self, sha256: Digest) {
        let times = self.failures_of(&sha256).saturating_add(1);
        self.failed.retain(|image| image.sha256 != sha256);
        push_bounded(&mut self.failed, FailedImage { sha256, times }, FAILED_IMAGES_MAX);
    }

    /// Remembers which release an image is.
    pub fn remember(&mut self, sha256: Digest, release: Version) {
        self.known.retain(|image| image.sha256 != sha256);
        push_bounded(&mut self.known, KnownImage { sha256, release }, KNOWN_IMAGES_MAX);
    }

    /// Returns which release an image is, if it was installed by this agent.
    pub fn release_of(&self, sha256: &Digest) -> Option<&Version> {
        self.known.iter().find(|image| image.sha256 == *sha256).map(|image| &image.release)
    }

    /// Keeps a report until it is acknowledged. When there are too many, the oldest that is not
    /// an outcome goes first.
    pub fn keep(&mut self, report: UnsentReport) {
        if self.reports.len() == REPORTS_MAX {
            let passing = |kept: &UnsentReport| !kept.report.state.is_final();
            let oldest = self.reports.iter().position(passing).unwrap_or(0);
            self.reports.remove(oldest);
        }
        self.reports.push(report);
    }

    /// Tells whether the deployment came to an end on this device.
    pub fn has_settled(&self, deployment: &Deployment) -> bool {
        self.settled.as_ref().is_some_and(|settled| {
            settled.rollout == deployment.rollout && settled.sha256 == deployment.sha256
        })
    }
}

impl Record {
    /// Returns how the restart into a deployment's image was put off, if it was.
    pub fn deferral_of(&self, deployment: &Deployment) -> Option<Deferral> {
        let put_off = self.put_off.as_ref()?;
        let is_of = put_off.rollout == deployment.rollout && put_off.sha256 == deployment.sha256;
        is_of.then_some(put_off.deferral)
    }
}

impl Update {
    /// Begins an update: nothing is in flash yet.
    pub const fn new(deployment: Deployment) -> Self {
        Self { deployment, attempt: 1, repeats: 0, phase: Phase::Fetching { stored: 0 } }
    }
}

impl UnsentReport {
    /// Returns the message id: the same whenever the report is sent.
    pub fn message_id(&self) -> String {
        alloc::format!("{:016x}-{}", self.boot, self.number)
    }

    /// Tells whether the report must outlive a reset on its own account.
    pub const fn is_outcome(&self) -> bool {
        self.report.state.is_final()
    }
}

impl Settled {
    /// Names a deployment that ended.
    pub fn of(deployment: &Deployment) -> Self {
        Self { rollout: deployment.rollout.clone(), sha256: deployment.sha256 }
    }
}

impl Deployment {
    /// Says what became of the deployment.
    pub fn report(&self, state: State, code: ErrorCode, told: Told) -> Report {
        Report {
            rollout: self.rollout.clone(),
            release: self.release.clone(),
            state,
            code,
            fw_sha256: told.running,
            attempt: told.attempt,
            measured_at: told.measured_at,
            deferred: None,
        }
    }
}

/// The circumstances of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Told {
    /// The image that runs.
    pub running: Digest,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// Unix seconds, by the device's best knowledge.
    pub measured_at: u64,
}

fn push_bounded<T>(list: &mut Vec<T>, item: T, items_max: usize) {
    if list.len() >= items_max {
        list.remove(0);
    }
    list.push(item);
}
