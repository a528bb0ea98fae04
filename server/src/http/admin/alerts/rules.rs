//! `/api/v1/alert-rules`: what is looked for, and from when on somebody is told.
//!
//! Not here: which settings make sense ([`crate::domain::alert::rule`]).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::app::App;
use crate::domain::alert::rule::{CHANGED_RULES_MAX, Unfit};
use crate::domain::alert::{Rule, RuleName, Settings, Severity};
use crate::domain::audit::Action;
use crate::http::admin::change;
use crate::http::admin::input::{Author, Body};
use crate::http::admin::output::{Page, time};
use crate::http::admin::precondition::{IfMatch, etag};
use crate::http::{Path, Problem};
use crate::store::alerts;

/// A rule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertRule)]
pub(in crate::http::admin) struct RuleView {
    /// Its name.
    name: String,
    /// Whether anything is looked for.
    enabled: bool,
    /// How urgent an alert is.
    severity: Severity,
    /// The number from which on it fires.
    threshold: u64,
    /// The number below which it is over.
    clear_below: u64,
    /// The time that is looked at, in seconds: what that means, docs/alerts.md says for each rule.
    window_s: u32,
    /// For how many seconds the threshold must be reached.
    for_s: u32,
    /// For how many seconds the number must stay below the lower mark.
    clear_for_s: u32,
    /// How often it was changed; 0: it is as it usually is.
    revision: u64,
    /// Who changed it last.
    changed_by: Option<String>,
    /// When, as RFC 3339.
    changed_at: Option<String>,
}

/// What to change of a rule; what is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::admin) struct AlertRuleEdit {
    /// Whether anything is looked for.
    enabled: Option<bool>,
    /// How urgent an alert is.
    severity: Option<Severity>,
    /// The number from which on it fires.
    threshold: Option<u64>,
    /// The number below which it is over; lowered with the threshold, if it is left out.
    clear_below: Option<u64>,
    /// The time that is looked at, in seconds.
    window_s: Option<u32>,
    /// For how many seconds the threshold must be reached.
    for_s: Option<u32>,
    /// For how many seconds the number must stay below the lower mark.
    clear_for_s: Option<u32>,
}

/// A rule with its entity tag.
type Tagged = ([(HeaderName, String); 1], Json<RuleView>);

impl From<&Rule> for RuleView {
    fn from(rule: &Rule) -> Self {
        let Settings { enabled, severity, threshold, clear_below, window_s, for_s, clear_for_s } =
            rule.settings;
        let changed = rule.changed.clone().unzip();
        Self {
            name: rule.name.to_string(),
            enabled,
            severity,
            threshold,
            clear_below,
            window_s,
            for_s,
            clear_for_s,
            revision: rule.revision,
            changed_by: changed.0,
            changed_at: changed.1.map(time),
        }
    }
}

impl AlertRuleEdit {
    fn apply(&self, before: &Settings) -> Settings {
        let threshold = self.threshold.unwrap_or(before.threshold);
        Settings {
            enabled: self.enabled.unwrap_or(before.enabled),
            severity: self.severity.unwrap_or(before.severity),
            threshold,
            clear_below: self.clear_below.unwrap_or(before.clear_below.min(threshold)),
            window_s: self.window_s.unwrap_or(before.window_s),
            for_s: self.for_s.unwrap_or(before.for_s),
            clear_for_s: self.clear_for_s.unwrap_or(before.clear_for_s),
        }
    }
}

/// Returns all rules, by name.
#[utoipa::path(get, path = "/api/v1/alert-rules", operation_id = "list_alert_rules", tag = "alerts",
    responses((status = 200, body = Page<RuleView>)))]
pub(in crate::http::admin) async fn list(
    State(app): State<Arc<App>>,
) -> Result<Json<Page<RuleView>>, Problem> {
    let all = alerts::rules(&mut *app.store.reader().await?).await?;
    let views = all.iter().map(RuleView::from).collect();
    Ok(Json(Page::of(views, u32::MAX, |view: &RuleView| view.name.clone())))
}

/// Returns a rule. Its `ETag` is what a change sends as `If-Match`.
#[utoipa::path(get, path = "/api/v1/alert-rules/{rule}", operation_id = "show_alert_rule", tag = "alerts",
    params(("rule" = String, Path)),
    responses((status = 200, body = RuleView), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn show(
    State(app): State<Arc<App>>,
    Path(rule): Path<String>,
) -> Result<Tagged, Problem> {
    let all = alerts::rules(&mut *app.store.reader().await?).await?;
    Ok(tagged(&find(&app, &all, &rule)?))
}

/// Changes a rule; `<rule>@<product>` gets settings of its own. `If-Match` says which state of it was seen.
#[utoipa::path(patch, path = "/api/v1/alert-rules/{rule}", operation_id = "edit_alert_rule", tag = "alerts",
    params(("rule" = String, Path), ("If-Match" = String, Header)), request_body = AlertRuleEdit,
    responses((status = 200, body = RuleView), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 412, body = Problem),
        (status = 422, body = Problem), (status = 428, body = Problem)))]
pub(in crate::http::admin) async fn edit(
    State(app): State<Arc<App>>,
    Path(rule): Path<String>,
    author: Author,
    seen: IfMatch,
    Body(edit): Body<AlertRuleEdit>,
) -> Result<Tagged, Problem> {
    replace(&app, &rule, &author, &seen, |rule| Some(edit.apply(&rule.settings))).await
}

/// Makes a rule as it usually is; that of one product is gone. `If-Match` says which state of it was seen.
#[utoipa::path(delete, path = "/api/v1/alert-rules/{rule}", operation_id = "reset_alert_rule", tag = "alerts",
    params(("rule" = String, Path), ("If-Match" = String, Header)),
    responses((status = 200, body = RuleView), (status = 404, body = Problem),
        (status = 412, body = Problem), (status = 428, body = Problem)))]
pub(in crate::http::admin) async fn reset(
    State(app): State<Arc<App>>,
    Path(rule): Path<String>,
    author: Author,
    seen: IfMatch,
) -> Result<Tagged, Problem> {
    replace(&app, &rule, &author, &seen, |_| None).await
}

/// Gives a rule other settings, or none of its own.
async fn replace(
    app: &App,
    rule: &str,
    author: &Author,
    seen: &IfMatch,
    settings: impl FnOnce(&Rule) -> Option<Settings>,
) -> Result<Tagged, Problem> {
    let (mut change, at) = change::begin(app).await?;
    let all = alerts::rules(change.connection()).await?;
    let before = find(app, &all, rule)?;
    seen.check(&etag(before.revision))?;
    let wanted = settings(&before);
    let is_gone = wanted.is_none() && before.name.product.is_some();
    let settings = wanted.unwrap_or_else(|| Settings::usual(before.name.kind));
    settings.check(before.name.kind).map_err(|unfit| refused(&unfit))?;
    let detail = json!({ "before": before.settings, "after": settings });
    let (revision, changed) = (before.revision + 1, Some((author.actor.clone(), at)));
    let rule = Rule { name: before.name, settings, revision, changed };
    if is_gone {
        alerts::remove_rule(change.connection(), &rule.name).await?;
    } else {
        check_room(&all, &rule)?;
        alerts::put_rule(change.connection(), &rule).await?;
    }
    let line = (Action::AlertRuleChanged, format!("alert-rule/{}", rule.name), detail);
    change::record(&mut change, author, at, line).await?;
    drop(change.commit().await?);
    Ok(tagged(&rule))
}

/// Returns a rule. One of a product that has none of its own is as that for all.
fn find(app: &App, all: &[Rule], name: &str) -> Result<Rule, Problem> {
    let name: RuleName = name.parse().map_err(|_| unknown())?;
    if let Some(rule) = all.iter().find(|rule| rule.name == name) {
        return Ok(rule.clone());
    }
    if name.product.as_ref().is_none_or(|product| app.fleet.product(product).is_none()) {
        return Err(unknown());
    }
    let general = all.iter().find(|rule| rule.name == name.kind.into()).ok_or_else(unknown)?;
    Ok(Rule { name, settings: general.settings.clone(), revision: 0, changed: None })
}

fn check_room(all: &[Rule], rule: &Rule) -> Result<(), Problem> {
    let others = all.iter().filter(|other| other.revision > 0 && other.name != rule.name);
    if others.count() < CHANGED_RULES_MAX {
        return Ok(());
    }
    let detail = format!("{CHANGED_RULES_MAX} rules have settings of their own. Reset one first.");
    Err(Problem::conflict("too_many_alert_rules", detail))
}

fn tagged(rule: &Rule) -> Tagged {
    ([(header::ETAG, etag(rule.revision))], Json(RuleView::from(rule)))
}

fn refused(unfit: &Unfit) -> Problem {
    let Unfit { field, from, to } = unfit;
    let always = || format!("{field} is always {to} for this rule.");
    let detail = if from == to { always() } else { format!("{unfit}.") };
    Problem::refused("invalid_alert_rule", detail).field(*field)
}

fn unknown() -> Problem {
    let detail = "There is no such rule. `GET /api/v1/alert-rules` lists them; some may be for one \
                  product, such as `rollout_halted@th1`.";
    Problem::not_found("unknown_alert_rule", detail)
}
