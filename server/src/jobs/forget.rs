//! Forgets messages that were kept for as long as the configuration says, or that there is no room for,
//! the messages of webhooks, the commands and the alerts that came to an end long ago, and MQTT sessions that nobody came
//! back to.

use crate::app::App;
use crate::config::Config;
use crate::ingest::FRESH_S;
use crate::store::messages::MessageLog;
use crate::store::{
    self, alerts, commands, mails, operator_certificates, sessions, silences, webhooks,
};

/// How long the id of a message is kept at least: twice as long as a copy would be fresh, since a
/// message may be sent ahead of our clock, and received late by it. A broker may keep copies for longer.
fn ids_kept_ms(config: &Config) -> u64 {
    let kept_s = config.broker.as_ref().map_or(FRESH_S, |broker| broker.kept_s.max(FRESH_S));
    2 * (FRESH_S + kept_s) * 1000
}

/// Messages forgotten in one transaction: a few milliseconds in which none is added.
const AT_ONCE: u32 = 4096;

/// How long a message of a webhook, a command or an alert is shown after its end: a month, for whoever was away.
const OUTBOX_KEPT_MS: u64 = 30 * 24 * 3600 * 1000;

/// Most alerts that are shown after their end: far more than somebody reads.
const ALERTS_KEPT_MAX: u32 = 10_000;

const HOUR_MS: u64 = 3600 * 1000;

/// Forgets what is old.
///
/// # Errors
///
/// When a database fails.
pub async fn forget(app: &App, now_ms: u64) -> Result<(), store::Error> {
    let up_to = app.log.taken_by_all(&app.sinks.names()).await?;
    forget_messages(&app.log, &app.config, up_to, now_ms).await?;
    let mut change = app.store.begin().await?;
    let old_ms = now_ms.saturating_sub(OUTBOX_KEPT_MS);
    webhooks::forget(change.connection(), old_ms).await?;
    mails::forget(change.connection(), old_ms).await?;
    alerts::forget(change.connection(), old_ms, ALERTS_KEPT_MAX).await?;
    commands::forget(change.connection(), old_ms, now_ms).await?;
    silences::forget(change.connection(), now_ms).await?;
    sessions::forget(change.connection(), app.clock.now_ms()).await?;
    operator_certificates::forget(change.connection(), app.clock.now_ms()).await?;
    drop(change.commit().await?);
    Ok(())
}

/// Forgets messages that no sink needs any more, up to a position; returns how many.
pub(super) async fn forget_messages(
    log: &MessageLog,
    config: &Config,
    up_to: u64,
    now_ms: u64,
) -> Result<u64, store::Error> {
    let (limits, kept_ms) = (&config.messages, ids_kept_ms(config));
    let old_ms = (u64::from(limits.kept_hours) * HOUR_MS).max(kept_ms);
    let old = now_ms.saturating_sub(old_ms);
    let mut forgotten = 0;
    loop {
        let full = log.bytes().await? >= limits.bytes;
        let before = if full { now_ms.saturating_sub(kept_ms) } else { old };
        match log.forget(before, up_to, AT_ONCE).await? {
            0 => return Ok(forgotten),
            some => forgotten += some,
        }
    }
}
