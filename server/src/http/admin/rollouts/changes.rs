//! Start, pause, resume and cancel.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use waxwing_wire::RolloutId;

use super::{NewRollout, RolloutView, Unfit, check, create, find, subject, unknown};
use crate::app::App;
use crate::domain::audit::Action;
use crate::domain::rollout::plan::TIMEOUT_S_MAX;
use crate::domain::rollout::{Change as Wish, IllegalChange, NoApproval};
use crate::domain::webhook::{Event, Kind};
use crate::domain::{Release, Rollout};
use crate::http::admin::change;
use crate::http::admin::input::{Author, Body};
use crate::http::{Path, Problem};
use crate::store::{self, Change};

/// Starts the first phase of a draft.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/start", operation_id = "start_rollout", tag = "rollouts",
    params(("rollout" = String, Path)),
    responses((status = 200, body = RolloutView), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(in crate::http::admin) async fn start(
    State(app): State<Arc<App>>,
    Path(rollout): Path<String>,
    author: Author,
) -> Result<Json<RolloutView>, Problem> {
    apply(&app, &rollout, &author, Wish::Start).await
}

/// Withdraws the offers of a running rollout until it is resumed.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/pause", operation_id = "pause_rollout", tag = "rollouts",
    params(("rollout" = String, Path)),
    responses((status = 200, body = RolloutView), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(in crate::http::admin) async fn pause(
    State(app): State<Arc<App>>,
    Path(rollout): Path<String>,
    author: Author,
) -> Result<Json<RolloutView>, Problem> {
    apply(&app, &rollout, &author, Wish::Pause).await
}

/// Lets a paused rollout go on.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/resume", operation_id = "resume_rollout", tag = "rollouts",
    params(("rollout" = String, Path)),
    responses((status = 200, body = RolloutView), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(in crate::http::admin) async fn resume(
    State(app): State<Arc<App>>,
    Path(rollout): Path<String>,
    author: Author,
) -> Result<Json<RolloutView>, Problem> {
    apply(&app, &rollout, &author, Wish::Resume).await
}

/// Stops a rollout for good. Devices that run the new release keep it.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/cancel", operation_id = "cancel_rollout", tag = "rollouts",
    params(("rollout" = String, Path)),
    responses((status = 200, body = RolloutView), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(in crate::http::admin) async fn cancel(
    State(app): State<Arc<App>>,
    Path(rollout): Path<String>,
    author: Author,
) -> Result<Json<RolloutView>, Problem> {
    apply(&app, &rollout, &author, Wish::Cancel).await
}

/// Agrees that a rollout goes on after its current phase, for somebody else than who drafted it.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/approve", operation_id = "approve_rollout", tag = "rollouts",
    params(("rollout" = String, Path)),
    responses((status = 200, body = RolloutView), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(in crate::http::admin) async fn approve(
    State(app): State<Arc<App>>,
    Path(rollout): Path<String>,
    author: Author,
) -> Result<Json<RolloutView>, Problem> {
    let (transaction, at) = change::begin(&app).await?;
    let mut rollout = Rollout::clone(&*find(&app, &rollout)?);
    rollout.approve(&author.actor, at).map_err(not_approved)?;
    let detail = json!({ "phase": rollout.current_phase() });
    record(&app, transaction, rollout, &author, (at, Action::RolloutApproved, detail), None).await
}

/// By how much a rollout is extended.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::admin) struct Extension {
    /// For how many seconds longer the last phase waits for devices that do not poll.
    seconds: u32,
}

/// Lets a rollout wait longer for devices that do not poll.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/extend", operation_id = "extend_rollout", tag = "rollouts",
    params(("rollout" = String, Path)), request_body = Extension,
    responses((status = 200, body = RolloutView), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn extend(
    State(app): State<Arc<App>>,
    Path(rollout): Path<String>,
    author: Author,
    Body(Extension { seconds }): Body<Extension>,
) -> Result<Json<RolloutView>, Problem> {
    if !(1..=TIMEOUT_S_MAX).contains(&seconds) {
        let detail = format!("1 to {TIMEOUT_S_MAX} seconds.");
        return Err(Problem::refused("invalid_extension", detail).field("seconds"));
    }
    let (transaction, at) = change::begin(&app).await?;
    let mut rollout = Rollout::clone(&*find(&app, &rollout)?);
    rollout.extend(seconds).map_err(illegal)?;
    let detail = json!({ "seconds": seconds, "extended_s": rollout.extended_s });
    record(&app, transaction, rollout, &author, (at, Action::RolloutExtended, detail), None).await
}

/// Drafts the way back: the release before, for the devices that switched to this one.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/way-back", operation_id = "draft_way_back", tag = "rollouts",
    params(("rollout" = String, Path)),
    responses((status = 201, body = RolloutView), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(in crate::http::admin) async fn way_back(
    State(app): State<Arc<App>>,
    Path(rollout): Path<String>,
    author: Author,
) -> Result<(StatusCode, Json<RolloutView>), Problem> {
    let rollout = find(&app, &rollout)?;
    let before = release_before(&app, &rollout)?;
    let new = NewRollout {
        id: RolloutId::parse(&format!("{}-back", rollout.id)).ok(),
        product: rollout.product.clone(),
        channel: rollout.channel.clone(),
        version: before.version.clone(),
        group: rollout.group.clone(),
        plan: rollout.plan.way_back(rollout.id.clone()),
    };
    create(State(app), author, Body(new)).await
}

/// Returns the newest listed release before that of a rollout which its devices would take: one of the
/// same security version (D2).
fn release_before(app: &App, rollout: &Rollout) -> Result<Arc<Release>, Problem> {
    let (release, _) = app.fleet.route_of(&rollout.id).ok_or_else(unknown)?;
    let floor = release.r#match.security_version;
    let all = app.fleet.releases(&rollout.product).into_iter();
    let before = all.filter(|other| {
        let same_line = other.channel == rollout.channel && other.listed;
        same_line && other.version < release.version && other.r#match.security_version >= floor
    });
    before.max_by(|one, other| one.version.cmp(&other.version)).ok_or_else(|| {
        let detail = format!(
            "No older release of the channel has security version {floor}: devices would refuse it. \
             Mend the release and bring a newer one."
        );
        Problem::conflict("no_way_back", detail)
    })
}

async fn apply(
    app: &App,
    rollout: &str,
    author: &Author,
    change: Wish,
) -> Result<Json<RolloutView>, Problem> {
    let (transaction, at) = change::begin(app).await?;
    let mut rollout = Rollout::clone(&*find(app, rollout)?);
    match change {
        Wish::Start => start_now(app, &mut rollout, at)?,
        Wish::Cancel | Wish::Extend | Wish::Pause | Wish::Resume => {
            rollout.change(change, at).map_err(illegal)?;
        }
    }
    let (action, told) = meaning(change);
    record(app, transaction, rollout, author, (at, action, json!({})), told).await
}

/// Writes what has become of a rollout, and who wanted it.
async fn record(
    app: &App,
    mut transaction: Change,
    rollout: Rollout,
    author: &Author,
    (at, action, detail): (u64, Action, Value),
    told: Option<Kind>,
) -> Result<Json<RolloutView>, Problem> {
    store::rollouts::update(transaction.connection(), &rollout).await?;
    let line = (action, subject(&rollout), detail);
    let entry = change::record(&mut transaction, author, at, line).await?;
    if let Some(kind) = told {
        let event = Event::of_rollout(kind, &rollout, &entry);
        store::webhooks::tell(transaction.connection(), &event).await?;
    }
    let turn = transaction.commit().await?;
    app.fleet.put_rollout(rollout.clone());
    drop(turn);
    Ok(Json(RolloutView::new(&app.fleet, &rollout)))
}

fn not_approved(error: NoApproval) -> Problem {
    match error {
        NoApproval::NotAsked => Problem::conflict("no_approval_asked", format!("{error}.")),
        NoApproval::SamePerson => {
            Problem::new(StatusCode::FORBIDDEN, "approval_by_author", format!("{error}."))
        }
    }
}

fn start_now(app: &App, rollout: &mut Rollout, at: u64) -> Result<(), Problem> {
    let (draft, members) = (rollout.clone(), app.fleet.meant_by(rollout));
    rollout.start(members.iter(), at).map_err(illegal)?;
    check(app, &draft, at).map_err(Unfit::not_any_more)?;
    if members.is_empty() { Err(Unfit::nobody().not_any_more()) } else { Ok(()) }
}

/// How the audit log calls a change, and what others are told of it.
const fn meaning(change: Wish) -> (Action, Option<Kind>) {
    match change {
        Wish::Cancel => (Action::RolloutCancelled, Some(Kind::Cancelled)),
        Wish::Extend => (Action::RolloutExtended, None),
        Wish::Pause => (Action::RolloutPaused, Some(Kind::Paused)),
        Wish::Resume => (Action::RolloutResumed, Some(Kind::Resumed)),
        Wish::Start => (Action::RolloutStarted, Some(Kind::Started)),
    }
}

fn illegal(error: IllegalChange) -> Problem {
    let detail = format!("{error}. `GET /api/v1/rollouts/<id>` shows its state.");
    Problem::conflict("illegal_state_change", detail)
}
