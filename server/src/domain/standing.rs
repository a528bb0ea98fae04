//! Standing: where a device stands in one rollout now, and so why it has or has not the release.
//!
//! One function decides it for the answer to a poll, for the dry run of a plan and for the operator
//! who asks why. Not here: which of several rollouts decides about the device, see
//! [`super::decision`].

use std::sync::Arc;

use jiff::tz::TimeZone;
use waxwing_wire::ErrorCode;
use waxwing_wire::report::State as Step;

use super::rollout::{Route, State, Urgency, window};
use super::sighting::Running;
use super::{Deployment, Rollout};

/// One device's place in one rollout that reaches it.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    /// The rollout.
    pub rollout: &'a Arc<Rollout>,
    /// What it brings.
    pub route: Route<'a>,
    /// How far the device is, if it has been heard of.
    pub deployment: Option<Deployment>,
    /// Whether the device is among those whom the rollout is for. One that is not any more takes what
    /// it has begun to its end, and nothing else.
    pub member: bool,
    /// Whether the device may install the release as far as its ceiling goes (D10).
    pub open: bool,
    /// The phase the device belongs to.
    pub phase: usize,
}

/// What is the case for a device at a time.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The device's time zone.
    pub zone: &'a TimeZone,
    /// The time, in Unix milliseconds.
    pub now_ms: u64,
}

/// Where a device stands in a rollout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It is shut out.
    Revoked,
    /// It is not among those whom the rollout is for.
    NotMeant,
    /// The phase that reaches it has not started.
    PhaseToCome,
    /// It is above the ceiling of the release, and would refuse it (D10).
    AboveCeiling,
    /// The rollout was cancelled before the device switched.
    Cancelled,
    /// Its part has ended.
    Ended(Deployment),
    /// The release, or a stepping stone, is not listed any more.
    Unlisted,
    /// The rollout is in a state in which it offers nothing.
    Stopped(State),
    /// It has the image without our doing.
    HasImage,
    /// The plan begins later, in Unix milliseconds.
    TooEarly(u64),
    /// No maintenance window is open; the next one opens then, in Unix milliseconds.
    Closed(Option<u64>),
    /// Its user put the release off.
    PutOff {
        /// How often so far.
        times: u8,
        /// How often is allowed.
        of: u8,
        /// Until when, in Unix milliseconds.
        until: u64,
    },
    /// Its download failed for the network's sake, and is tried again.
    TriesAgain {
        /// Why it failed.
        code: ErrorCode,
        /// How often it was tried.
        tries: u32,
        /// How often it is tried at most.
        of: u32,
        /// From when on, in Unix milliseconds.
        at: u64,
    },
    /// It waits for a place among those in flight.
    Waits,
    /// It has been offered the release, and is still offered it.
    Offered(Deployment),
}

impl Standing {
    /// Returns the word for it in the API and the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::NotMeant => "not_meant",
            Self::PhaseToCome => "phase_to_come",
            Self::AboveCeiling => "above_ceiling",
            Self::Cancelled => "cancelled",
            Self::Ended(_) => "ended",
            Self::Unlisted => "unlisted",
            Self::Stopped(_) => "stopped",
            Self::HasImage => "has_image",
            Self::TooEarly(_) => "too_early",
            Self::Closed(_) => "closed",
            Self::PutOff { .. } => "put_off",
            Self::TriesAgain { .. } => "tries_again",
            Self::Waits => "waits",
            Self::Offered(_) => "offered",
        }
    }
}

impl<'a> Seat<'a> {
    /// Returns where the device stands. `running` is what it was last seen with, if ever.
    pub fn standing(&self, running: Option<&Running>, moment: Moment<'_>) -> Standing {
        match self.deployment {
            Some(deployment) if deployment.state.is_final() => self.when_ended(deployment),
            Some(deployment) if deployment.is_in_flight() => self.in_flight(deployment, moment),
            Some(_) | None => self.when_waiting(running, moment),
        }
    }

    /// Returns the deployment; of whom nothing was heard, it begins in its phase.
    pub fn begun(&self) -> Deployment {
        let phase = u8::try_from(self.phase).unwrap_or(u8::MAX);
        self.deployment.unwrap_or(Deployment::in_phase(phase))
    }

    /// Returns the deployment if it is in flight.
    pub fn in_flight_deployment(&self) -> Option<Deployment> {
        self.deployment.filter(Deployment::is_in_flight)
    }

    /// Tells whether a rollout below decides instead, wherever the device stands exactly:
    /// [`Standing::gives_way`] before anybody has to know the time or what the device runs.
    pub fn gives_way(&self) -> bool {
        let (is_past_recall, is_in_flight) = self.deployment.map_or((false, false), |deployment| {
            (deployment.is_past_recall(), deployment.is_in_flight())
        });
        let is_refused = !is_past_recall && self.refusal().is_some();
        is_refused || (!self.may_go_on() && !is_in_flight)
    }

    /// Tells whether the device may begin something. One that stands on a stepping stone is brought to the
    /// end, although it may have left a group of older versions by that.
    fn may_go_on(&self) -> bool {
        let is_on_its_way =
            |deployment: Deployment| deployment.state == Step::Waiting && deployment.hop > 0;
        self.member || self.deployment.is_some_and(is_on_its_way)
    }

    fn when_ended(&self, deployment: Deployment) -> Standing {
        if !self.member {
            return Standing::NotMeant;
        }
        if deployment.is_past_recall() {
            return Standing::Ended(deployment);
        }
        self.refusal().unwrap_or(Standing::Ended(deployment))
    }

    /// Who has switched is not called back: neither a window nor a ceiling makes a difference.
    fn in_flight(&self, deployment: Deployment, moment: Moment<'_>) -> Standing {
        let past_recall = deployment.is_past_recall();
        let refusal = if past_recall { None } else { self.refusal() };
        let stopped = refusal.or_else(|| self.stopped(deployment.hop));
        let closed = || if past_recall { None } else { self.closed(moment) };
        stopped.or_else(closed).unwrap_or(Standing::Offered(deployment))
    }

    fn when_waiting(&self, running: Option<&Running>, moment: Moment<'_>) -> Standing {
        if !self.may_go_on() {
            return Standing::NotMeant;
        }
        let has_image = running.is_some_and(|running| running.sha256 == self.route.end.sha256);
        let hop = running.map_or(0, |running| self.route.next(&running.version));
        let stopped = self.refusal().or_else(|| self.stopped(hop));
        let untouched = self.deployment.is_none_or(|deployment| deployment.tries == 0);
        stopped
            .or_else(|| (has_image && untouched).then_some(Standing::HasImage))
            .or_else(|| self.not_yet(moment.now_ms))
            .or_else(|| self.too_early(moment.now_ms))
            .or_else(|| self.closed(moment))
            .unwrap_or(Standing::Waits)
    }

    /// Why an older rollout decides instead.
    fn refusal(&self) -> Option<Standing> {
        if self.rollout.state == State::Cancelled {
            return Some(Standing::Cancelled);
        }
        (!self.open).then_some(Standing::AboveCeiling)
    }

    fn stopped(&self, hop: u8) -> Option<Standing> {
        if self.rollout.state != State::Running {
            return Some(Standing::Stopped(self.rollout.state));
        }
        (!self.route.release(hop).listed).then_some(Standing::Unlisted)
    }

    /// Why it is left alone for a while.
    fn not_yet(&self, now_ms: u64) -> Option<Standing> {
        let it = self.deployment.filter(|deployment| deployment.not_before > now_ms)?;
        let plan = &self.rollout.plan;
        if it.code.is_none() {
            let (times, of) = (it.deferred, plan.deferrable().times);
            return Some(Standing::PutOff { times, of, until: it.not_before });
        }
        let Deployment { code, tries, not_before: at, .. } = it;
        Some(Standing::TriesAgain { code, tries, of: plan.tries_max, at })
    }

    fn too_early(&self, now_ms: u64) -> Option<Standing> {
        let begins_at = self.rollout.plan.not_before.filter(|begins_at| now_ms < *begins_at);
        begins_at.map(Standing::TooEarly)
    }

    fn closed(&self, Moment { zone, now_ms }: Moment<'_>) -> Option<Standing> {
        let windows = self.windows();
        let closed = !window::is_open(windows, zone, now_ms);
        closed.then(|| Standing::Closed(window::next_opening(windows, zone, now_ms)))
    }

    /// A security fix waits for no window.
    fn windows(&self) -> &'a [window::Window] {
        match self.rollout.plan.urgency {
            Urgency::Security => &[],
            Urgency::Forced | Urgency::Deferrable { .. } => &self.rollout.plan.windows,
        }
    }

    /// Returns when the answer to the device about this rollout last changed (D3), in Unix
    /// milliseconds. Who was never offered anything was never answered anything: a rollout that starts
    /// or ends makes nobody fetch metadata again.
    pub fn answered_at(&self, Moment { zone, now_ms }: Moment<'_>) -> u64 {
        let Some(deployment) = self.deployment else { return 0 };
        if deployment.state.is_final() {
            return deployment.changed_at;
        }
        if !deployment.is_in_flight() {
            return deployment.decided_at;
        }
        let release = self.route.release(deployment.hop);
        // Who has switched is offered what it was offered then: no window changes that any more.
        let at = if deployment.is_past_recall() { deployment.changed_at } else { now_ms };
        let window = window::last_change(self.windows(), zone, at);
        deployment.decided_at.max(self.rollout.changed_at).max(release.changed_at).max(window)
    }
}
