//! Looks at the evidence of every alert rule, and tells what follows.
//!
//! What fires is durable, and told by the outbox in the same transaction. Not here: the evidence
//! ([`crate::alerts`]), and the rules ([`crate::domain::alert`]).

use crate::alerts;
use crate::app::App;
use crate::domain::alert::board::{self, Moment, Step, Told};
use crate::store;

/// Looks once.
///
/// # Errors
///
/// When the database fails. The next call looks again.
pub async fn watch_alerts(app: &App, now_ms: u64) -> Result<(), store::Error> {
    let mut reader = app.store.reader().await?;
    let rules = store::alerts::rules(&mut reader).await?;
    let looked = alerts::look(app, &rules, now_ms).await?;
    let open = store::alerts::open(&mut reader).await?;
    let silences = store::silences::in_force(&mut reader, now_ms).await?;
    drop(reader);
    if board::next(&open, looked.clone(), Moment { silences: &silences, now_ms }).is_empty() {
        return Ok(());
    }
    let mut change = app.store.begin().await?;
    // Asked again as the only writer: what somebody changed in between counts.
    let open = store::alerts::open(change.connection()).await?;
    let silences = store::silences::in_force(change.connection(), now_ms).await?;
    let steps = board::next(&open, looked, Moment { silences: &silences, now_ms });
    let recipients = app.config.mail.recipients();
    store::alerts::write(change.connection(), &steps, recipients).await?;
    drop(change.commit().await?);
    steps.iter().for_each(take_note);
    Ok(())
}

fn take_note(step: &Step) {
    let alert = &step.alert;
    let (alert_id, rule, subject) = (&alert.id, &alert.rule, &alert.subject);
    match step.told {
        Some(Told::Fired) => {
            tracing::warn!(alert.id = alert_id, %rule, subject, value = alert.value, "alert fired");
        }
        Some(Told::Resolved) => {
            tracing::info!(alert.id = alert_id, %rule, subject, "alert resolved");
        }
        None => {}
    }
}
