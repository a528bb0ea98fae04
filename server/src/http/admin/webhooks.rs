//! `/api/v1/webhooks`: who is told of rollouts, and what became of each message.
//!
//! Not here: sending. Messages go to the outbox, and from there a job takes them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::change;
use super::input::{Author, Body, DeliveriesQuery, Query, limit};
use super::output::{Page, time};
use crate::app::App;
use crate::domain::Webhook;
use crate::domain::audit::Action;
use crate::domain::webhook::delivery::State as DeliveryState;
use crate::domain::webhook::{Event, Kind, Target, WEBHOOKS_MAX};
use crate::http::{Path, Problem};
use crate::random;
use crate::store::Change;
use crate::store::webhooks::{self, Outgoing};

/// Where to tell, and what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWebhook {
    /// An `https://` address without a password.
    #[schema(example = "https://hooks.example/waxwing")]
    url: String,
    /// What to tell; everything if there are none.
    #[serde(default)]
    events: Vec<Kind>,
}

/// A webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(super) struct WebhookView {
    /// Its name.
    id: String,
    /// Where messages go.
    url: String,
    /// What is told; everything if there are none.
    events: Vec<Kind>,
    /// Who asked for it.
    created_by: String,
    /// When, as RFC 3339.
    created_at: String,
}

/// A webhook with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = NewWebhookSecret)]
pub(super) struct Created {
    #[serde(flatten)]
    webhook: WebhookView,
    /// The key of the signatures, as Standard Webhooks writes it: `whsec_` and base64.
    secret: String,
}

/// A message on its way to a webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct DeliveryView {
    /// The identifier of the message, the same in every attempt.
    id: String,
    /// What happened.
    event: Kind,
    /// How far it is.
    state: DeliveryState,
    /// How often it was sent.
    attempts: u32,
    /// What came of the last attempt: `http_<status>`, `timed_out`, `not_reached`, `address_refused`.
    outcome: Option<String>,
    /// When it is sent next, as RFC 3339, if it will be.
    due_at: Option<String>,
    /// When any of this last changed, as RFC 3339.
    changed_at: String,
    /// The message itself.
    #[schema(value_type = Object)]
    body: Value,
}

impl From<&Webhook> for WebhookView {
    fn from(webhook: &Webhook) -> Self {
        Self {
            id: webhook.id.clone(),
            url: webhook.target.to_string(),
            events: webhook.kinds.clone(),
            created_by: webhook.created_by.clone(),
            created_at: time(webhook.created_at),
        }
    }
}

impl From<Outgoing> for DeliveryView {
    fn from(outgoing: Outgoing) -> Self {
        let delivery = outgoing.delivery;
        let is_due = delivery.state == DeliveryState::Due;
        Self {
            id: outgoing.message,
            event: outgoing.kind,
            state: delivery.state,
            attempts: delivery.attempts,
            outcome: delivery.outcome.map(|outcome| outcome.to_string()),
            due_at: is_due.then(|| time(delivery.due_at)),
            changed_at: time(delivery.changed_at),
            body: serde_json::from_str(&outgoing.body).unwrap_or_default(),
        }
    }
}

/// Returns all webhooks. Their secrets are shown when they are made, and never again.
#[utoipa::path(get, path = "/api/v1/webhooks", operation_id = "list_webhooks", tag = "webhooks",
    responses((status = 200, body = Page<WebhookView>)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Page<WebhookView>>, Problem> {
    let all = webhooks::all(&mut *app.store.reader().await?).await?;
    let views: Vec<_> = all.iter().map(WebhookView::from).collect();
    Ok(Json(Page::of(views, u32::MAX, |view: &WebhookView| view.id.clone())))
}

/// Tells a machine of rollouts from now on. The answer holds the secret by which it knows that messages
/// are ours.
#[utoipa::path(post, path = "/api/v1/webhooks", operation_id = "create_webhook", tag = "webhooks", request_body = NewWebhook,
    responses((status = 201, body = Created), (status = 400, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    author: Author,
    Body(new): Body<NewWebhook>,
) -> Result<(StatusCode, Json<Created>), Problem> {
    let target = target(&app, &new.url)?;
    let (mut change, at) = change::begin(&app).await?;
    if webhooks::all(change.connection()).await?.len() >= WEBHOOKS_MAX {
        let detail = format!("There are {WEBHOOKS_MAX} webhooks. Remove one first.");
        return Err(Problem::conflict("too_many_webhooks", detail));
    }
    let number = u64::from_be_bytes(random::bytes(app.random.as_ref()));
    let webhook = Webhook {
        id: format!("wh-{number:016x}"),
        target,
        kinds: new.events,
        created_by: author.actor.clone(),
        created_at: at,
    };
    webhooks::add(change.connection(), &webhook).await?;
    // Not the whole address: a part of it may be a secret.
    let detail = json!({ "origin": webhook.target.origin(), "events": webhook.kinds });
    let line = (Action::WebhookCreated, subject(&webhook.id), detail);
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    let secret = app.webhooks.secret(&webhook.id).to_text();
    let created = Created { webhook: WebhookView::from(&webhook), secret };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Tells a machine no more. What was on its way is not sent any more.
#[utoipa::path(delete, path = "/api/v1/webhooks/{webhook}", operation_id = "remove_webhook", tag = "webhooks",
    params(("webhook" = String, Path)),
    responses((status = 200, body = WebhookView), (status = 404, body = Problem)))]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path(webhook): Path<String>,
    author: Author,
) -> Result<Json<WebhookView>, Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let webhook = find(&mut change, &webhook).await?;
    webhooks::remove(change.connection(), &webhook.id).await?;
    let detail = json!({ "origin": webhook.target.origin() });
    let line = (Action::WebhookRemoved, subject(&webhook.id), detail);
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    Ok(Json(WebhookView::from(&webhook)))
}

/// Sends a message with which somebody tries a webhook. `deliveries` shows what became of it.
#[utoipa::path(post, path = "/api/v1/webhooks/{webhook}/test", operation_id = "test_webhook", tag = "webhooks",
    params(("webhook" = String, Path)),
    responses((status = 202, body = DeliveryView), (status = 404, body = Problem)))]
pub(super) async fn test(
    State(app): State<Arc<App>>,
    Path(webhook): Path<String>,
    author: Author,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let webhook = find(&mut change, &webhook).await?;
    let line = (Action::WebhookTested, subject(&webhook.id), json!({}));
    let entry = change::record(&mut change, &author, at, line).await?;
    let event = Event::test(&webhook.id, &entry);
    webhooks::send(change.connection(), &webhook.id, &event).await?;
    let outgoing = message(&mut change, &webhook, &event.id).await?;
    drop(change.commit().await?);
    Ok((StatusCode::ACCEPTED, Json(DeliveryView::from(outgoing))))
}

/// Returns what was told, newest first, and what became of it, for a month after its end.
#[utoipa::path(get, path = "/api/v1/webhooks/{webhook}/deliveries", operation_id = "list_webhook_deliveries", tag = "webhooks",
    params(("webhook" = String, Path), DeliveriesQuery),
    responses((status = 200, body = Page<DeliveryView>), (status = 400, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn deliveries(
    State(app): State<Arc<App>>,
    Path(webhook): Path<String>,
    Query(asked): Query<DeliveriesQuery>,
) -> Result<Json<Page<DeliveryView>>, Problem> {
    let limit = limit(asked.limit)?;
    let all = webhooks::all(&mut *app.store.reader().await?).await?;
    let webhook = all.into_iter().find(|known| known.id == webhook).ok_or_else(unknown)?;
    let after = asked.after.as_deref();
    let found = webhooks::page(&app.store, &webhook.id, asked.state, after, limit + 1).await?;
    let views = found.into_iter().map(DeliveryView::from).collect();
    Ok(Json(Page::of(views, limit, |view: &DeliveryView| view.id.clone())))
}

/// Sends a message once more that was delivered or given up, with the same identifier.
#[utoipa::path(post, path = "/api/v1/webhooks/{webhook}/deliveries/{message}/redeliver", operation_id = "redeliver_webhook", tag = "webhooks",
    params(("webhook" = String, Path), ("message" = String, Path)),
    responses((status = 202, body = DeliveryView), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn redeliver(
    State(app): State<Arc<App>>,
    Path((webhook, id)): Path<(String, String)>,
    author: Author,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    let (mut change, at) = change::begin(&app).await?;
    let webhook = find(&mut change, &webhook).await?;
    let mut outgoing = message(&mut change, &webhook, &id).await?;
    outgoing.delivery = outgoing.delivery.again(at).map_err(|error| {
        let detail = format!("{error}. `GET …/deliveries` shows when it is sent next.");
        Problem::conflict("delivery_on_its_way", detail)
    })?;
    webhooks::put(change.connection(), &webhook.id, &id, &outgoing.delivery).await?;
    let line = (Action::WebhookRedelivered, subject(&webhook.id), json!({ "message": id }));
    change::record(&mut change, &author, at, line).await?;
    drop(change.commit().await?);
    Ok((StatusCode::ACCEPTED, Json(DeliveryView::from(outgoing))))
}

/// Reads where messages should go.
fn target(app: &App, url: &str) -> Result<Target, Problem> {
    let refused = |detail: String| Problem::refused("invalid_webhook", detail).field("url");
    let target = Target::parse(url)
        .map_err(|error| refused(format!("Messages cannot go to this address: {error}.")))?;
    if !app.webhooks.reach().allows_url(target.url()) {
        let detail = "The address is not one of the public Internet, and the server's configuration \
                      does not allow it (`webhooks.allow_networks`).";
        return Err(refused(detail.to_owned()));
    }
    Ok(target)
}

async fn find(change: &mut Change, webhook: &str) -> Result<Webhook, Problem> {
    let all = webhooks::all(change.connection()).await?;
    all.into_iter().find(|known| known.id == webhook).ok_or_else(unknown)
}

async fn message(
    change: &mut Change,
    webhook: &Webhook,
    message: &str,
) -> Result<Outgoing, Problem> {
    let found = webhooks::find(change.connection(), &webhook.id, message).await?;
    found.ok_or_else(|| {
        let detail = "The webhook has no such message, or not any more.";
        Problem::not_found("unknown_delivery", detail)
    })
}

fn unknown() -> Problem {
    let detail = "There is no such webhook. `GET /api/v1/webhooks` lists them.";
    Problem::not_found("unknown_webhook", detail)
}

fn subject(webhook: &str) -> String {
    format!("webhook/{webhook}")
}
