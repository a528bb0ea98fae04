//! Recounts a rollout from its evidence (D25): the stored reports, each checked again against the
//! key it came with, replayed in the order they came.
//!
//! What only the server can know, offers and skips and whom it gave up, is taken from the deployments,
//! as far as it can be so after what the device said: how a device says that it ended nobody else
//! can change. Read from one moment of the database, without keeping anybody from writing; not here: the
//! counters themselves, see [`crate::fleet`].

use waxwing_wire::envelope::Envelope;
use waxwing_wire::report::State;
use waxwing_wire::topic::Kind;
use waxwing_wire::{Report, RolloutId};

use crate::domain::Deployment;
use crate::domain::deployment::Step;
use crate::domain::rollout::{Counts, Plan, Route};
use crate::fleet::Fleet;
use crate::ingest;
use crate::store::reports::Evidence;
use crate::store::{self, Store, deployments, reports};

/// What the evidence adds up to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recount {
    /// Devices by state, as they are counted.
    pub counted: Counts,
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
    let (mut snapshot, nobody_writes) = store.snapshot().await?;
    let counted = Counts::sum(&fleet.counts(rollout));
    drop(nobody_writes);
    let mut recount = Recount { counted, ..Recount::default() };
    let mut stored = deployments::of_rollout(snapshot.connection(), rollout).await?;
    let mut evidence = reports::of_rollout(snapshot.connection(), rollout);
    while let Some((device, said)) = evidence.next_device().await? {
        let said = recount.replay(said, &plan, &route);
        let known = stored.remove(&device);
        let state = known.map_or(said.state, |stored| settled(&said, &stored));
        recount.add(state);
        // Signatures take their time, and others wait for this processor.
        tokio::task::yield_now().await;
    }
    let silent = Deployment::waiting();
    for stored in stored.values() {
        recount.add(settled(&silent, stored));
    }
    Ok(Some(recount))
}

impl Recount {
    /// Counts a device, unless nothing is known of it.
    fn add(&mut self, state: State) {
        if state != State::Waiting {
            self.counts.add(state);
        }
    }

    /// Returns how far a device is by its own word.
    fn replay(
        &mut self,
        said: Vec<(Evidence, Vec<u8>)>,
        plan: &Plan,
        route: &Route<'_>,
    ) -> Deployment {
        let mut deployment = Deployment::waiting();
        for (evidence, spki) in said {
            self.reports += 1;
            match genuine(&evidence, &spki) {
                Some(report) => deployment = after(&deployment, &evidence, &report, plan, route),
                None => self.invalid += 1,
            }
        }
        deployment
    }
}

/// Returns a deployment after one more report. Whether it had an effect when it came is believed only
/// where the server alone can know: it had taken the offer back meanwhile or given the device up, and so
/// heard the report as a first one; or the device took part in another rollout, and what it said
/// of being under way here was set aside. Neither hides how a device says that it ended.
fn after(
    before: &Deployment,
    evidence: &Evidence,
    report: &Report,
    plan: &Plan,
    route: &Route<'_>,
) -> Deployment {
    let at = evidence.received_at;
    let on = |deployment: &Deployment| match deployment.on_report(report, plan, route, at) {
        Step::Applied(next) => Some(next),
        Step::Contradicts(_) | Step::Late => None,
    };
    let may_be_given_up = !before.state.is_final() || before.state == State::Healthy;
    let anew = || on(&before.withdrawn(at)).filter(|_| evidence.applied && may_be_given_up);
    let was_set_aside = |next: &Deployment| !evidence.applied && next.is_in_flight();
    let next = on(before).or_else(anew).filter(|next| !was_set_aside(next));
    next.unwrap_or(*before)
}

/// Returns how far a device is, given what it said and what the server stored: offers, and how the server
/// thinks that it ended.
fn settled(said: &Deployment, stored: &Deployment) -> State {
    let is_under_way = !said.state.is_final();
    let may_be_taken_back = is_under_way && !said.is_past_recall();
    // How often it was tried, which is how often it was offered, only the server knows.
    let may_be_last = said.state == State::Waiting && !said.code.is_none();
    let is_known = match stored.state {
        State::Waiting | State::Offered => may_be_taken_back,
        State::Failed => may_be_last,
        State::Skipped => stored.is_guess() && may_be_taken_back,
        State::TimedOut => is_under_way || said.state == State::Healthy,
        State::Downloading
        | State::Verified
        | State::Activated
        | State::Booted
        | State::Confirmed
        | State::Healthy
        | State::RolledBack => false,
    };
    if is_known { stored.state } else { said.state }
}

fn genuine(evidence: &Evidence, spki: &[u8]) -> Option<Report> {
    let envelope = Envelope::parse(&evidence.envelope).ok()?;
    let of_device = envelope.header.device_id == evidence.device;
    if !of_device || !ingest::verify(spki, Kind::Report, &envelope) {
        return None;
    }
    Report::decode(envelope.payload).ok()
}

#[cfg(test)]
pub(crate) fn known(phases: &[Counts]) -> Counts {
    let mut total = Counts::sum(phases);
    let waiting = total.of(State::Waiting);
    (0..waiting).for_each(|_| total.remove(State::Waiting));
    total
}
