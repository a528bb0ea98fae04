//! What follows from what is heard, and from time. The only writer asks, stores the answer, and shows it.
//!
//! Not here: storing it, and when time is looked at.

use std::collections::BTreeMap;
use std::iter;

use waxwing_wire::report::State;
use waxwing_wire::{DeviceId, Report, RolloutId};

use super::Fleet;
use crate::domain::deployment::{Contradiction, Step};
use crate::domain::effect::{Effect, Moved, NewDeployment};
use crate::domain::rollout::{Action, Decision, Evidence};
use crate::domain::{Deployment, Rollout, Sighting};

impl Fleet {
    /// Returns what follows from polls: what begins, as far as there are places, who runs another
    /// version than before, and who is not healthy any more.
    pub fn on_polls<'a>(&self, polls: &'a [(DeviceId, Sighting)]) -> Effect<'a> {
        let begun = self.beginnings(polls).into_iter();
        Effect {
            sightings: polls,
            devices: self.seen_changed(polls),
            deployments: begun.chain(self.gone_back(polls)).collect(),
            lost: self.lost(polls),
            moved: Vec::new(),
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
        deployments.push((report.rollout.clone(), device.clone(), next));
        let moved = self.halted_by(&deployments, now_ms);
        Some((step, Effect { deployments, moved, ..Effect::default() }))
    }

    /// Returns what follows from the silence of devices: what becomes of those whose time has run out, at
    /// most `limit` of them, and which rollouts that halts.
    pub fn on_silence(&self, now_ms: u64, limit: usize) -> Effect<'static> {
        let deployments = self.timed_out(self.stamp(now_ms), limit);
        let moved = self.halted_by(&deployments, now_ms);
        Effect { deployments, moved, ..Effect::default() }
    }

    /// Returns what a decision comes to, unless something has happened since it was made: to the rollout, or
    /// to its devices so that it is decided no more.
    pub fn on_decision(
        &self,
        rollout: &RolloutId,
        decision: &Decision,
        now_ms: u64,
    ) -> Option<Effect<'static>> {
        let mut rollout = Rollout::clone(&*self.rollout(rollout)?);
        // Decided again as the only writer: what was heard in between counts.
        let (evidence, health) = (self.evidence(&rollout.id), self.health(&rollout.id));
        let again = rollout.decide(&evidence, &health, now_ms);
        let Some(decision) = decision.confirmed_by(again) else {
            self.shared.tally.stale();
            return None;
        };
        let at = self.stamp(now_ms);
        let action = decision.action.clone();
        let members = self.meant_by(&rollout);
        let done = rollout.carry_out(decision, members.iter(), at);
        done.inspect_err(|_| self.shared.tally.stale()).ok()?;
        let moved = vec![Moved { rollout, action, at }];
        Some(Effect { moved, ..Effect::default() })
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
        for Moved { rollout, action, .. } in effect.moved {
            let reason = rollout.reason.as_deref();
            tracing::info!(rollout.id = %rollout.id, ?action, reason, "rollout moved");
            self.put_rollout(rollout);
        }
    }

    /// Returns the ends of deployments that polls contradict. Of a rollout that is over nothing more is
    /// held against the release, and who has begun something else since runs what that brought.
    fn gone_back(&self, polls: &[(DeviceId, Sighting)]) -> Vec<NewDeployment> {
        let catalogue = self.shared.catalogue.load();
        let gone_back = |(device, poll): &(DeviceId, Sighting)| {
            self.shared.members.with(device, |member| {
                let (number, last) = member.last_ending()?;
                let campaign = catalogue.numbered(number)?;
                let is_open = !campaign.rollout.state.is_final();
                let has_gone = is_open && last.is_contradicted_by(poll, &campaign.release);
                let after = has_gone.then(|| last.gone_back(self.stamp(poll.at)))?;
                Some((campaign.rollout.id.clone(), device.clone(), after))
            })?
        };
        polls.iter().filter_map(gone_back).collect()
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

    /// Returns the rollouts that halt by what becomes of deployments.
    fn halted_by(&self, deployments: &[NewDeployment], now_ms: u64) -> Vec<Moved> {
        let mut concerned = BTreeMap::new();
        for (rollout, device, after) in deployments {
            let phases = concerned.entry(rollout).or_insert_with(|| self.evidence(rollout));
            let before = self.deployment(rollout, device);
            if let Some(phase) = phases.get_mut(usize::from(after.phase)) {
                phase.move_on(before.map_or(State::Waiting, |before| before.state), after);
            }
        }
        let halted = concerned
            .into_iter()
            .filter_map(|(rollout, phases)| self.halted(&*self.rollout(rollout)?, &phases, now_ms));
        halted.collect()
    }

    /// Returns the rollout as it is once the evidence has halted it, if it does.
    fn halted(&self, rollout: &Rollout, phases: &[Evidence], now_ms: u64) -> Option<Moved> {
        let decision = rollout.decide(phases, &self.health(&rollout.id), now_ms)?;
        let action = decision.action.clone();
        let Action::Halt(_) = action else { return None };
        let (mut rollout, at) = (rollout.clone(), self.stamp(now_ms));
        rollout.carry_out(decision, iter::empty(), at).ok()?;
        Some(Moved { rollout, action, at })
    }
}
