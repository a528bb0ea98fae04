//! `/api/v1/alerts`: what somebody must know.
//!
//! Not here: the rules ([`rules`]), and of what nobody is told ([`mod@silences`]).

pub(super) mod rules;
pub(super) mod silences;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::input::{AlertsQuery, Query, limit};
use super::mail;
use super::output::{Page, time};
use crate::app::App;
use crate::domain::alert::{Alert, Severity, Silence, Stage, State as Machine, silence};
use crate::http::{Path, Problem};
use crate::store::{
    self,
    alerts::{self, Filter},
};

/// Returns what is about alerts.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(rules::list))
        .routes(routes!(rules::show, rules::edit, rules::reset))
        .routes(routes!(silences::list, silences::create))
        .routes(routes!(silences::remove))
        .routes(routes!(mail::deliveries))
        .routes(routes!(mail::test))
}

/// Something that somebody must know.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub(super) struct AlertView {
    /// Its name.
    id: String,
    /// The rule.
    rule: String,
    /// What about.
    #[schema(example = "rollout/r-7")]
    subject: String,
    /// How urgent it is.
    severity: Severity,
    /// How far it is.
    state: &'static str,
    /// What is the matter, in a sentence.
    summary: String,
    /// The number that the rule last found, up to a minute ago.
    value: u64,
    /// The highest one.
    peak: u64,
    /// Some of what was counted, such as devices.
    examples: Vec<String>,
    /// When the threshold was reached, as RFC 3339.
    began_at: String,
    /// When it fired, as RFC 3339, if it did.
    fired_at: Option<String>,
    /// When it was told that it fires, as RFC 3339, if it was.
    told_at: Option<String>,
    /// When it was over, as RFC 3339, if it is.
    resolved_at: Option<String>,
    /// Until when nobody is told of it, as RFC 3339, if somebody wants that.
    silenced_until: Option<String>,
}

impl AlertView {
    fn new(alert: &Alert, silences: &[Silence], now_ms: u64) -> Self {
        let (fired_at, resolved_at) = match alert.state {
            Machine::Quiet | Machine::Pending { .. } => (None, None),
            Machine::Firing { since, .. } => (Some(since), None),
            Machine::Resolved { since, at } => (Some(since), Some(at)),
        };
        Self {
            id: alert.id.clone(),
            rule: alert.rule.to_string(),
            subject: alert.subject.clone(),
            severity: alert.severity,
            state: alert.state.as_str(),
            summary: alert.summary(),
            value: alert.value,
            peak: alert.peak,
            examples: alert.examples.clone(),
            began_at: time(alert.began_at),
            fired_at: fired_at.map(time),
            told_at: alert.told_at.map(time),
            resolved_at: resolved_at.map(time),
            silenced_until: silence::until(silences, alert, now_ms).map(time),
        }
    }
}

/// Returns alerts, newest first: those that are not over, and for a month those that are.
#[utoipa::path(get, path = "/api/v1/alerts", operation_id = "list_alerts", tag = "alerts", params(AlertsQuery),
    responses((status = 200, body = Page<AlertView>), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(asked): Query<AlertsQuery>,
) -> Result<Json<Page<AlertView>>, Problem> {
    let limit = limit(asked.limit)?;
    let (state, rule) = (asked.state.map(Stage::as_str), asked.rule.as_deref());
    let filter = Filter { state, rule, before: asked.after.as_deref() };
    let found = alerts::page(&app.store, filter, limit + 1).await?;
    let (silences, now_ms) = silences(&app).await?;
    let views = found.iter().map(|alert| AlertView::new(alert, &silences, now_ms)).collect();
    Ok(Json(Page::of(views, limit, |view: &AlertView| view.id.clone())))
}

/// Returns one alert.
#[utoipa::path(get, path = "/api/v1/alerts/{alert}", operation_id = "show_alert", tag = "alerts",
    params(("alert" = String, Path)),
    responses((status = 200, body = AlertView), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(alert): Path<String>,
) -> Result<Json<AlertView>, Problem> {
    let found = alerts::find(&app.store, &alert).await?.ok_or_else(|| {
        let detail = "There is no such alert, or not any more. `GET /api/v1/alerts` lists them.";
        Problem::not_found("unknown_alert", detail)
    })?;
    let (silences, now_ms) = silences(&app).await?;
    Ok(Json(AlertView::new(&found, &silences, now_ms)))
}

/// Returns of what nobody is told now.
async fn silences(app: &App) -> Result<(Vec<Silence>, u64), Problem> {
    let now_ms = app.director.steady_ms();
    let mut reader = app.store.reader().await?;
    Ok((store::silences::in_force(&mut reader, now_ms).await?, now_ms))
}
