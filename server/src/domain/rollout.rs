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

pub mod allowance;
pub mod bounds;
pub mod budget;
pub mod contact;
pub mod counts;
pub mod deferral;
pub mod evidence;
pub mod gate;
pub mod health;
pub mod patience;
pub mod permille;
pub mod plan;
pub mod planner;
pub mod route;
pub mod window;

use semver::Version;
use sha2::{Digest as _, Sha256};
use waxwing_wire::{Channel, DeviceId, Digest, GroupId, ProductId, RolloutId};

pub use self::counts::Counts;
pub use self::evidence::Evidence;
pub use self::gate::Reason;
pub use self::plan::{Gate, PhasePlan, Plan, Size, Urgency};
pub use self::planner::{Action, Decision};
pub use self::route::Route;
use super::words;

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
    /// What is to happen.
    pub plan: Plan,
    /// Shuffles the devices.
    pub seed: [u8; 32],
    /// Where it stands.
    pub state: State,
    /// Why it was halted.
    pub reason: Option<String>,
    /// How far each phase of the plan is.
    pub phases: Vec<Phase>,
    /// Who drafted it.
    pub created_by: String,
    /// When it was drafted, in Unix milliseconds.
    pub created_at: u64,
    /// When it was started, in Unix milliseconds.
    pub started_at: Option<u64>,
    /// When it came to an end, in Unix milliseconds.
    pub finished_at: Option<u64>,
    /// When its state last changed, a new phase aside, in Unix milliseconds: part of the time of
    /// decisions (D3).
    pub changed_at: u64,
    /// For how many seconds longer than planned it waits for devices that do not poll.
    pub extended_s: u32,
    /// Rises with whatever happens to it.
    pub generation: u64,
}

/// How far a phase is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Phase {
    /// When it was started, and for whom.
    pub started: Option<Started>,
    /// When somebody was asked to agree, in Unix milliseconds.
    pub asked_at: Option<u64>,
    /// Who agreed to go on after it.
    pub approved: Option<Approval>,
}

/// What is fixed when a phase starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Started {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// The highest rank of a member (D26), if its size is a share or a number. Devices that join the
    /// group later compare with it.
    pub cutoff: Digest,
}

/// Somebody agreed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// When, in Unix milliseconds.
    pub at: u64,
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
        /// Wait longer for devices that do not poll.
        Extend "extend",
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

/// Something happened to the rollout since the decision was made: it must be made anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the rollout has changed since this was decided")]
pub struct Stale;

/// Why nobody's approval is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoApproval {
    /// The current phase needs none or has one, none follows it, or the rollout does not go on.
    #[error("the phase needs no approval")]
    NotAsked,
    /// The same person drafted the rollout.
    #[error("somebody else than who drafted the rollout must approve it")]
    SamePerson,
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
            (Self::Draft | Self::Running | Self::Paused, Change::Extend) => Ok(self),
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
                Change::Cancel | Change::Extend | Change::Pause | Change::Resume | Change::Start,
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

    /// Takes note that somebody agrees to go on after the current phase.
    ///
    /// # Errors
    ///
    /// [`NoApproval`] when none is asked for, or it is not theirs to give.
    pub fn approve(&mut self, by: &str, now_ms: u64) -> Result<(), NoApproval> {
        if by == self.created_by {
            return Err(NoApproval::SamePerson);
        }
        let asked = self.may_go_on() && self.current_gate().is_some_and(|gate| gate.approval);
        let current = self.current_phase().and_then(|current| self.phases.get_mut(current));
        let open = current.filter(|phase| asked && phase.approved.is_none());
        let phase = open.ok_or(NoApproval::NotAsked)?;
        phase.approved = Some(Approval { by: by.to_owned(), at: now_ms });
        self.generation += 1;
        Ok(())
    }

    /// Waits longer for devices that do not poll.
    ///
    /// # Errors
    ///
    /// [`IllegalChange`] when it is over.
    pub fn extend(&mut self, seconds: u32) -> Result<(), IllegalChange> {
        self.state.on_change(Change::Extend)?;
        self.extended_s = self.extended_s.saturating_add(seconds);
        self.generation += 1;
        Ok(())
    }

    /// Does what was decided. `members` are those of the group.
    ///
    /// # Errors
    ///
    /// [`Stale`] when anything happened to the rollout since.
    pub fn carry_out<'a>(
        &mut self,
        decision: Decision,
        members: impl Iterator<Item = &'a DeviceId>,
        now_ms: u64,
    ) -> Result<(), Stale> {
        if decision.generation != self.generation {
            return Err(Stale);
        }
        match decision.action {
            Action::Advance => self.start_next_phase(members, now_ms),
            Action::AskApproval => self.ask_approval(now_ms),
            Action::Finish => self.enter(State::Finished, now_ms),
            Action::Halt(reason) => {
                self.reason = Some(reason.to_string());
                self.enter(State::Halted, now_ms);
            }
        }
        Ok(())
    }

    /// Returns the phase that a device belongs to, among those that have started. `is_in` tells
    /// whether it belongs to another group.
    pub fn phase_of(&self, device: &DeviceId, is_in: impl Fn(&GroupId) -> bool) -> Option<usize> {
        let rank = std::cell::LazyCell::new(|| rank(&self.seed, device));
        let is_within = |cutoff| cutoff == EVERYBODY || *rank <= cutoff;
        let mut started = self.plan.phases.iter().zip(self.started());
        started.position(|(plan, started)| match &plan.size {
            Size::Group(group) => is_in(group),
            Size::Count(_) | Size::Percent(_) => is_within(started.cutoff),
        })
    }

    /// Tells whether its plan speaks of a group: as the one that it is for, or as that of a phase.
    pub fn names(&self, group: &GroupId) -> bool {
        let is_canaries = |phase: &PhasePlan| matches!(&phase.size, Size::Group(it) if it == group);
        self.group == *group || self.plan.phases.iter().any(is_canaries)
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

    fn current_gate(&self) -> Option<Gate> {
        let (plan, _) = self.current()?;
        Some(plan.gate)
    }

    fn current(&self) -> Option<(&PhasePlan, &Phase)> {
        let current = self.current_phase()?;
        self.plan.phases.get(current).zip(self.phases.get(current))
    }

    /// Fixes the cut-off of the next phase (D26).
    pub(crate) fn start_next_phase<'a>(
        &mut self,
        members: impl Iterator<Item = &'a DeviceId>,
        now_ms: u64,
    ) {
        let mut phases = self.phases.iter_mut().zip(&self.plan.phases);
        let next = phases.find(|(phase, _)| phase.started.is_none());
        let Some((phase, plan)) = next else { return };
        let cutoff = cutoff(members.map(|device| rank(&self.seed, device)), &plan.size);
        phase.started = Some(Started { at: now_ms, cutoff });
        self.generation += 1;
    }

    fn ask_approval(&mut self, now_ms: u64) {
        let current = self.current_phase().and_then(|current| self.phases.get_mut(current));
        if let Some(phase) = current {
            phase.asked_at = Some(now_ms);
            self.generation += 1;
        }
    }

    fn enter(&mut self, state: State, now_ms: u64) {
        self.state = state;
        self.changed_at = now_ms;
        self.generation += 1;
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

/// The cut-off of a phase that everybody belongs to, also who joins later: nobody's rank is asked.
const EVERYBODY: Digest = Digest([0xff; 32]);

/// Returns the highest rank of a phase: among the first `max(1, ceil(percent of n))`, or the first
/// `count` (D26). Everybody's last phase has no end, so that later joiners belong to it.
fn cutoff(ranks: impl Iterator<Item = Digest>, size: &Size) -> Digest {
    const NOBODY: Digest = Digest([0; 32]);
    if *size == Size::Percent(100) {
        return EVERYBODY;
    }
    let mut ranks: Vec<_> = ranks.collect();
    let share = match size {
        Size::Group(_) => 0,
        Size::Count(count) => usize::try_from(*count).unwrap_or(usize::MAX),
        Size::Percent(percent) => (ranks.len() * usize::from(*percent)).div_ceil(100).max(1),
    };
    match share.min(ranks.len()) {
        0 => NOBODY,
        share => *ranks.select_nth_unstable(share - 1).1,
    }
}

#[cfg(test)]
pub(crate) mod tests;
