//! `/api/v1/alert-silences`: of what nobody is told for a while.
//!
//! Not here: what a silence does ([`crate::domain::alert::silence`]).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::app::App;
use crate::domain::alert::silence::{SILENCE_S_MAX, SILENCES_MAX, SUBJECT_BYTES_MAX};
use crate::domain::alert::{RuleName, Silence};
use crate::domain::audit::Action;
use crate::http::admin::change;
use crate::http::admin::input::{Author, Body};
use crate::http::admin::output::{Page, time};
use crate::http::{Path, Problem};
use crate::random;
use crate::store::silences;

/// Of what nobody is told for a while. The header `Waxwing-Reason` says why, and must be there.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::admin) struct NewSilence {
    /// Alerts of this rule, and of those of products; of every one, if it is left out.
    #[schema(example = "device_lost")]
    rule: Option<String>,
    /// Alerts about this; about anything, if it is left out.
    #[schema(example = "product/th1")]
    subject: Option<String>,
    /// For how many seconds, 30 days at most.
    #[schema(minimum = 1, maximum = 2_592_000)]
    for_s: u32,
}

/// Of what nobody is told for a while.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Silence)]
pub(in crate::http::admin) struct SilenceView {
    /// Its name.
    id: String,
    /// Alerts of this rule; of every one, if there is none.
    rule: Option<String>,
    /// Alerts about this; about anything, if there is none.
    subject: Option<String>,
    /// Until when, as RFC 3339.
    until: String,
    /// Who wants it.
    created_by: String,
    /// Since when, as RFC 3339.
    created_at: String,
    /// Why.
    reason: String,
}

impl From<&Silence> for SilenceView {
    fn from(silence: &Silence) -> Self {
        Self {
            id: silence.id.clone(),
            rule: silence.rule.as_ref().map(ToString::to_string),
            subject: silence.subject.clone(),
            until: time(silence.until),
            created_by: silence.created_by.clone(),
            created_at: time(silence.created_at),
            reason: silence.reason.clone(),
        }
    }
}

/// Returns the silences that are not over.
#[utoipa::path(get, path = "/api/v1/alert-silences", operation_id = "list_alert_silences", tag = "alerts",
    responses((status = 200, body = Page<SilenceView>)))]
pub(in crate::http::admin) async fn list(
    State(app): State<Arc<App>>,
) -> Result<Json<Page<SilenceView>>, Problem> {
    let now_ms = app.director.steady_ms();
    let all = silences::in_force(&mut *app.store.reader().await?, now_ms).await?;
    let views = all.iter().map(SilenceView::from).collect();
    Ok(Json(Page::of(views, u32::MAX, |view: &SilenceView| view.id.clone())))
}

/// Has nobody told of some alerts for a while. They fire and are shown all the same.
#[utoipa::path(post, path = "/api/v1/alert-silences", operation_id = "create_alert_silence", tag = "alerts", request_body = NewSilence,
    responses((status = 201, body = SilenceView), (status = 400, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(in crate::http::admin) async fn create(
    State(app): State<Arc<App>>,
    author: Author,
    Body(new): Body<NewSilence>,
) -> Result<(StatusCode, Json<SilenceView>), Problem> {
    let rule = check(&new, &author)?;
    let (mut change, at) = change::begin(&app).await?;
    if silences::in_force(change.connection(), at).await?.len() >= SILENCES_MAX {
        let detail = format!("There are {SILENCES_MAX} silences. Remove one first.");
        return Err(Problem::conflict("too_many_silences", detail));
    }
    let number = u64::from_be_bytes(random::bytes(app.random.as_ref()));
    let silence = Silence {
        id: format!("si-{number:016x}"),
        rule,
        subject: new.subject,
        until: at.saturating_add(u64::from(new.for_s) * 1000),
        created_by: author.actor.clone(),
        created_at: at,
        reason: author.reason.clone(),
    };
    silences::add(change.connection(), &silence).await?;
    let view = SilenceView::from(&silence);
    let detail = json!({ "rule": view.rule, "subject": view.subject, "until": view.until });
    let line = (Action::AlertsSilenced, subject(&silence), detail);
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    Ok((StatusCode::CREATED, Json(view)))
}

/// Ends a silence. What still fires is told.
#[utoipa::path(delete, path = "/api/v1/alert-silences/{silence}", operation_id = "remove_alert_silence", tag = "alerts",
    params(("silence" = String, Path)),
    responses((status = 200, body = SilenceView), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn remove(
    State(app): State<Arc<App>>,
    Path(silence): Path<String>,
    author: Author,
) -> Result<Json<SilenceView>, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let all = silences::in_force(change.connection(), at).await?;
    let silence = all.into_iter().find(|known| known.id == silence).ok_or_else(unknown)?;
    silences::remove(change.connection(), &silence.id).await?;
    let line = (Action::AlertSilenceEnded, subject(&silence), json!({}));
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    Ok(Json(SilenceView::from(&silence)))
}

fn check(new: &NewSilence, author: &Author) -> Result<Option<RuleName>, Problem> {
    let refused = |field, detail: &str| {
        Err(Problem::refused("invalid_silence", detail.to_owned()).field(field))
    };
    if author.reason.trim().is_empty() {
        return refused("Waxwing-Reason", "Say why nobody should be told.");
    }
    if new.rule.is_none() && new.subject.is_none() {
        return refused(
            "rule",
            "Name a rule, a subject, or both: nobody is silent about everything.",
        );
    }
    if !(1..=SILENCE_S_MAX).contains(&new.for_s) {
        return refused("for_s", &format!("1 to {SILENCE_S_MAX} seconds."));
    }
    let subject = new.subject.as_deref().unwrap_or("-");
    let is_short = (1..=SUBJECT_BYTES_MAX).contains(&subject.len());
    if !is_short || subject.chars().any(char::is_control) {
        let detail = format!("1 to {SUBJECT_BYTES_MAX} bytes, without control characters.");
        return refused("subject", &detail);
    }
    let Some(rule) = &new.rule else { return Ok(None) };
    rule.parse().map(Some).or_else(|_| {
        refused("rule", "There is no such rule. `GET /api/v1/alert-rules` lists them.")
    })
}

fn subject(silence: &Silence) -> String {
    format!("alert-silence/{}", silence.id)
}

fn unknown() -> Problem {
    let detail =
        "There is no such silence, or it is over. `GET /api/v1/alert-silences` lists them.";
    Problem::not_found("unknown_silence", detail)
}
