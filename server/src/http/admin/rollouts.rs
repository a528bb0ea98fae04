//! `/api/v1/rollouts`: bringing a release to a group.

mod changes;
mod checks;
mod rehearsal;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use semver::Version;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use waxwing_wire::{Channel, GroupId, ProductId, RolloutId};

pub(super) use self::changes::*;
use self::checks::{Unfit, check};
pub(super) use self::rehearsal::*;
pub(super) use self::view::{DeploymentItem, RecountView, RolloutView};
use super::change;
use super::input::{Author, Body, PageQuery, Query, name};
use super::output::Page;
use crate::app::App;
use crate::domain::Rollout;
use crate::domain::audit::Action;
use crate::domain::rollout::{Phase, Plan, State as RolloutState};
use crate::http::{Path, Problem};
use crate::random;
use crate::store;

/// A rollout to draft.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRollout {
    /// Its name; made up if there is none.
    #[schema(value_type = Option<String>)]
    id: Option<RolloutId>,
    /// Whose devices.
    #[schema(value_type = String)]
    product: ProductId,
    /// The channel of the release.
    #[schema(value_type = String, example = "stable")]
    channel: Channel,
    /// The version of the release.
    #[schema(value_type = String, example = "1.4.2")]
    version: Version,
    /// For whom.
    #[schema(value_type = String)]
    group: GroupId,
    /// What is to happen: phases, gates, and how much may go wrong.
    #[serde(default)]
    plan: Plan,
}

/// Returns all rollouts, by name.
#[utoipa::path(get, path = "/api/v1/rollouts", operation_id = "list_rollouts", tag = "rollouts", params(PageQuery),
    responses((status = 200, body = Page<RolloutView>), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<RolloutView>>, Problem> {
    let limit = page.limit()?;
    let rollouts = app.fleet.rollouts(page.after(), limit + 1);
    let views = rollouts.iter().map(|rollout| RolloutView::new(&app.fleet, rollout)).collect();
    Ok(Json(Page::of(views, limit, |view: &RolloutView| view.id.to_string())))
}

/// Returns a rollout with its counts.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}", operation_id = "show_rollout", tag = "rollouts",
    params(("rollout" = String, Path)),
    responses((status = 200, body = RolloutView), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(rollout): Path<String>,
) -> Result<Json<RolloutView>, Problem> {
    Ok(Json(RolloutView::new(&app.fleet, &*find(&app, &rollout)?)))
}

/// Returns the deployments of a rollout, by device. Devices that nothing is known of have none.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}/deployments", operation_id = "list_deployments", tag = "rollouts",
    params(("rollout" = String, Path), PageQuery),
    responses((status = 200, body = Page<DeploymentItem>), (status = 404, body = Problem)))]
pub(super) async fn deployments(
    State(app): State<Arc<App>>,
    Path(rollout): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<DeploymentItem>>, Problem> {
    let limit = page.limit()?;
    let rollout = find(&app, &rollout)?;
    let found = store::deployments::page(&app.store, &rollout.id, page.after(), limit + 1).await?;
    let items = found.into_iter().map(DeploymentItem::from).collect();
    Ok(Json(Page::of(items, limit, |item: &DeploymentItem| item.device.to_string())))
}

/// Counts a rollout again from the reports that devices signed, and compares.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}/recount", operation_id = "recount_rollout", tag = "rollouts",
    params(("rollout" = String, Path)),
    responses((status = 200, body = RecountView), (status = 404, body = Problem)))]
pub(super) async fn recount(
    State(app): State<Arc<App>>,
    Path(rollout): Path<String>,
) -> Result<Json<RecountView>, Problem> {
    let rollout = find(&app, &rollout)?;
    let recount = crate::recount::recount(&app.store, &app.fleet, &rollout.id).await?;
    recount.map(|recount| Json(RecountView::from(&recount))).ok_or_else(unknown)
}

/// Drafts a rollout. Nothing happens until it is started.
#[utoipa::path(post, path = "/api/v1/rollouts", operation_id = "create_rollout", tag = "rollouts", request_body = NewRollout,
    responses((status = 201, body = RolloutView), (status = 400, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    author: Author,
    Body(new): Body<NewRollout>,
) -> Result<(StatusCode, Json<RolloutView>), Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let rollout = rollout(&app, new, &author, at)?;
    check(&app, &rollout, at).map_err(Unfit::refused)?;
    if app.fleet.rollout(&rollout.id).is_some() {
        let detail = format!("There is a rollout {} already. Choose another id.", rollout.id);
        return Err(Problem::conflict("rollout_exists", detail).field("id"));
    }
    store::rollouts::add(change.connection(), &rollout).await?;
    let detail = json!({ "version": rollout.version, "group": rollout.group });
    let line = (Action::RolloutCreated, subject(&rollout), detail);
    change::record(&mut change, &author, at, line).await?;
    let turn = change.commit().await?;
    app.fleet.put_rollout(rollout.clone());
    drop(turn);
    Ok((StatusCode::CREATED, Json(RolloutView::new(&app.fleet, &rollout))))
}

/// Returns a rollout by its name in a path.
fn find(app: &App, rollout: &str) -> Result<Arc<Rollout>, Problem> {
    app.fleet.rollout(&name(rollout, unknown)?).ok_or_else(unknown)
}

fn unknown() -> Problem {
    let detail = "There is no such rollout. `GET /api/v1/rollouts` lists them.";
    Problem::not_found("unknown_rollout", detail)
}

fn subject(rollout: &Rollout) -> String {
    format!("rollout/{}", rollout.id)
}

fn rollout(app: &App, new: NewRollout, author: &Author, at: u64) -> Result<Rollout, Problem> {
    let seed = random::bytes(app.random.as_ref());
    Ok(Rollout {
        id: new.id.map_or_else(|| made_up(app), Ok)?,
        product: new.product,
        channel: new.channel,
        version: new.version,
        group: new.group,
        phases: vec![Phase::default(); new.plan.phases.len()],
        plan: new.plan,
        seed,
        state: RolloutState::Draft,
        reason: None,
        created_by: author.actor.clone(),
        created_at: at,
        started_at: None,
        finished_at: None,
        changed_at: at,
        extended_s: 0,
        generation: 0,
    })
}

/// Makes up a name.
fn made_up(app: &App) -> Result<RolloutId, Problem> {
    let number = u64::from_be_bytes(random::bytes(app.random.as_ref()));
    RolloutId::parse(&format!("r-{number:016x}")).map_err(|error| Problem::internal(&error))
}
