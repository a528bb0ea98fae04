//! A modelled device: as much of it as a server can notice. Not here: what happens to it when.

use waxwing_server::domain::Deployment;
use waxwing_wire::ErrorCode;
use waxwing_wire::report::{Deferral, State};

use super::scenario::Nature;

/// How far a device is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Life {
    /// It polls every quarter of an hour.
    Idle,
    /// As idle, and its last poll had no effect although there was room: nor will the next ones,
    /// until something changes.
    Settled,
    /// It polls when it was told to, or has something to report.
    Asking,
    /// It downloads.
    Loading,
    /// It has the image and waits for a good moment.
    Ready,
    /// The new image runs on trial.
    Trial,
    /// The new image has confirmed itself.
    Soaking,
    /// Nothing will ever be heard of it.
    Lost,
}

/// What becomes of a device that switches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    CrashesInSoak,
    FailsSelfTest,
    FallsSilent,
    Healthy,
}

/// What it was told to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Task {
    pub(super) rollout: u32,
    pub(super) image: u8,
    pub(super) soak_s: u32,
}

/// Something that it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// The id of the message: unique for each device.
    pub(super) id: u8,
    pub(super) rollout: u32,
    /// The image that it is about.
    pub(super) image: u8,
    /// The image that runs, as it says.
    pub(super) runs: u8,
    pub(super) state: State,
    pub(super) code: ErrorCode,
    pub(super) deferred: Option<Deferral>,
}

/// The decision that it heard last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub(super) decided_at: u64,
    /// Rollout and image.
    pub(super) offer: Option<(u32, u8)>,
}

/// A modelled device.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) nature: Nature,
    pub(super) life: Life,
    /// The image that runs.
    pub(super) image: u8,
    /// The image in the other slot.
    pub(super) before: u8,
    pub(super) task: Option<Task>,
    pub(super) fate: Fate,
    /// The rollout that harmed it.
    pub(super) harmed_by: Option<u32>,
    /// How often its user has put it off.
    pub(super) deferred: u8,
    pub(super) known: Known,
    /// What the server has not acknowledged.
    pub(super) outbox: Vec<Said>,
    /// The ids that it has.
    pub(super) acknowledged: u64,
    /// The next id.
    pub(super) next_id: u8,
    /// Whether it speaks over MQTT, at once; the others speak when they poll.
    pub(super) has_mqtt: bool,
    /// Whether it keeps what it has to say to itself for now.
    pub(super) is_silent: bool,
    /// By how many seconds its clock is wrong.
    pub(super) clock_s: i64,
    /// Whether it has its second in the round of polls.
    pub(super) is_in_ring: bool,
    /// Steps that were planned before it changed its mind are void.
    pub(super) epoch: u8,
}

/// Most messages of a device: the ids have a bit each.
pub(super) const MESSAGES_MAX: u8 = 63;

/// How wrong the clock of a device is that has lost the time, in seconds: three years slow.
pub(super) const WRONG_CLOCK_S: i64 = -3 * 365 * 24 * 3600;

impl Unit {
    pub(super) fn new(nature: Nature, has_mqtt: bool) -> Self {
        Self {
            nature,
            life: if nature == Nature::NeverComes { Life::Lost } else { Life::Idle },
            image: 0,
            before: 0,
            task: None,
            fate: Fate::Healthy,
            harmed_by: None,
            deferred: 0,
            known: Known::default(),
            outbox: Vec::new(),
            acknowledged: 0,
            next_id: 0,
            has_mqtt,
            is_silent: nature.holds_back(),
            clock_s: match nature {
                Nature::WrongClock | Nature::StubbornClock => WRONG_CLOCK_S,
                Nature::Ordinary
                | Nature::NeverComes
                | Nature::NightsOnly
                | Nature::SlowLink
                | Nature::SaysHealthy
                | Nature::Backwards
                | Nature::Late
                | Nature::Nonsense
                | Nature::Everywhere
                | Nature::BrokenLink
                | Nature::PutsOff
                | Nature::Flapping => 0,
            },
            is_in_ring: false,
            epoch: 0,
        }
    }

    /// Tells whether it is on line at this hour of its day.
    pub(super) fn is_on_line(&self, hour: i64) -> bool {
        let sleeps = self.nature == Nature::NightsOnly && (6..22).contains(&hour);
        self.nature != Nature::NeverComes && !sleeps
    }

    /// Adds something to what it has to say.
    pub(super) fn say(&mut self, rollout: u32, image: u8, runs: u8, state: State) {
        if self.next_id < MESSAGES_MAX {
            let (id, code, deferred) = (self.next_id, ErrorCode::NONE, None);
            self.outbox.push(Said { id, rollout, image, runs, state, code, deferred });
            self.next_id += 1;
        }
    }

    /// Adds to what it said last why it failed, or that its user put it off.
    pub(super) fn explain(&mut self, code: ErrorCode, deferred: Option<Deferral>) {
        if let Some(last) = self.outbox.last_mut() {
            (last.code, last.deferred) = (code, deferred);
        }
    }

    /// Tells whether a deployment accounts for the harm that was done to the device.
    pub(super) fn is_accounted_for(deployment: Option<Deployment>) -> bool {
        use State::{
            Activated, Booted, Confirmed, Downloading, Failed, Offered, RolledBack, TimedOut,
            Verified,
        };
        let feared_or_counted = [
            Offered,
            Downloading,
            Verified,
            Activated,
            Booted,
            Confirmed,
            Failed,
            RolledBack,
            TimedOut,
        ];
        deployment.is_some_and(|it| feared_or_counted.contains(&it.state))
    }
}
