//! Sends what is in the outbox: to each webhook one message at a time, so that one that hangs keeps only
//! itself waiting. Also while the clock is not credible: that is told, too.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::domain::Webhook;
use crate::domain::webhook::Delivery;
use crate::domain::webhook::delivery::{Outcome, State};
use crate::logging::Chain;
use crate::metrics::Attempt;
use crate::random;
use crate::store::webhooks::{self, Outgoing};
use crate::store::{self, Change};

/// Most messages to one webhook in a row; the next look begins with those that wait longest.
const MESSAGES_AT_ONCE_MAX: u32 = 16;

/// Begins to send whatever is due, and does not wait for it.
///
/// # Errors
///
/// When the database fails. What was not sent is sent by the next call.
pub async fn deliver_webhooks(app: &Arc<App>, tasks: &TaskTracker) -> Result<(), store::Error> {
    for webhook in webhooks::due(&app.store, app.director.steady_ms()).await? {
        let Some(slot) = app.webhooks.take(&webhook.id) else { continue };
        let app = Arc::clone(app);
        tasks.spawn(async move {
            if let Err(error) = deliver_to(&app, &webhook).await {
                tracing::error!(webhook = webhook.id, error = %Chain(&error), "outbox not read");
            }
            drop(slot);
        });
    }
    Ok(())
}

/// Sends what is due to one webhook, until it does not answer.
async fn deliver_to(app: &App, webhook: &Webhook) -> Result<(), store::Error> {
    let now_ms = app.director.steady_ms();
    let due = webhooks::due_for(&app.store, &webhook.id, now_ms, MESSAGES_AT_ONCE_MAX).await?;
    for outgoing in due {
        if let Some(Outcome::Failed(_)) = deliver(app, webhook, &outgoing).await? {
            break;
        }
    }
    Ok(())
}

/// Sends one message once; tells what came of it.
async fn deliver(
    app: &App,
    webhook: &Webhook,
    outgoing: &Outgoing,
) -> Result<Option<Outcome>, store::Error> {
    let now_ms = app.director.steady_ms();
    let Some(begun) = begin(app, outgoing, now_ms).await? else { return Ok(None) };
    // Of a clock that is not credible, the receiver judges for itself: an alert about it is worth a try.
    let outcome = app.webhooks.send(webhook, outgoing, app.clock.now_ms()).await;
    let now_ms = app.director.steady_ms();
    let jitter = u16::from_be_bytes(random::bytes(app.random.as_ref()));
    let ended = begun.on_outcome(outcome, now_ms, jitter);
    put(app.store.begin().await?, outgoing, &ended).await?;
    take_note(app, outgoing, &ended, outcome);
    Ok(Some(outcome))
}

/// Writes that a message is in flight. What has become of it since it was read counts.
async fn begin(
    app: &App,
    outgoing: &Outgoing,
    now_ms: u64,
) -> Result<Option<Delivery>, store::Error> {
    let mut change = app.store.begin().await?;
    let (webhook, message) = (&outgoing.webhook, &outgoing.message);
    let current = webhooks::find(change.connection(), webhook, message).await?;
    let begun = current.and_then(|current| current.delivery.begin(now_ms));
    if let Some(begun) = &begun {
        put(change, outgoing, begun).await?;
    }
    Ok(begun)
}

async fn put(
    mut change: Change,
    outgoing: &Outgoing,
    delivery: &Delivery,
) -> Result<(), store::Error> {
    let (webhook, message) = (&outgoing.webhook, &outgoing.message);
    webhooks::put(change.connection(), webhook, message, delivery).await?;
    change.commit().await.map(drop)
}

fn take_note(app: &App, outgoing: &Outgoing, ended: &Delivery, outcome: Outcome) {
    let Outgoing { webhook, message, kind, .. } = outgoing;
    let attempts = ended.attempts;
    match ended.state {
        State::Delivered => {
            app.metrics.webhook(Attempt::Delivered);
            tracing::info!(webhook, message, %kind, attempts, "webhook delivered");
        }
        State::Dead => {
            app.metrics.webhook(Attempt::GivenUp);
            tracing::error!(webhook, message, %kind, attempts, %outcome, "webhook given up");
        }
        State::Due | State::InFlight => {
            app.metrics.webhook(Attempt::Failed);
            tracing::warn!(webhook, message, %kind, attempts, %outcome, "webhook not delivered");
        }
    }
}
