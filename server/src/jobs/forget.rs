//! Forgets the ids of telemetry whose copies would be refused as stale anyway, and the messages of webhooks
//! that came to an end long ago.

use crate::ingest::FRESH_S;
use crate::store::{self, Store, reports, webhooks};

/// Ids are kept twice as long as needed: a message may be sent ahead of our clock, and received
/// late by it.
const KEPT_MS: u64 = 2 * 2 * FRESH_S * 1000;

/// How long a message of a webhook is shown after its end: a month, for whoever was away.
const OUTBOX_KEPT_MS: u64 = 30 * 24 * 3600 * 1000;

/// Forgets old message ids; returns how many.
///
/// # Errors
///
/// When the database fails.
pub async fn forget_messages(store: &Store, now_ms: u64) -> Result<u64, store::Error> {
    let mut change = store.begin().await?;
    let forgotten =
        reports::forget_messages(change.connection(), now_ms.saturating_sub(KEPT_MS)).await?;
    webhooks::forget(change.connection(), now_ms.saturating_sub(OUTBOX_KEPT_MS)).await?;
    drop(change.commit().await?);
    Ok(forgotten)
}
