//! What every change has in common: one transaction, one line in the audit log, one time.

use serde_json::Value;

use super::input::Author;
use crate::app::App;
use crate::domain::audit::{Action, Entry};
use crate::http::Problem;
use crate::store::{Change, audit};

/// Begins a change and returns it with its time, which is later than that of every change before.
/// The time is one the Director may sign: a wrong one would stay in the versions for good (D3, D5).
pub(super) async fn begin(app: &App) -> Result<(Change, u64), Problem> {
    let change = app.store.begin().await?;
    Ok((change, app.fleet.stamp(app.director.now_ms()?)))
}

/// Adds the line in the audit log, and returns it.
pub(super) async fn record(
    change: &mut Change,
    author: &Author,
    at: u64,
    (action, subject, detail): (Action, String, Value),
) -> Result<Entry, Problem> {
    let Author { actor, reason } = author.clone();
    tracing::info!(actor, %action, subject, "changed");
    let entry = Entry { at, actor, action, subject, reason, detail };
    audit::add(change.connection(), &entry).await?;
    Ok(entry)
}
