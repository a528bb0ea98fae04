//! `/api/v1/audit`: who changed what, when and why.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::input::{PageQuery, Query};
use super::output::{Page, time};
use crate::app::App;
use crate::domain::audit::{Action, Entry};
use crate::http::Problem;
use crate::store;

/// A line of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditLine)]
pub(super) struct Line {
    /// Number of the line.
    id: i64,
    /// When, as RFC 3339.
    at: String,
    /// Who: `admin:<name of the token>`, `device:<id>`, or `waxwing` itself.
    #[schema(example = "admin:first")]
    actor: String,
    /// What was done.
    action: Action,
    /// To what.
    #[schema(example = "rollout/r-1")]
    subject: String,
    /// Why, as the one who did it said; may be empty.
    reason: String,
    /// What else there is to know.
    #[schema(value_type = Object)]
    detail: serde_json::Value,
}

/// Returns the audit log, oldest first.
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "list_audit", tag = "audit", params(PageQuery),
    responses((status = 200, body = Page<Line>), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Line>>, Problem> {
    let limit = page.limit()?;
    let after = match page.after() {
        "" => 0,
        number => number.parse().map_err(|_| bad_cursor())?,
    };
    let lines = store::audit::page(&app.store, after, limit + 1).await?;
    let lines = lines.into_iter().map(line).collect();
    Ok(Json(Page::of(lines, limit, |line: &Line| line.id.to_string())))
}

fn line((id, entry): (i64, Entry)) -> Line {
    let Entry { at, actor, action, subject, reason, detail } = entry;
    Line { id, at: time(at), actor, action, subject, reason, detail }
}

pub(super) fn bad_cursor() -> Problem {
    Problem::bad_request("invalid_query", "`after` is the `next` of an earlier page.")
        .field("after")
}
