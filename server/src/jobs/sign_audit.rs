//! Signs how far the audit log goes, so that its past cannot be changed unnoticed.
//!
//! Not here: checking the chain ([`mod@super::check_audit`]). A log that somebody changed is signed too:
//! what is written from now on must not be changed a second time.

use waxwing_audit::Note;
use waxwing_tuf::author::SignError;

use crate::director::Director;
use crate::director::clock_guard::ClockAhead;
use crate::domain::audit::{LastCheckpoint, is_checkpoint_due};
use crate::store::audit::{self, Log, Stored};
use crate::store::{self, Change, Store};

/// Signs a checkpoint if one is due; returns its number.
///
/// # Errors
///
/// When the database, the key or the clock fails. The next call tries again.
pub async fn sign_audit_if_due(store: &Store, director: &Director) -> Result<Option<i64>, Error> {
    let now_ms = director.now_ms()?;
    let mut change = store.begin().await?;
    let log = audit::log(change.connection()).await?.ok_or(Error::NoEnd)?;
    let last = audit::last_checkpoint(change.connection()).await?;
    let last = last.and_then(|last| known(&last, director));
    if !is_checkpoint_due(last, log.head.size, now_ms) {
        return Ok(None);
    }
    sign(change, &log, director, now_ms).await.map(|stored| Some(stored.id))
}

/// Returns a checkpoint of the log as it is now; signs one unless the last one says so already.
///
/// # Errors
///
/// When the database, the key or the clock fails.
pub async fn sign_audit(store: &Store, director: &Director) -> Result<Stored, Error> {
    let now_ms = director.now_ms()?;
    let mut change = store.begin().await?;
    let log = audit::log(change.connection()).await?.ok_or(Error::NoEnd)?;
    if let Some(last) = audit::last_checkpoint(change.connection()).await?
        && says(&last, &log, director)
    {
        return Ok(last);
    }
    sign(change, &log, director, now_ms).await
}

async fn sign(
    mut change: Change,
    log: &Log,
    director: &Director,
    now_ms: u64,
) -> Result<Stored, Error> {
    let note = director.checkpoint(log, now_ms)?;
    let id = audit::add_checkpoint(change.connection(), &note).await?;
    drop(change.commit().await?);
    tracing::info!(rows = log.head.size, "audit log signed");
    Ok(Stored { id, note: note.to_text() })
}

/// Reads a checkpoint; one that is damaged counts as none.
fn known(stored: &Stored, director: &Director) -> Option<LastCheckpoint> {
    let note = Note::parse(&stored.note).ok()?;
    let by_present_key = note.verify([director.public()]).is_ok();
    let checkpoint = note.unverified();
    let (size, at) = (checkpoint.head.size, checkpoint.at.as_millis());
    Some(LastCheckpoint { size, at, by_present_key })
}

/// Tells whether a checkpoint is ours and of this very end.
fn says(stored: &Stored, log: &Log, director: &Director) -> bool {
    let note = Note::parse(&stored.note).ok();
    let checkpoint = note.as_ref().and_then(|note| note.verify([director.public()]).ok());
    checkpoint.is_some_and(|it| it.head == log.head && it.origin == log.origin)
}

/// Why the log is not signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The clock is not credible.
    #[error(transparent)]
    Clock(#[from] ClockAhead),
    /// Somebody removed or damaged the name or the end of the log.
    #[error("the audit log has lost its name or its end: somebody changed the database")]
    NoEnd,
    /// The key cannot be reached.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}
