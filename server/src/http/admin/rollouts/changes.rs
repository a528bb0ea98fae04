//! Start, pause, resume and cancel.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::json;

use super::{RolloutView, find, subject};
use crate::app::App;
use crate::domain::Rollout;
use crate::domain::audit::Action;
use crate::domain::rollout::{Change, IllegalChange};
use crate::http::admin::change;
use crate::http::admin::input::Author;
use crate::http::{Path, Problem};
use crate::store;

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
    apply(&app, &rollout, &author, Change::Start).await
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
    apply(&app, &rollout, &author, Change::Pause).await
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
    apply(&app, &rollout, &author, Change::Resume).await
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
    apply(&app, &rollout, &author, Change::Cancel).await
}

async fn apply(
    app: &App,
    rollout: &str,
    author: &Author,
    change: Change,
) -> Result<Json<RolloutView>, Problem> {
    let (mut transaction, at) = change::begin(app).await?;
    let mut rollout = Rollout::clone(&*find(app, rollout)?);
    match change {
        Change::Start => start_now(app, &mut rollout, at)?,
        Change::Cancel | Change::Pause | Change::Resume => {
            rollout.change(change, at).map_err(illegal)?;
        }
    }
    store::rollouts::update(transaction.connection(), &rollout).await?;
    let line = (action(change), subject(&rollout), json!({}));
    change::record(&mut transaction, author, at, line).await?;
    let turn = transaction.commit().await?;
    app.fleet.put_rollout(rollout.clone());
    drop(turn);
    Ok(Json(RolloutView::new(&app.fleet, &rollout)))
}

fn start_now(app: &App, rollout: &mut Rollout, at: u64) -> Result<(), Problem> {
    let members = app.fleet.members_of(&rollout.group);
    let listed = app.fleet.release_of(&rollout.id).is_some_and(|release| release.listed);
    rollout.start(members.iter(), at).map_err(illegal)?;
    if members.is_empty() {
        let detail = "The group has no devices. Add some, then start the rollout.";
        return Err(Problem::conflict("group_empty", detail).field("group"));
    }
    if !listed {
        let detail = "The release is not listed any more: devices would refuse it.";
        return Err(Problem::conflict("release_not_listed", detail).field("version"));
    }
    Ok(())
}

const fn action(change: Change) -> Action {
    match change {
        Change::Cancel => Action::RolloutCancelled,
        Change::Pause => Action::RolloutPaused,
        Change::Resume => Action::RolloutResumed,
        Change::Start => Action::RolloutStarted,
    }
}

fn illegal(error: IllegalChange) -> Problem {
    let detail = format!("{error}. `GET /api/v1/rollouts/<id>` shows its state.");
    Problem::conflict("illegal_state_change", detail)
}
