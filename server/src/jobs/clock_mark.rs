//! Keeps the Director's clock mark, in the database and in its file, and learns from the two that the
//! database was restored from a backup.
//!
//! A restored database has forgotten decisions that devices have. Once the forgotten and the restored
//! one are both older than the present window they get the same version (D3), and a device would
//! keep the forgotten one. So everything is decided anew, later than all that was signed. Not here:
//! a file that was restored together with the database tells nothing.

use std::sync::Arc;

use tokio::task::{JoinError, spawn_blocking};

use crate::director::clock_guard::{self, ClockGuard};
use crate::store::{self, Store, clock_mark, devices};

/// Remembers the latest time that may have been signed; nothing while the clock is wrong.
///
/// # Errors
///
/// When the database or the disk fails.
pub async fn keep_clock_mark(store: &Store, guard: &Arc<ClockGuard>) -> Result<(), Error> {
    let Some(mark) = guard.mark() else { return Ok(()) };
    // The database first: only one that was restored may know less than the file.
    let mut change = store.begin().await?;
    clock_mark::raise(change.connection(), mark.wall_ms()).await?;
    drop(change.commit().await?);
    let guard = Arc::clone(guard);
    Ok(spawn_blocking(move || guard.save(&mark)).await??)
}

/// Decides everything anew if the database was restored from a backup. Called before the fleet is
/// loaded.
///
/// # Errors
///
/// When the database fails.
pub async fn renew_if_restored(store: &Store, guard: &ClockGuard) -> Result<(), store::Error> {
    let found_ms = guard.found().map_or(0, clock_guard::Mark::wall_ms);
    let known_ms = clock_mark::read(store).await?;
    if found_ms <= known_ms {
        return Ok(());
    }
    tracing::warn!(found_ms, known_ms, "the database is older than what was signed: deciding anew");
    let mut change = store.begin().await?;
    devices::change_all(change.connection(), guard.credible_ms().saturating_add(1)).await?;
    clock_mark::raise(change.connection(), found_ms).await?;
    drop(change.commit().await?);
    Ok(())
}

/// Why the mark is not kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file failed.
    #[error(transparent)]
    File(#[from] clock_guard::Error),
    /// The server is shutting down.
    #[error("the step was broken off")]
    Join(#[from] JoinError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}
