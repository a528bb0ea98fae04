//! What follows from what is heard, and from time. The only writer asks, stores the answer, and shows it.
//!
//! Not here: storing it, and when time is looked at.

use std::iter;

use waxwing_wire::{DeviceId, Report, RolloutId};

use super::Fleet;
use crate::domain::deployment::{Contradiction, Step};
use crate::domain::effect::{Effect, Moved, NewDeployment};
use crate::domain::rollout::{Action, Decision, Evidence};
use crate::domain::{Deployment, Rollout, Sighting};

impl Fleet {
    /// Returns what follows from polls: what begins, as far as there are places, and who runs another
    /// version than before.
    pub fn on_polls<'a>(&self, polls: &'a [(DeviceId, Sighting)]) -> Effect<'a> {
        Effect {
            sightings: polls,
            devices: self.seen_changed(polls),
            deployments: self.beginnings(polls),
            lost: self.lost(polls),
            moved: None,
        }
    }

    /// Returns what follows from a report, and what it is to its deployment; `None` if the device has no
    /// part in the rollout.
    pub fn on_report(
        &self,
        device: &DeviceId,
        report: &Report,
        now_ms: u64,
    ) -> Option<(Step, Effect<'static>)> {
        let place = self.place(&report.rollout, device)?;
        let before = place.begun();
        let plan = &place.rollout.plan;
        let at = self.stamp(now_ms);
        let step = before.on_report(report, plan, &place.route(), at);
        let Step::Applied(next) = step else { return Some((step, Effect::default())) };
        let Some(mut deployments) = self.beside(device, (&report.rollout, &next), at) else {
            return Some((Step::Contradicts(Contradiction::Elsewhere), Effect::default()));
        };
        let mut phases = self.evidence(&report.rollout);
        if let Some(phase) = phases.get_mut(place.phase) {
            phase.move_on(before.state, &next);
        }
        deployments.push((report.rollout.clone(), device.clone(), next));
        let moved = self.halted_by(&place.rollout, &phases, now_ms);
        Some((step, Effect { deployments, moved, ..Effect::default() }))
    }

    /// Returns what follows from the silence of devices: what becomes of those whose time has run out, at
    /// most `limit` of them.
    pub fn on_silence(&self, now_ms: u64, limit: usize) -> Effect<'static> {
        let at = self.stamp(now_ms);
        Effect { deployments: self.timed_out(at, limit), ..Effect::default() }
    }

    /// Returns what a decision comes to, unless something has happened to the rollout since it was made.
    pub fn on_decision(
        &self,
        rollout: &RolloutId,
        decision: Decision,
        now_ms: u64,
    ) -> Option<Effect<'static>> {
        let mut rollout = Rollout::clone(&*self.rollout(rollout)?);
        let at = self.stamp(now_ms);
        let action = decision.action.clone();
        let members = self.members_of(&rollout.group);
        let done = rollout.carry_out(decision, members.iter(), at);
        done.inspect_err(|_| self.shared.tally.stale()).ok()?;
        let moved = Moved { rollout, action, at };
        Some(Effect { moved: Some(moved), ..Effect::default() })
    }

    /// Shows what was stored: from now on devices are told so.
    pub fn show(&self, effect: Effect<'_>) {
        self.shared.tally.done(&effect);
        for (rollout, device, deployment) in effect.deployments {
            self.put_deployment(&device, &rollout, deployment);
        }
        for device in effect.devices {
            self.put_device(device);
        }
        self.saw(effect.sightings);
        effect.lost.iter().for_each(|lost| self.put_lost(lost));
        if let Some(Moved { rollout, action, .. }) = effect.moved {
            let reason = rollout.reason.as_deref();
            tracing::info!(rollout.id = %rollout.id, ?action, reason, "rollout moved");
            self.put_rollout(rollout);
        }
    }

    /// Returns what becomes of a device's part in other rollouts when it is so far in one; `None` if it
    /// cannot be so far there.
    fn beside(
        &self,
        device: &DeviceId,
        (rollout, there): (&RolloutId, &Deployment),
        at: u64,
    ) -> Option<Vec<NewDeployment>> {
        let mut changed = Vec::new();
        let all = self.deployments_of(device).into_iter();
        for (other, before) in all.filter(|(other, _)| other != rollout) {
            let after = before.beside(there, at)?;
            if after != before {
                changed.push((other, device.clone(), after));
            }
        }
        Some(changed)
    }

    /// Returns the rollout as it is once the evidence has halted it, if it does.
    fn halted_by(&self, rollout: &Rollout, phases: &[Evidence], now_ms: u64) -> Option<Moved> {
        let decision = rollout.decide(phases, &self.health(&rollout.id), now_ms)?;
        let action = decision.action.clone();
        let Action::Halt(_) = action else { return None };
        let (mut rollout, at) = (rollout.clone(), self.stamp(now_ms));
        rollout.carry_out(decision, iter::empty(), at).ok()?;
        Some(Moved { rollout, action, at })
    }
}
