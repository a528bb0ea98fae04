//! Reports: the evidence is stored, the deployment moves, the rollout halts if it must, all in one
//! transaction.

use waxwing_wire::{DeviceId, Report};

use super::{Accepted, Genuine, Ingest, Refused};
use crate::domain::deployment::Step;
use crate::domain::effect::Effect;
use crate::store::{self, Change, Connection, effects, reports};

/// Most reports about one deployment: a few for each state and attempt. More is a device gone mad,
/// and evidence is kept for ever.
const REPORTS_PER_DEPLOYMENT_MAX: u64 = 256;

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
        let mut change = self.store.begin().await?;
        if seen_before(change.connection(), device, genuine).await? {
            return Ok(Accepted::Duplicate);
        }
        let heard = self.fleet.on_report(device, &report, now_ms);
        let (step, effect) = heard.ok_or(Refused::NotInRollout)?;
        let accepted = match step {
            Step::Applied(_) => Accepted::Applied,
            Step::Contradicts(_) => Accepted::Contradicts,
            Step::Late => Accepted::Late,
        };
        let evidence = reports::Evidence {
            device: device.clone(),
            message_id: genuine.envelope.header.message_id.clone(),
            payload_sha256: genuine.payload_sha256,
            rollout: report.rollout.clone(),
            serial: genuine.signed_by.clone(),
            applied: accepted == Accepted::Applied,
            received_at: now_ms,
            envelope: genuine.envelope.text.as_bytes().to_vec(),
        };
        let done = self.clone().store_report(change, evidence, effect);
        tokio::spawn(done).await.map_err(store::Error::from)??;
        Ok(accepted)
    }

    async fn store_report(
        self,
        mut change: Change,
        evidence: reports::Evidence,
        effect: Effect<'static>,
    ) -> Result<(), Refused> {
        let db = change.connection();
        write(db, &evidence, &effect).await?;
        let turn = change.commit().await?;
        self.fleet.show(effect);
        drop(turn);
        Ok(())
    }
}

async fn write(
    db: &mut Connection,
    evidence: &reports::Evidence,
    effect: &Effect<'_>,
) -> Result<(), Refused> {
    let about = (&evidence.device, &evidence.rollout);
    if reports::count(&mut *db, about.0, about.1).await? >= REPORTS_PER_DEPLOYMENT_MAX {
        return Err(Refused::TooMany);
    }
    reports::add(&mut *db, evidence).await?;
    Ok(effects::write(db, effect).await?)
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
    match reports::payload_of(db, device, id).await? {
        Some(payload) if payload == genuine.payload_sha256 => Ok(true),
        Some(_) => Err(Refused::Replay),
        None => Ok(false),
    }
}
