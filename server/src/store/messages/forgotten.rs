//! Since when the log knows every message.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;

use super::MessageLog;
use crate::store::Error;
use crate::store::row::to_integer;

impl MessageLog {
    /// Forgets at most `limit` of the oldest messages that were received before a time, up to a
    /// position; returns how many.
    ///
    /// # Errors
    ///
    /// When the disk fails or is full.
    pub async fn forget(&self, before_ms: u64, up_to: u64, limit: u32) -> Result<u64, Error> {
        let _turn = self.turn.lock().await;
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        super::telemetry::keep_last(&mut transaction, before_ms, up_to, limit).await?;
        let gone: Vec<i64> = sqlx::query_scalar(
            "DELETE FROM messages WHERE position IN (SELECT position FROM messages \
             WHERE position <= $2 ORDER BY position LIMIT $3) AND received_at < $1 \
             RETURNING received_at",
        )
        .bind(to_integer(before_ms))
        .bind(to_integer(up_to))
        .bind(limit)
        .fetch_all(&mut *transaction)
        .await?;
        let forgotten_ms = note(&mut transaction, gone.iter().copied().max()).await?;
        transaction.commit().await?;
        self.forgotten_ms.send_replace(forgotten_ms);
        Ok(u64::try_from(gone.len()).unwrap_or(u64::MAX))
    }

    /// Returns when the last of the messages was received whose ids are forgotten, in Unix milliseconds; 0
    /// if none is.
    pub fn forgotten_ms(&self) -> u64 {
        *self.forgotten_ms.borrow()
    }
}

/// Takes down when the last of those was received that are gone, and returns since when none is.
async fn note(db: &mut SqliteConnection, last: Option<i64>) -> Result<u64, sqlx::Error> {
    let at: i64 = sqlx::query_scalar(
        "UPDATE forgotten SET received_at = max(received_at, $1) RETURNING received_at",
    )
    .bind(last.unwrap_or_default())
    .fetch_one(db)
    .await?;
    Ok(at.unsigned_abs())
}

pub(super) async fn load(readers: &SqlitePool) -> Result<u64, sqlx::Error> {
    let at: i64 =
        sqlx::query_scalar("SELECT received_at FROM forgotten").fetch_one(readers).await?;
    Ok(at.unsigned_abs())
}
