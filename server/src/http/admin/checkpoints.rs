//! `/api/v1/audit/...`: what somebody needs who checks the audit log without trusting this server.
//!
//! Rows are shown as they are stored, damaged or not. Not here: the log for people
//! ([`super::audit`]).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use waxwing_audit::{Link, Row};

use super::audit::bad_cursor;
use super::input::{PageQuery, Query};
use super::output::Page;
use crate::app::App;
use crate::http::Problem;
use crate::jobs::sign_audit::{Error, sign_audit};
use crate::store;
use crate::store::audit::Stored;

/// A row of the audit log with its hash, exactly as stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditRow {
    /// Number of the row.
    id: i64,
    /// When, in Unix milliseconds.
    at: i64,
    /// Who.
    actor: String,
    /// What was done.
    action: String,
    /// To what.
    subject: String,
    /// Why.
    reason: String,
    /// The detail, as the JSON text that was stored.
    detail: String,
    /// SHA-256 over the hash of the row before and this row, in hexadecimal.
    hash: Option<String>,
}

/// A signed statement about the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Checkpoint {
    /// Its number.
    id: i64,
    /// The statement and its signature: a C2SP signed note.
    note: String,
}

impl From<Link> for AuditRow {
    fn from(Link { row, hash }: Link) -> Self {
        let Row { id, at, actor, action, subject, reason, detail } = row;
        let hash = hash.map(|hash| hash.to_string());
        Self { id, at, actor, action, subject, reason, detail, hash }
    }
}

impl From<Stored> for Checkpoint {
    fn from(Stored { id, note }: Stored) -> Self {
        Self { id, note }
    }
}

/// Returns the audit log with its hashes, from the first row on.
#[utoipa::path(get, path = "/api/v1/audit/rows", operation_id = "list_audit_rows", tag = "audit", params(PageQuery),
    responses((status = 200, body = Page<AuditRow>), (status = 400, body = Problem)))]
pub(super) async fn rows(
    State(app): State<Arc<App>>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<AuditRow>>, Problem> {
    let limit = page.limit()?;
    let after = match page.after() {
        "" => None,
        number => Some(number.parse().map_err(|_| bad_cursor())?),
    };
    let mut reader = app.store.reader().await?;
    let links = store::audit::links(&mut reader, after, limit + 1).await?;
    let rows = links.into_iter().map(AuditRow::from).collect();
    Ok(Json(Page::of(rows, limit, |row: &AuditRow| row.id.to_string())))
}

/// Returns every signed statement about the audit log, oldest first.
#[utoipa::path(get, path = "/api/v1/audit/checkpoints", operation_id = "list_audit_checkpoints", tag = "audit",
    params(PageQuery),
    responses((status = 200, body = Page<Checkpoint>), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Checkpoint>>, Problem> {
    let limit = page.limit()?;
    let after = match page.after() {
        "" => 0,
        number => number.parse().map_err(|_| bad_cursor())?,
    };
    let stored = store::audit::checkpoints(&app.store, after, limit + 1).await?;
    let checkpoints = stored.into_iter().map(Checkpoint::from).collect();
    Ok(Json(Page::of(checkpoints, limit, |it: &Checkpoint| it.id.to_string())))
}

/// Returns the last signed statement about the audit log.
#[utoipa::path(get, path = "/api/v1/audit/checkpoint", operation_id = "show_audit_checkpoint", tag = "audit",
    responses((status = 200, body = Checkpoint), (status = 404, body = Problem)))]
pub(super) async fn last(State(app): State<Arc<App>>) -> Result<Json<Checkpoint>, Problem> {
    let mut reader = app.store.reader().await?;
    let last = store::audit::last_checkpoint(&mut reader).await?;
    last.map(|stored| Json(stored.into())).ok_or_else(|| {
        let detail = "Nothing is signed yet. `POST /api/v1/audit/checkpoints` signs now.";
        Problem::not_found("no_checkpoint", detail)
    })
}

/// Signs how far the audit log goes now, unless the last statement says so already.
#[utoipa::path(post, path = "/api/v1/audit/checkpoints", operation_id = "sign_audit", tag = "audit",
    responses((status = 200, body = Checkpoint), (status = 503, body = Problem)))]
pub(super) async fn sign(State(app): State<Arc<App>>) -> Result<Json<Checkpoint>, Problem> {
    let stored = sign_audit(&app.store, &app.director).await.map_err(|error| match error {
        Error::Clock(error) => error.into(),
        Error::NoEnd | Error::Sign(_) => Problem::internal(&error),
        Error::Store(error) => error.into(),
    })?;
    Ok(Json(stored.into()))
}
