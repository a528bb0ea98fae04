//! The planner: what should happen to a rollout, given the evidence.
//!
//! A decision is data, made for one generation of its rollout; whatever happens to the rollout in
//! between makes it stale, and a stale decision cannot be carried out. Not here: carrying it out.

use super::bounds::Error;
use super::evidence::Evidence;
use super::gate::{Reason, Verdict};
use super::health::{Comparison, Worse};
use super::plan::ERROR_HALT;
use super::{Rollout, State};

/// What should happen to a rollout, if it is still as it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// The generation of the rollout for which it was made.
    pub(super) generation: u64,
    /// What should happen.
    pub action: Action,
}

/// What the server does to a rollout by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Start the next phase.
    Advance,
    /// Tell somebody that only their approval is missing; once in each phase.
    AskApproval,
    /// Come to the end.
    Finish,
    /// Stop.
    Halt(Reason),
}

impl Decision {
    /// Returns what is decided now that it is made again, if that is for the same generation: evidence may
    /// have changed since, and a decision that it does not bear any more is none.
    #[must_use]
    pub fn confirmed_by(&self, again: Option<Self>) -> Option<Self> {
        again.filter(|again| again.generation == self.generation)
    }
}

impl Rollout {
    /// Decides what should happen now, given what is known of each phase that has started, and what
    /// telemetry says by each rule of the plan. A rollout that is paused can still halt, but goes nowhere
    /// else.
    pub fn decide(
        &self,
        evidence: &[Evidence],
        health: &[Comparison],
        now_ms: u64,
    ) -> Option<Decision> {
        let halt = || self.reason_to_halt(evidence, health).map(Action::Halt);
        let action = match self.state {
            State::Running => halt().or_else(|| self.step(evidence, now_ms)),
            State::Paused => halt(),
            State::Draft | State::Halted | State::Finished | State::Cancelled => None,
        };
        action.map(|action| Decision { generation: self.generation, action })
    }

    /// Tells whether only somebody's approval is missing before the next phase starts.
    pub fn awaits_approval(&self, evidence: &[Evidence]) -> bool {
        let approved = self.current().is_none_or(|(_, phase)| phase.approved.is_some());
        let gate = self.current_gate();
        self.state == State::Running
            && !self.is_in_last_phase()
            && gate.is_some_and(|gate| gate.approval && !approved)
            && self.verdicts(evidence).last() == Some(Verdict::Pass)
    }

    /// Tells whether another phase may follow.
    pub(super) fn may_go_on(&self) -> bool {
        matches!(self.state, State::Running | State::Paused) && !self.is_in_last_phase()
    }

    /// Any phase can halt a rollout, also one that was passed, and so can all of them together, and the
    /// current one when it cannot be passed any more.
    fn reason_to_halt(&self, evidence: &[Evidence], health: &[Comparison]) -> Option<Reason> {
        let of_phases = self.verdicts(evidence).find_map(|verdict| match verdict {
            Verdict::Halt(reason) => Some(reason),
            Verdict::Pass | Verdict::Wait => None,
        });
        let all = Evidence::sum(evidence).tried();
        let of_all = || self.current_gate()?.reason_to_halt(None, all, self.bounds());
        let of_health = || self.worse(health).map(Reason::Health);
        of_phases.or_else(of_all).or_else(|| self.hopeless(evidence)).or_else(of_health)
    }

    /// The last phase need not be passed: nothing follows.
    fn hopeless(&self, evidence: &[Evidence]) -> Option<Reason> {
        let phase = self.current_phase().filter(|_| self.may_go_on())?;
        self.current_gate()?.reason_to_despair(phase, evidence.get(phase)?)
    }

    fn worse(&self, health: &[Comparison]) -> Option<Worse> {
        let mut rules = self.plan.health.iter().zip(health);
        let error = Error::one_of(ERROR_HALT, self.bounds());
        rules.find_map(|(rule, seen)| Worse::by(rule, *seen, error))
    }

    fn step(&self, evidence: &[Evidence], now_ms: u64) -> Option<Action> {
        if self.is_in_last_phase() {
            let is_over = !self.plan.open_ended && self.is_over(evidence, now_ms);
            return is_over.then_some(Action::Finish);
        }
        if self.awaits_approval(evidence) {
            let is_asked = self.current().is_none_or(|(_, phase)| phase.asked_at.is_some());
            return (!is_asked).then_some(Action::AskApproval);
        }
        let passed = self.verdicts(evidence).last() == Some(Verdict::Pass);
        passed.then_some(Action::Advance)
    }

    /// Whoever has not even been offered the release is waited for as long as the plan says, and as long
    /// as a user may put it off: from when it could be offered, and for as long as others come. Windows and a
    /// budget of bytes make devices wait that poll.
    fn is_over(&self, evidence: &[Evidence], now_ms: u64) -> bool {
        let Evidence { counts, moved_at, .. } = Evidence::sum(evidence);
        let for_polls_s = u64::from(self.plan.timeouts.waiting_s) + u64::from(self.extended_s);
        let patience_ms = (for_polls_s + self.plan.deferrals_s()) * 1000;
        let phase_at = self.started().last().map_or(now_ms, |last| last.at);
        let began_at = phase_at.max(self.plan.not_before.unwrap_or(0)).max(self.changed_at);
        let waited = now_ms.saturating_sub(began_at.max(moved_at));
        counts.in_flight() == 0 && (counts.ended() == counts.total() || waited >= patience_ms)
    }

    fn verdicts(&self, evidence: &[Evidence]) -> impl Iterator<Item = Verdict> {
        let gates = self.plan.phases.iter().map(|phase| phase.gate);
        let phases = gates.zip(evidence).enumerate();
        phases.map(|(number, (gate, evidence))| gate.judge(number, evidence, self.bounds()))
    }

    /// A bound for each phase, one for all together, and one for each rule about telemetry.
    const fn bounds(&self) -> usize {
        self.plan.phases.len() + 1 + self.plan.health.len()
    }
}
