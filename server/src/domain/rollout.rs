//! A rollout: one release brought to one group, in phases, stopping itself on bad evidence.
//!
//! ```text
//! draft --start--> running --all phases done--> finished
//!                  |  ^  \
//!              pause  resume \--evidence--> halted
//!                  v  |          /             |
//!                 paused -evidence           cancel
//!                     \                        v
//!  draft, running, paused --cancel------> cancelled
//! ```
//!
//! A halted rollout does not go on: its evidence does not go away. Cancel it, and bring the mended
//! release, or the previous one of the same security version, with a new rollout.
//! Membership is a cut-off in the order of `hash(seed, device)` (D26), so a rollout over a million
//! devices writes no rows when it starts.

mod gate;

use semver::Version;
use sha2::{Digest as _, Sha256};
use waxwing_wire::{Channel, DeviceId, Digest, GroupId, ProductId, RolloutId};

pub use self::gate::{Counts, Gate, PHASE_MEMBERS_SMALL, Reason, Verdict};
use super::words;

/// Most phases of a rollout: more would outlive the release.
pub const PHASES_MAX: usize = 16;

/// One release brought to one group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rollout {
    /// Its name.
    pub id: RolloutId,
    /// Whose devices.
    pub product: ProductId,
    /// The channel of the release.
    pub channel: Channel,
    /// The version of the release.
    pub version: Version,
    /// For whom.
    pub group: GroupId,
    /// What must be seen before the next phase.
    pub gate: Gate,
    /// For how many seconds a device must stay well before it says so.
    pub soak_s: u32,
    /// Shuffles the devices.
    pub seed: [u8; 32],
    /// Where it stands.
    pub state: State,
    /// Why it was halted.
    pub reason: Option<String>,
    /// Its phases, each larger than the one before; the last one is everybody.
    pub phases: Vec<Phase>,
    /// When it was drafted, in Unix milliseconds.
    pub created_at: u64,
    /// When it was started, in Unix milliseconds.
    pub started_at: Option<u64>,
    /// When it came to an end, in Unix milliseconds.
    pub finished_at: Option<u64>,
    /// When its state last changed, a new phase aside, in Unix milliseconds: part of the time of
    /// decisions (D3).
    pub changed_at: u64,
}

/// A share of the group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Phase {
    /// Share of the group up to here, the phases before included.
    pub percent: u8,
    /// When it was started, and for whom.
    pub started: Option<Started>,
}

/// What is fixed when a phase starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Started {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// The highest rank of a member (D26). Devices that join the group later compare with it.
    pub cutoff: Digest,
}

words!(
    /// Where a rollout stands.
    State {
        /// Planned; may be started or cancelled.
        Draft "draft",
        /// Offers its release to the devices of its started phases.
        Running "running",
        /// Offers nothing until it is resumed.
        Paused "paused",
        /// Stopped itself on evidence.
        Halted "halted",
        /// All devices have come to an end.
        Finished "finished",
        /// Stopped by an operator for good.
        Cancelled "cancelled",
    }
);

words!(
    /// What an operator may do to a rollout.
    Change {
        /// Stop it for good.
        Cancel "cancel",
        /// Stop offering for now.
        Pause "pause",
        /// Go on after a pause.
        Resume "resume",
        /// Begin with the first phase.
        Start "start",
    }
);

/// The rollout is not in a state in which this could be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot {change} a rollout that is {state}")]
pub struct IllegalChange {
    /// What was asked for.
    pub change: Change,
    /// Where the rollout stands.
    pub state: State,
}

impl State {
    /// Returns the state after an operator's change.
    ///
    /// # Errors
    ///
    /// [`IllegalChange`] when the change makes no sense in this state.
    pub const fn on_change(self, change: Change) -> Result<Self, IllegalChange> {
        match (self, change) {
            (Self::Draft, Change::Start) | (Self::Paused, Change::Resume) => Ok(Self::Running),
            (Self::Running, Change::Pause) => Ok(Self::Paused),
            (Self::Draft | Self::Running | Self::Paused | Self::Halted, Change::Cancel) => {
                Ok(Self::Cancelled)
            }
            (
                Self::Draft
                | Self::Running
                | Self::Paused
                | Self::Halted
                | Self::Finished
                | Self::Cancelled,
                Change::Cancel | Change::Pause | Change::Resume | Change::Start,
            ) => Err(IllegalChange { change, state: self }),
        }
    }

    /// Tells whether nothing can follow.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Draft | Self::Running | Self::Paused | Self::Halted => false,
            Self::Finished | Self::Cancelled => true,
        }
    }
}

impl Rollout {
    /// Changes the state as an operator asked. Starting is [`Rollout::start`].
    ///
    /// # Errors
    ///
    /// [`IllegalChange`] when the change makes no sense in this state.
    pub fn change(&mut self, change: Change, now_ms: u64) -> Result<(), IllegalChange> {
        let state = self.state.on_change(change)?;
        self.enter(state, now_ms);
        Ok(())
    }

    /// Starts the first phase for a group with these members.
    ///
    /// # Errors
    ///
    /// [`IllegalChange`] unless it is a draft.
    pub fn start<'a>(
        &mut self,
        members: impl Iterator<Item = &'a DeviceId>,
        now_ms: u64,
    ) -> Result<(), IllegalChange> {
        self.change(Change::Start, now_ms)?;
        self.started_at = Some(now_ms);
        self.start_next_phase(members, now_ms);
        Ok(())
    }

    /// Starts the next phase for a group with these members and fixes its cut-off (D26).
    pub fn start_next_phase<'a>(
        &mut self,
        members: impl Iterator<Item = &'a DeviceId>,
        now_ms: u64,
    ) {
        let ranks = members.map(|device| rank(&self.seed, device)).collect();
        let Some(phase) = self.phases.iter_mut().find(|phase| phase.started.is_none()) else {
            return;
        };
        phase.started = Some(Started { at: now_ms, cutoff: cutoff(ranks, phase.percent) });
    }

    /// Judges the counts of each phase that has started. A rollout that does not run can still
    /// halt, but goes nowhere else.
    pub fn judge(&self, phases: &[Counts]) -> Verdict {
        let verdict = self.gate.judge(phases, self.is_in_last_phase());
        match (self.state, verdict) {
            (State::Running, verdict) => verdict,
            (State::Paused, Verdict::Halt(reason)) => Verdict::Halt(reason),
            (
                State::Draft | State::Paused | State::Halted | State::Finished | State::Cancelled,
                Verdict::Advance | Verdict::Finish | Verdict::Halt(_) | Verdict::Wait,
            ) => Verdict::Wait,
        }
    }

    /// Stops on evidence.
    pub fn halt(&mut self, reason: &Reason, now_ms: u64) {
        self.reason = Some(reason.to_string());
        self.enter(State::Halted, now_ms);
    }

    /// Comes to the end.
    pub fn finish(&mut self, now_ms: u64) {
        self.enter(State::Finished, now_ms);
    }

    /// Returns the phase that a device belongs to, among those that have started.
    pub fn phase_of(&self, device: &DeviceId) -> Option<usize> {
        self.current_phase()?;
        let rank = rank(&self.seed, device);
        self.started().position(|phase| rank <= phase.cutoff)
    }

    /// Returns the phase started last.
    pub fn current_phase(&self) -> Option<usize> {
        self.started().count().checked_sub(1)
    }

    /// Tells whether all phases have started.
    pub fn is_in_last_phase(&self) -> bool {
        self.phases.iter().all(|phase| phase.started.is_some())
    }

    /// Returns what was fixed for each phase that has started.
    pub fn started(&self) -> impl Iterator<Item = &Started> {
        self.phases.iter().map_while(|phase| phase.started.as_ref())
    }

    fn enter(&mut self, state: State, now_ms: u64) {
        self.state = state;
        self.changed_at = now_ms;
        if state.is_final() {
            self.finished_at = Some(now_ms);
        }
    }
}

/// Returns the place of a device in the order of a rollout: nobody can choose it, and it is
/// another one in each rollout.
pub fn rank(seed: &[u8; 32], device: &DeviceId) -> Digest {
    let hash = Sha256::new().chain_update(seed).chain_update(device.as_str()).finalize();
    Digest(hash.into())
}

/// Returns the highest rank among the first `max(1, ceil(percent of n))` (D26). Everybody's last
/// phase has no end, so that later joiners belong to it.
fn cutoff(mut ranks: Vec<Digest>, percent: u8) -> Digest {
    const EVERYBODY: Digest = Digest([0xff; 32]);
    if percent >= 100 || ranks.is_empty() {
        return EVERYBODY;
    }
    let share = (ranks.len() * usize::from(percent)).div_ceil(100).max(1);
    let (_, last, _) = ranks.select_nth_unstable(share - 1);
    *last
}

/// Checks the shares of the phases.
///
/// # Errors
///
/// [`InvalidPhases`] unless there are 1 to [`PHASES_MAX`], rising, the last one 100.
pub fn check_phases(percents: &[u8]) -> Result<(), InvalidPhases> {
    let rising = percents.is_sorted_by(|one, next| one < next);
    let whole = percents.first().is_some_and(|first| *first > 0) && percents.last() == Some(&100);
    if rising && whole && percents.len() <= PHASES_MAX { Ok(()) } else { Err(InvalidPhases) }
}

/// The shares of the phases make no plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("phases are 1 to {PHASES_MAX} rising percentages, the last one 100")]
pub struct InvalidPhases;

#[cfg(test)]
pub(crate) mod tests;
