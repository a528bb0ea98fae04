//! How rollouts are shown.

use std::collections::BTreeMap;

use semver::Version;
use serde::Serialize;
use utoipa::ToSchema;
use waxwing_wire::report::State;
use waxwing_wire::{Channel, DeviceId, GroupId, ProductId, RolloutId};

use crate::domain::rollout::bounds::Outcomes;
use crate::domain::rollout::health::{Comparison, HealthRule};
use crate::domain::rollout::{
    Counts, Evidence, Phase, PhasePlan, Plan, Size, State as RolloutState,
};
use crate::domain::{Deployment, Rollout};
use crate::fleet::Fleet;
use crate::http::admin::output::time;
use crate::recount::Recount;

/// Devices by deployment state, every state named.
type CountsView = BTreeMap<&'static str, u64>;

/// A rollout.
#[derive(Serialize, ToSchema)]
#[schema(as = Rollout)]
pub(in crate::http::admin) struct RolloutView {
    /// Its name.
    #[schema(value_type = String)]
    pub(super) id: RolloutId,
    /// Whose devices.
    #[schema(value_type = String)]
    product: ProductId,
    /// The channel of the release.
    #[schema(value_type = String)]
    channel: Channel,
    /// The version of the release.
    #[schema(value_type = String)]
    version: Version,
    /// For whom.
    #[schema(value_type = String)]
    group: GroupId,
    /// Where it stands.
    state: RolloutState,
    /// Why it was halted.
    reason: Option<String>,
    /// Its phases.
    phases: Vec<PhaseView>,
    /// The phase started last, from 0.
    phase: usize,
    /// Whether only somebody's approval is missing before the next phase starts.
    awaits_approval: bool,
    /// How many devices may be in flight now.
    allowance: u64,
    /// What is to happen.
    plan: Plan,
    /// Devices of the started phases by deployment state.
    #[schema(value_type = Object)]
    counts: CountsView,
    /// Devices of the started phases.
    members: u64,
    /// How many of those that went back may have had no contact for another reason than the release.
    unreachable: UnreachableView,
    /// What telemetry says of devices with the image and without it, by each rule of the plan.
    health: Vec<HealthView>,
    /// For how many seconds longer than planned it waits for devices that do not poll.
    extended_s: u32,
    /// When it was drafted, as RFC 3339.
    created_at: String,
    /// When it was started, as RFC 3339.
    started_at: Option<String>,
    /// When it came to an end, as RFC 3339.
    finished_at: Option<String>,
}

/// Devices that went back because they could not reach the server.
#[derive(Serialize, ToSchema)]
#[schema(as = Unreachable)]
pub(in crate::http::admin) struct UnreachableView {
    /// Those of which it cannot be told yet: the others may not be back.
    doubtful: u64,
    /// Those that are no evidence: as large a share of the devices without the image had no contact.
    excused: u64,
}

/// What telemetry says by one rule.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(in crate::http::admin) struct HealthView {
    /// The field of the telemetry.
    metric: String,
    /// Devices with the image.
    with: SideView,
    /// Devices that have not switched.
    without: SideView,
}

/// Devices that were watched for a soak.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthSide)]
pub(in crate::http::admin) struct SideView {
    /// Those that ailed.
    ailing: u64,
    /// Those that did not.
    well: u64,
}

/// A phase.
#[derive(Serialize, ToSchema)]
#[schema(as = Phase)]
pub(in crate::http::admin) struct PhaseView {
    /// Whom it reaches.
    #[schema(value_type = Object)]
    size: Size,
    /// When it was started, as RFC 3339.
    started_at: Option<String>,
    /// Who agreed to go on after it.
    approved_by: Option<String>,
    /// How many devices it added; `null` before it starts.
    members: Option<u64>,
}

/// A device's part in the rollout.
#[derive(Serialize, ToSchema)]
#[schema(as = Deployment)]
pub(in crate::http::admin) struct DeploymentItem {
    /// The device.
    #[schema(value_type = String)]
    pub(super) device: DeviceId,
    /// How far it is.
    #[schema(value_type = String)]
    state: State,
    /// Why it ended badly, if it did.
    code: u16,
    /// The name of the code.
    code_name: &'static str,
    /// Which try it was.
    attempt: u32,
    /// How often it was offered the release, without those times that its user put off.
    tries: u32,
    /// How often its user put the release off.
    deferred: u8,
    /// Before when it is not offered again, as RFC 3339.
    not_before: Option<String>,
    /// When the server learned so, as RFC 3339.
    changed_at: String,
}

/// The counters beside a recount from the evidence.
#[derive(Serialize, ToSchema)]
#[schema(as = Recount)]
pub(in crate::http::admin) struct RecountView {
    /// Whether both are equal and all evidence verifies.
    equal: bool,
    /// Devices by deployment state, as counted.
    #[schema(value_type = Object)]
    counts: CountsView,
    /// Devices by deployment state, as recounted.
    #[schema(value_type = Object)]
    recounted: CountsView,
    /// How many reports were read.
    reports: u64,
    /// How many of them do not verify any more.
    invalid: u64,
}

impl RolloutView {
    pub(super) fn new(fleet: &Fleet, rollout: &Rollout) -> Self {
        let evidence = fleet.evidence(&rollout.id);
        let total = Evidence::sum(&evidence);
        Self {
            id: rollout.id.clone(),
            product: rollout.product.clone(),
            channel: rollout.channel.clone(),
            version: rollout.version.clone(),
            group: rollout.group.clone(),
            state: rollout.state,
            reason: rollout.reason.clone(),
            phases: phases(rollout, &evidence),
            phase: rollout.current_phase().unwrap_or(0),
            awaits_approval: rollout.awaits_approval(&evidence),
            allowance: rollout.plan.allowance(&total),
            plan: rollout.plan.clone(),
            counts: counts_view(&total.counts),
            members: total.counts.total(),
            unreachable: UnreachableView {
                doubtful: total.unreachable.doubtful,
                excused: total.unreachable.excused,
            },
            health: health(&rollout.plan, &fleet.health(&rollout.id)),
            extended_s: rollout.extended_s,
            created_at: time(rollout.created_at),
            started_at: rollout.started_at.map(time),
            finished_at: rollout.finished_at.map(time),
        }
    }
}

fn health(plan: &Plan, seen: &[Comparison]) -> Vec<HealthView> {
    let side = |outcomes: Outcomes| SideView { ailing: outcomes.broken, well: outcomes.well };
    let view = |(rule, seen): (&HealthRule, &Comparison)| HealthView {
        metric: rule.metric.clone(),
        with: side(seen.with),
        without: side(seen.without),
    };
    plan.health.iter().zip(seen).map(view).collect()
}

fn phases(rollout: &Rollout, evidence: &[Evidence]) -> Vec<PhaseView> {
    let mut evidence = evidence.iter();
    let view = |(phase, plan): (&Phase, &PhasePlan)| PhaseView {
        size: plan.size.clone(),
        started_at: phase.started.map(|started| time(started.at)),
        approved_by: phase.approved.as_ref().map(|approval| approval.by.clone()),
        members: phase.started.and_then(|_| evidence.next()).map(|it| it.counts.total()),
    };
    rollout.phases.iter().zip(&rollout.plan.phases).map(view).collect()
}

fn counts_view(counts: &Counts) -> CountsView {
    counts.iter().map(|(state, devices)| (state.as_str(), devices)).collect()
}

impl From<(DeviceId, Deployment)> for DeploymentItem {
    fn from((device, deployment): (DeviceId, Deployment)) -> Self {
        Self {
            device,
            state: deployment.state,
            code: deployment.code.0,
            code_name: deployment.code.name(),
            attempt: deployment.attempt,
            tries: deployment.tries,
            deferred: deployment.deferred,
            not_before: Some(deployment.not_before).filter(|at| *at > 0).map(time),
            changed_at: time(deployment.changed_at),
        }
    }
}

impl From<&Recount> for RecountView {
    fn from(recount: &Recount) -> Self {
        let counts = recount.counted;
        // Devices that nothing is known of left no evidence; as many are waiting.
        let mut recounted = recount.counts;
        recounted.add_many(State::Waiting, counts.total().saturating_sub(recounted.total()));
        Self {
            equal: counts == recounted && recount.invalid == 0,
            counts: counts_view(&counts),
            recounted: counts_view(&recounted),
            reports: recount.reports,
            invalid: recount.invalid,
        }
    }
}
