//! Recounts a rollout from its evidence (D25): the stored reports, each checked again against the
//! key it came with, replayed in the order they came.
//!
//! What only the server can know, offers and skips, is taken from the deployments. Not here: the
//! counters themselves, see [`crate::fleet`].

use std::collections::HashMap;

use waxwing_wire::envelope::Envelope;
use waxwing_wire::report::State;
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, ErrorCode, Report, RolloutId};

use crate::domain::Deployment;
use crate::domain::deployment::Step;
use crate::domain::rollout::{Counts, Route};
use crate::fleet::Fleet;
use crate::ingest;
use crate::store::reports::Evidence;
use crate::store::{self, Store, deployments, reports};

/// What the evidence adds up to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recount {
    /// Devices by state, those nothing is known of left out.
    pub counts: Counts,
    /// How many reports were read.
    pub reports: u64,
    /// How many of them do not verify any more: somebody changed the database.
    pub invalid: u64,
}

/// Recounts a rollout.
///
/// # Errors
///
/// When the database fails or a row is damaged.
pub async fn recount(
    store: &Store,
    fleet: &Fleet,
    rollout: &RolloutId,
) -> Result<Option<Recount>, store::Error> {
    let Some((end, stones)) = fleet.route_of(rollout) else { return Ok(None) };
    let Some(plan) = fleet.rollout(rollout).map(|rollout| rollout.plan.clone()) else {
        return Ok(None);
    };
    let route = Route { stones: &stones, end: &end };
    let mut recount = Recount::default();
    let mut devices = HashMap::<DeviceId, Deployment>::new();
    for (evidence, spki) in reports::of_rollout(store, rollout).await? {
        recount.reports += 1;
        let Some(report) = genuine(&evidence, &spki) else {
            recount.invalid += 1;
            continue;
        };
        let device = devices.entry(evidence.device).or_insert_with(Deployment::waiting);
        let at = evidence.received_at;
        if let Step::Applied(next) = device.on_report(&report, &plan, &route, at) {
            *device = next;
        }
    }
    add_what_only_the_server_knows(&mut devices, deployments::of_rollout(store, rollout).await?);
    for deployment in devices.values() {
        recount.counts.add(deployment.state);
    }
    Ok(Some(recount))
}

fn genuine(evidence: &Evidence, spki: &[u8]) -> Option<Report> {
    let envelope = Envelope::parse(&evidence.envelope).ok()?;
    let of_device = envelope.header.device_id == evidence.device;
    if !of_device || !ingest::verify(spki, Kind::Report, &envelope) {
        return None;
    }
    Report::decode(envelope.payload).ok()
}

/// Offers, and how the server thinks that it ended.
fn add_what_only_the_server_knows(
    devices: &mut HashMap<DeviceId, Deployment>,
    stored: Vec<(DeviceId, Deployment)>,
) {
    for (device, deployment) in stored {
        let (said, why) = devices
            .get(&device)
            .map_or((State::Waiting, ErrorCode::NONE), |said| (said.state, said.code));
        let is_silent = said == State::Waiting && deployment.state == State::Offered;
        let is_taken_back = !said.is_final() && deployment.state == State::Waiting;
        // How often it was tried, which is how often it was offered, only the server knows.
        let was_last =
            said == State::Waiting && !why.is_none() && deployment.state == State::Failed;
        if is_silent || is_taken_back || was_last || deployment.is_guess() {
            devices.insert(device, deployment);
        }
    }
    devices.retain(|_, deployment| deployment.state != State::Waiting);
}

#[cfg(test)]
pub(crate) fn known(phases: &[Counts]) -> Counts {
    let mut total = Counts::sum(phases);
    let waiting = total.of(State::Waiting);
    (0..waiting).for_each(|_| total.remove(State::Waiting));
    total
}
