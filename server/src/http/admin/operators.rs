//! `/api/v1/operators`: who may do everything, and with which token.
//!
//! Not here: what a token is worth ([`super::auth`]).

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
use super::input::{Author, Body};
use super::output::time;
use crate::app::App;
use crate::domain::audit::Action;
use crate::http::{Path, Problem};
use crate::store::operators;

/// Longest time that two tokens of an operator are good: enough to bring the new one everywhere.
const OVERLAP_MAX: Duration = Duration::from_hours(7 * 24);

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
        let detail = "There is no such operator. The first one is called admin.";
        return Err(Problem::not_found("unknown_operator", detail));
    }
    let token = new_token(app.random.as_ref());
    let until_ms = at.saturating_add(overlap_s.saturating_mul(1000));
    let db = change.connection();
    operators::replace(db, &operator, &token_sha256(&token), until_ms).await?;
    let subject = format!("operator/{operator}");
    let detail = json!({ "overlap_s": overlap_s });
    change::record(&mut change, &author, at, (Action::AdminTokenReplaced, subject, detail)).await?;
    drop(change.commit().await?);
    let previous_ends_at = time(until_ms);
    Ok((StatusCode::CREATED, Json(Replaced { operator, token, previous_ends_at })))
}
