//! `/api/v1/operators`: who may do everything, and with which token.
//!
//! Not here: what a token is worth ([`super::auth`]).

pub(super) mod certificates;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::auth::{new_token, token_sha256};
use super::change;
use super::input::{Author, Body, PageQuery, Query};
use super::output::{Page, time};
use crate::app::App;
use crate::domain::audit::Action;
use crate::http::{Path, Problem};
use crate::store::{operator_certificates, operators};

/// Longest time that two tokens of an operator are good: enough to bring the new one everywhere.
const OVERLAP_MAX: Duration = Duration::from_hours(7 * 24);

/// Most operators: each request is compared with the tokens of all of them.
const OPERATORS_MAX: usize = 100;

/// Longest name in bytes: one that fits into a line of the audit log.
const NAME_BYTES_MAX: usize = 64;

/// An operator to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOperator {
    /// How the audit log calls them: 1 to 64 letters, digits and `.`, `_`, `-`.
    #[schema(example = "ada")]
    name: String,
}

/// Somebody who may do everything.
#[derive(Serialize, ToSchema)]
#[schema(as = Operator)]
pub(super) struct OperatorView {
    /// How the audit log calls them.
    name: String,
    /// When they were added, as RFC 3339.
    created_at: String,
}

/// An operator who was added. The token is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = NewOperatorToken)]
pub(super) struct Added {
    /// Whose it is.
    operator: String,
    /// The Bearer token.
    token: String,
}

/// How a token is replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// Seconds for which the token before stays good; 0 if somebody else may know it.
    #[schema(example = 600, maximum = 604_800)]
    overlap_s: u64,
}

/// An admin token. It is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminToken)]
pub(super) struct Replaced {
    /// Whose it is.
    operator: String,
    /// The Bearer token.
    token: String,
    /// When the one before ends, as RFC 3339.
    previous_ends_at: String,
}

/// Returns all operators, by name.
#[utoipa::path(get, path = "/api/v1/operators", operation_id = "list_operators", tag = "operators", params(PageQuery),
    responses((status = 200, body = Page<OperatorView>), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<OperatorView>>, Problem> {
    let limit = page.limit()?;
    let all = operators::all(&app.store).await?.into_iter();
    let views = all.filter(|known| known.name.as_str() > page.after()).map(OperatorView::from);
    Ok(Json(Page::of(views.collect(), limit, |view: &OperatorView| view.name.clone())))
}

/// Adds an operator, who may do everything, and so approve what others planned.
#[utoipa::path(post, path = "/api/v1/operators", operation_id = "add_operator", tag = "operators", request_body = NewOperator,
    responses((status = 201, body = Added), (status = 400, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn add(
    State(app): State<Arc<App>>,
    author: Author,
    Body(NewOperator { name }): Body<NewOperator>,
) -> Result<(StatusCode, Json<Added>), Problem> {
    check_name(&name)?;
    let (mut change, at) = change::begin(&app).await?;
    let all = operators::all(&app.store).await?;
    if all.iter().any(|known| known.name == name) {
        let detail = format!("There is an operator {name} already. Choose another name.");
        return Err(Problem::conflict("operator_exists", detail).field("name"));
    }
    if all.len() >= OPERATORS_MAX {
        let detail = format!("There are {OPERATORS_MAX} operators. Remove one first.");
        return Err(Problem::conflict("too_many_operators", detail));
    }
    let token = new_token(app.random.as_ref());
    operators::add(change.connection(), &name, &token_sha256(&token), at).await?;
    let line = (Action::AdminTokenCreated, subject(&name), json!({}));
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    Ok((StatusCode::CREATED, Json(Added { operator: name, token })))
}

/// Removes an operator: their token and certificates are good no more, and what listens with them ends.
#[utoipa::path(delete, path = "/api/v1/operators/{operator}", operation_id = "remove_operator", tag = "operators",
    params(("operator" = String, Path)),
    responses((status = 200, body = OperatorView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path(operator): Path<String>,
    author: Author,
) -> Result<Json<OperatorView>, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let all = operators::all(&app.store).await?;
    let is_last = all.len() == 1;
    let known = all.into_iter().find(|known| known.name == operator).ok_or_else(unknown)?;
    if is_last {
        let detail = "Nobody would be left to do anything. Add another operator first.";
        return Err(Problem::conflict("last_operator", detail));
    }
    operators::remove(change.connection(), &known.name).await?;
    operator_certificates::remove_all(change.connection(), &known.name).await?;
    let line = (Action::OperatorRemoved, subject(&known.name), json!({}));
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    app.hub.disconnect_operator(&known.name);
    Ok(Json(OperatorView::from(known)))
}

/// Replaces the token of an operator. The one before ends at once, or after an overlap.
#[utoipa::path(post, path = "/api/v1/operators/{operator}/token", operation_id = "replace_operator_token", tag = "operators",
    params(("operator" = String, Path)), request_body = NewToken,
    responses((status = 201, body = Replaced), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn replace_token(
    State(app): State<Arc<App>>,
    Path(operator): Path<String>,
    author: Author,
    Body(NewToken { overlap_s }): Body<NewToken>,
) -> Result<(StatusCode, Json<Replaced>), Problem> {
    if overlap_s > OVERLAP_MAX.as_secs() {
        let detail = format!("Two tokens overlap for {} seconds at most.", OVERLAP_MAX.as_secs());
        return Err(Problem::refused("overlap_too_long", detail).field("overlap_s"));
    }
    let (mut change, at) = change::begin(&app).await?;
    if !operators::all(&app.store).await?.iter().any(|known| known.name == operator) {
        return Err(unknown());
    }
    let token = new_token(app.random.as_ref());
    let until_ms = at.saturating_add(overlap_s.saturating_mul(1000));
    let db = change.connection();
    operators::replace(db, &operator, &token_sha256(&token), until_ms).await?;
    let line = (Action::AdminTokenReplaced, subject(&operator), json!({ "overlap_s": overlap_s }));
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    let previous_ends_at = time(until_ms);
    Ok((StatusCode::CREATED, Json(Replaced { operator, token, previous_ends_at })))
}

impl From<operators::Operator> for OperatorView {
    fn from(known: operators::Operator) -> Self {
        Self { name: known.name, created_at: time(known.created_at) }
    }
}

/// A name stands in paths and in the audit log.
fn check_name(name: &str) -> Result<(), Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_plain) {
        return Ok(());
    }
    let detail = format!(
        "1 to {NAME_BYTES_MAX} letters, digits and `.`, `_`, `-`, the first one a letter or digit."
    );
    Err(Problem::refused("invalid_operator", detail).field("name"))
}

fn subject(operator: &str) -> String {
    format!("operator/{operator}")
}

fn unknown() -> Problem {
    let detail = "There is no such operator. `GET /api/v1/operators` lists them.";
    Problem::not_found("unknown_operator", detail)
}
