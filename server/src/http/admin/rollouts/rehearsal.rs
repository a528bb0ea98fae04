//! `POST /api/v1/rollouts/dry-run`: who would get what, and why not.
//!
//! Nothing is written. The answer comes from the functions that answer polls, with all phases started.
//! Not here: the words for a standing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use waxwing_wire::DeviceId;

use super::{NewRollout, Unfit, check, rollout, unknown};
use crate::app::App;
use crate::domain::rollout::{PhasePlan, Size};
use crate::domain::standing::Standing;
use crate::domain::{Rollout, Running};
use crate::fleet::Part;
use crate::http::Problem;
use crate::http::admin::input::{Author, Body};
use crate::http::admin::words;
use crate::store;

/// Most devices that are named for each sort.
const NAMED_MAX: usize = 20;

/// What a rollout would do.
#[derive(Serialize, ToSchema)]
pub(in crate::http::admin) struct DryRun {
    /// How many devices of the group could take part.
    members: u64,
    /// How many of them would be offered something, now or once there is a place for them.
    reached: u64,
    /// How many are let in before anything is known of the release.
    first: u64,
    /// What each phase adds.
    phases: Vec<PhaseForecast>,
    /// The devices, by what would become of them.
    sorts: Vec<Sort>,
}

/// What a phase adds.
#[derive(Serialize, ToSchema)]
pub(in crate::http::admin) struct PhaseForecast {
    /// Whom it reaches.
    #[schema(value_type = Object)]
    size: Size,
    /// How many devices it adds.
    members: u64,
    /// Whether they are too few for statistics: then every one of them must become healthy.
    small: bool,
}

/// Devices that the same would become of.
#[derive(Serialize, ToSchema)]
pub(in crate::http::admin) struct Sort {
    /// What would.
    #[schema(value_type = String)]
    standing: &'static str,
    /// What they would be offered first.
    release: Option<String>,
    /// In words.
    why: String,
    /// How many.
    devices: u64,
    /// Some of them.
    #[schema(value_type = Vec<String>)]
    named: Vec<DeviceId>,
}

/// Shows what a rollout would do. Nothing is drafted.
#[utoipa::path(post, path = "/api/v1/rollouts/dry-run", operation_id = "rehearse_rollout", tag = "rollouts", request_body = NewRollout,
    responses((status = 200, body = DryRun), (status = 400, body = Problem),
        (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn dry_run(
    State(app): State<Arc<App>>,
    author: Author,
    Body(new): Body<NewRollout>,
) -> Result<Json<DryRun>, Problem> {
    let now_ms = app.director.now_ms()?;
    let planned = rollout(&app, new, &author, now_ms)?;
    check(&app, &planned, now_ms).map_err(Unfit::refused)?;
    let seen = store::devices::running_of(&app.store, &planned.product).await?;
    // Everything is gone through: not on a thread that answers devices.
    let rehearsed = tokio::task::spawn_blocking(move || rehearse(&app, &planned, &seen, now_ms));
    let rehearsed = rehearsed.await.map_err(|error| Problem::internal(&error))?;
    // What it names was there a moment ago.
    rehearsed.map(Json).ok_or_else(unknown)
}

fn rehearse(
    app: &App,
    planned: &Rollout,
    seen: &HashMap<DeviceId, Running>,
    now_ms: u64,
) -> Option<DryRun> {
    let parts = app.fleet.rehearse(planned, |device| seen.get(device), now_ms)?;
    let sorts = sorted(&parts, seen, now_ms);
    let is_reached = |sort: &&Sort| sort.release.is_some();
    Some(DryRun {
        members: count(parts.len()),
        reached: sorts.iter().filter(is_reached).map(|sort| sort.devices).sum(),
        first: planned.plan.allowance(&crate::domain::rollout::Evidence::default()),
        phases: forecasts(planned, &parts),
        sorts,
    })
}

fn forecasts(planned: &Rollout, parts: &[Part]) -> Vec<PhaseForecast> {
    let forecast = |(number, phase): (usize, &PhasePlan)| {
        let members = count(parts.iter().filter(|part| part.phase == number).count());
        let small = phase.gate.is_small(members);
        PhaseForecast { size: phase.size.clone(), members, small }
    };
    planned.plan.phases.iter().enumerate().map(forecast).collect()
}

/// Puts devices together that the same would become of, the most first.
fn sorted(parts: &[Part], seen: &HashMap<DeviceId, Running>, now_ms: u64) -> Vec<Sort> {
    let mut sorts = BTreeMap::<_, Sort>::new();
    for part in parts {
        let (standing, release, why) = fate(part, seen.get(&part.device), now_ms);
        let sort = sorts.entry((standing, release.clone(), why.clone()));
        let new = || Sort { standing, release, why, devices: 0, named: Vec::new() };
        let sort = sort.or_insert_with(new);
        sort.devices += 1;
        if sort.named.len() < NAMED_MAX {
            sort.named.push(part.device.clone());
        }
    }
    let mut sorts: Vec<_> = sorts.into_values().collect();
    sorts.sort_by_key(|sort| std::cmp::Reverse(sort.devices));
    sorts
}

/// Returns what would become of a device: in a word, by which release, and in words.
fn fate(
    part: &Part,
    running: Option<&Running>,
    now_ms: u64,
) -> (&'static str, Option<String>, String) {
    if let Some(above) = &part.overruled_by {
        let why =
            format!("Rollout {} decides about it until it has come to an end there.", above.id);
        return ("overruled", None, why);
    }
    let floor = running.map_or(0, |running| running.security_version);
    if floor > part.release.r#match.security_version {
        let why = "It would refuse: its security version is higher than the release's.";
        return ("below_floor", None, why.to_owned());
    }
    let will = match part.standing {
        Standing::Waits | Standing::TooEarly(_) | Standing::Closed(_) => true,
        Standing::Revoked
        | Standing::NotMeant
        | Standing::PhaseToCome
        | Standing::AboveCeiling
        | Standing::Cancelled
        | Standing::Ended(_)
        | Standing::Unlisted
        | Standing::Stopped(_)
        | Standing::HasImage
        | Standing::PutOff { .. }
        | Standing::TriesAgain { .. }
        | Standing::Offered(_) => false,
    };
    let release = will.then(|| part.release.version.to_string());
    (part.standing.as_str(), release, words::of(part.standing, now_ms))
}

fn count(devices: usize) -> u64 {
    u64::try_from(devices).unwrap_or(u64::MAX)
}
