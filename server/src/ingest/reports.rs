//! Reports: the evidence is stored, the deployment moves, the rollout halts if it must, all in one
//! transaction.

use std::iter;

use serde_json::json;
use waxwing_wire::{DeviceId, Report};

use super::{Accepted, Genuine, Ingest, Refused};
use crate::domain::audit::{self, Entry};
use crate::domain::deployment::Step;
use crate::domain::rollout::{Action, Evidence};
use crate::domain::{Deployment, Rollout};
use crate::store::reports;
use crate::store::{self, Change, Connection};

/// Most reports about one deployment: a few for each state and attempt. More is a device gone mad,
/// and evidence is kept for ever.
const REPORTS_PER_DEPLOYMENT_MAX: u64 = 256;

/// What a report changes.
struct Effect {
    deployment: Option<Deployment>,
    halted: Option<Rollout>,
}

impl Ingest {
    /// Takes in a report. Runs to its end even if the sender hangs up: memory and database must not
    /// part.
    pub(super) async fn report(
        &self,
        device: &DeviceId,
        genuine: &Genuine<'_>,
        now_ms: u64,
    ) -> Result<Accepted, Refused> {
        let report = Report::decode(genuine.envelope.payload)?;
        let mut change = self.store.begin().await.map_err(Refused::Unavailable)?;
        if seen_before(change.connection(), device, genuine).await? {
            return Ok(Accepted::Duplicate);
        }
        let (accepted, effect) = self.effect_of(device, &report, now_ms)?;
        let evidence = reports::Evidence {
            device: device.clone(),
            message_id: genuine.envelope.header.message_id.clone(),
            payload_sha256: genuine.payload_sha256,
            rollout: report.rollout.clone(),
            serial: genuine.serial.clone(),
            applied: accepted == Accepted::Applied,
            received_at: now_ms,
            envelope: genuine.bytes.to_vec(),
        };
        let done = self.clone().store_report(change, evidence, effect);
        tokio::spawn(done).await.map_err(|error| Refused::Unavailable(error.into()))??;
        Ok(accepted)
    }

    /// Asks the domain what the report means.
    fn effect_of(
        &self,
        device: &DeviceId,
        report: &Report,
        now_ms: u64,
    ) -> Result<(Accepted, Effect), Refused> {
        let nothing = Effect { deployment: None, halted: None };
        let place = self.fleet.place(&report.rollout, device).ok_or(Refused::NotInRollout)?;
        let before = place.begun();
        let at = self.fleet.stamp(now_ms);
        let next = match before.on_report(report, &place.route(), at) {
            Step::Applied(next) => next,
            Step::Contradicts(_) => return Ok((Accepted::Contradicts, nothing)),
            Step::Late => return Ok((Accepted::Late, nothing)),
        };
        let mut phases = self.fleet.evidence(&report.rollout);
        if let Some(Evidence { counts, .. }) = phases.get_mut(place.phase) {
            counts.remove(before.state);
            counts.add(next.state);
        }
        let halted = self.halted_by(&place.rollout, &phases, now_ms);
        Ok((Accepted::Applied, Effect { deployment: Some(next), halted }))
    }

    /// Returns the rollout as it is once the evidence has halted it, if it does.
    fn halted_by(&self, rollout: &Rollout, phases: &[Evidence], now_ms: u64) -> Option<Rollout> {
        let decision = rollout.decide(phases, now_ms)?;
        let Action::Halt(_) = decision.action else { return None };
        let mut halted = rollout.clone();
        let at = self.fleet.stamp(now_ms);
        halted.carry_out(decision, iter::empty(), at).ok().map(|()| halted)
    }

    async fn store_report(
        self,
        mut change: Change,
        evidence: reports::Evidence,
        effect: Effect,
    ) -> Result<(), Refused> {
        let db = change.connection();
        write(db, &evidence, &effect).await?;
        let turn = change.commit().await.map_err(Refused::Unavailable)?;
        if let Some(deployment) = effect.deployment {
            self.fleet.put_deployment(&evidence.device, &evidence.rollout, deployment);
        }
        if let Some(rollout) = effect.halted {
            tracing::warn!(rollout.id = %rollout.id, reason = rollout.reason, "rollout halted");
            self.fleet.put_rollout(rollout);
        }
        drop(turn);
        Ok(())
    }
}

async fn write(
    db: &mut Connection,
    evidence: &reports::Evidence,
    effect: &Effect,
) -> Result<(), Refused> {
    let about = (&evidence.device, &evidence.rollout);
    let count = reports::count(&mut *db, about.0, about.1).await;
    if count.map_err(Refused::Unavailable)? >= REPORTS_PER_DEPLOYMENT_MAX {
        return Err(Refused::TooMany);
    }
    let written = async {
        reports::add(&mut *db, evidence).await?;
        if let Some(deployment) = &effect.deployment {
            let (device, rollout) = about;
            store::deployments::put(&mut *db, rollout, device, deployment).await?;
        }
        if let Some(rollout) = &effect.halted {
            store::rollouts::update(&mut *db, rollout).await?;
            store::audit::add(&mut *db, &halt_entry(rollout)).await?;
        }
        Ok(())
    };
    written.await.map_err(Refused::Unavailable)
}

/// Tells whether the very same message was stored before.
///
/// # Errors
///
/// [`Refused::Replay`] when its id was used for another one.
pub(super) async fn seen_before(
    db: &mut Connection,
    device: &DeviceId,
    genuine: &Genuine<'_>,
) -> Result<bool, Refused> {
    let id = &genuine.envelope.header.message_id;
    let payload = reports::payload_of(db, device, id).await;
    match payload.map_err(Refused::Unavailable)? {
        Some(payload) if payload == genuine.payload_sha256 => Ok(true),
        Some(_) => Err(Refused::Replay),
        None => Ok(false),
    }
}

/// Describes a halt for the audit log.
pub(crate) fn halt_entry(rollout: &Rollout) -> Entry {
    Entry {
        at: rollout.changed_at,
        actor: audit::SERVER.to_owned(),
        action: audit::Action::RolloutHalted,
        subject: format!("rollout/{}", rollout.id),
        reason: rollout.reason.clone().unwrap_or_default(),
        detail: json!({}),
    }
}
