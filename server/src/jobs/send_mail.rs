//! Sends what is in the outbox of e-mail: one message at a time, those that wait longest first.

use std::sync::Arc;

use crate::app::App;
use crate::domain::webhook::delivery::State;
use crate::mail::Mailer;
use crate::metrics::Attempt;
use crate::random;
use crate::store::{self, mails};

/// Most messages in a row; the next look begins with those that wait longest.
const MESSAGES_AT_ONCE_MAX: u32 = 16;

/// Sends whatever is due, once.
///
/// # Errors
///
/// When the database fails. What was not sent is sent by the next call.
pub async fn send_mail(app: &Arc<App>) -> Result<(), store::Error> {
    let Some(mailer) = &app.mailer else { return Ok(()) };
    let due = mails::due(&app.store, app.director.steady_ms(), MESSAGES_AT_ONCE_MAX).await?;
    for outgoing in due {
        send(app, mailer, outgoing).await?;
    }
    Ok(())
}

async fn send(
    app: &App,
    mailer: &Mailer,
    mut outgoing: mails::Outgoing,
) -> Result<(), store::Error> {
    let Some(begun) = outgoing.delivery.begin(app.director.steady_ms()) else { return Ok(()) };
    outgoing.delivery = begun;
    put(app, &outgoing).await?;
    let outcome = mailer.send(&outgoing.letter, &outgoing.recipient).await;
    let jitter = u16::from_be_bytes(random::bytes(app.random.as_ref()));
    outgoing.delivery = begun.on_outcome(outcome, app.director.steady_ms(), jitter);
    put(app, &outgoing).await?;
    take_note(app, &outgoing);
    Ok(())
}

async fn put(app: &App, outgoing: &mails::Outgoing) -> Result<(), store::Error> {
    let mut change = app.store.begin().await?;
    mails::put(change.connection(), outgoing).await?;
    change.commit().await.map(drop)
}

/// The log knows messages by their number: who gets them is nobody's business there.
fn take_note(app: &App, outgoing: &mails::Outgoing) {
    let (message, attempts) = (&outgoing.letter.id, outgoing.delivery.attempts);
    let outcome = outgoing.delivery.outcome.map(|outcome| outcome.to_string());
    match outgoing.delivery.state {
        State::Delivered => {
            app.metrics.mail(Attempt::Delivered);
            tracing::info!(message, attempts, "mail delivered");
        }
        State::Dead => {
            app.metrics.mail(Attempt::GivenUp);
            tracing::error!(message, attempts, outcome, "mail given up");
        }
        State::Due | State::InFlight => {
            app.metrics.mail(Attempt::Failed);
            tracing::warn!(message, attempts, outcome, "mail not delivered");
        }
    }
}
