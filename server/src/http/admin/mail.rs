//! `/api/v1/mail`: what became of e-mail about alerts.
//!
//! Not here: sending. Letters go to the outbox, and from there a job takes them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::change;
use super::input::{Author, MailsQuery, Query, limit};
use super::output::{Page, time};
use crate::app::App;
use crate::domain::audit::Action;
use crate::domain::letter::Letter;
use crate::domain::webhook::delivery::State as DeliveryState;
use crate::http::Problem;
use crate::store::mails::{self, Outgoing};

/// A letter on its way to somebody.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MailDelivery)]
pub(super) struct MailView {
    /// The number of the message, the same in every attempt.
    id: String,
    /// Who gets it.
    recipient: String,
    /// Its first line.
    subject: String,
    /// How far it is.
    state: DeliveryState,
    /// How often it was sent.
    attempts: u32,
    /// What came of the last attempt: `smtp_<code>`, `timed_out`, `not_reached`.
    outcome: Option<String>,
    /// When it is sent next, as RFC 3339, if it will be.
    due_at: Option<String>,
    /// When any of this last changed, as RFC 3339.
    changed_at: String,
}

impl From<&Outgoing> for MailView {
    fn from(outgoing: &Outgoing) -> Self {
        let delivery = outgoing.delivery;
        let is_due = delivery.state == DeliveryState::Due;
        Self {
            id: outgoing.letter.id.clone(),
            recipient: outgoing.recipient.clone(),
            subject: outgoing.letter.subject.clone(),
            state: delivery.state,
            attempts: delivery.attempts,
            outcome: delivery.outcome.map(|outcome| outcome.to_string()),
            due_at: is_due.then(|| time(delivery.due_at)),
            changed_at: time(delivery.changed_at),
        }
    }
}

/// Returns the newest letters, and what became of them, for a month after their end.
#[utoipa::path(get, path = "/api/v1/mail/deliveries", operation_id = "list_mail_deliveries", tag = "alerts", params(MailsQuery),
    responses((status = 200, body = Page<MailView>), (status = 400, body = Problem)))]
pub(super) async fn deliveries(
    State(app): State<Arc<App>>,
    Query(asked): Query<MailsQuery>,
) -> Result<Json<Page<MailView>>, Problem> {
    let found = mails::latest(&app.store, asked.state, limit(asked.limit)?).await?;
    let views = found.iter().map(MailView::from).collect();
    Ok(Json(Page::of(views, u32::MAX, |view: &MailView| view.id.clone())))
}

/// Sends a letter to every recipient with which somebody tries whether mail comes.
#[utoipa::path(post, path = "/api/v1/mail/test", operation_id = "test_mail", tag = "alerts",
    responses((status = 202, body = Page<MailView>), (status = 409, body = Problem)))]
pub(super) async fn test(
    State(app): State<Arc<App>>,
    author: Author,
) -> Result<(StatusCode, Json<Page<MailView>>), Problem> {
    if app.mailer.is_none() {
        let detail = "No mail server is named. Set `mail.server` in the server's configuration.";
        return Err(Problem::conflict("no_mail_server", detail));
    }
    let (mut change, at) = change::begin(&app).await?;
    let recipients = &app.config.mail.to;
    let line = (Action::MailTested, "mail".to_owned(), json!({ "recipients": recipients.len() }));
    let entry = change::record(&mut change, &author, at, line).await?;
    let letter = Letter::test(&entry);
    mails::tell(change.connection(), recipients, &letter).await?;
    drop(change.commit().await?);
    let count = u32::try_from(recipients.len()).unwrap_or(u32::MAX);
    let found = mails::latest(&app.store, None, count).await?;
    let sent = found.iter().filter(|outgoing| outgoing.letter.id == letter.id).map(MailView::from);
    let page = Page::of(sent.collect(), u32::MAX, |view: &MailView| view.id.clone());
    Ok((StatusCode::ACCEPTED, Json(page)))
}
