//! What was signed about the log, kept for good.
//!
//! Not here: whether a signature is genuine.

use sqlx::SqliteConnection;
use waxwing_audit::Note;

use super::super::row::{Row, to_integer};
use super::super::{Error, Store};

/// A checkpoint with its number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Its number.
    pub id: i64,
    /// The signed note, as stored.
    pub note: String,
}

/// Adds a checkpoint and returns its number.
pub async fn add_checkpoint(db: &mut SqliteConnection, note: &Note) -> Result<i64, Error> {
    let checkpoint = note.unverified();
    let row = sqlx::query(
        "INSERT INTO audit_checkpoints (size, signed_at, note) VALUES ($1, $2, $3) RETURNING id",
    )
    .bind(checkpoint.head.size)
    .bind(to_integer(checkpoint.at.as_millis()))
    .bind(note.to_text())
    .fetch_one(db)
    .await?;
    Row::new("audit_checkpoints", &row).number("id")
}

/// Returns the checkpoints after a number, oldest first.
pub async fn checkpoints(store: &Store, after: i64, limit: u32) -> Result<Vec<Stored>, Error> {
    let rows = sqlx::query("SELECT * FROM audit_checkpoints WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(limit)
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(|row| read(&Row::new("audit_checkpoints", row))).collect()
}

/// Returns the checkpoint that was stored last.
pub async fn last_checkpoint(db: &mut SqliteConnection) -> Result<Option<Stored>, Error> {
    let row = sqlx::query("SELECT * FROM audit_checkpoints ORDER BY id DESC LIMIT 1");
    let row = row.fetch_optional(db).await?;
    row.as_ref().map(|row| read(&Row::new("audit_checkpoints", row))).transpose()
}

fn read(row: &Row<'_>) -> Result<Stored, Error> {
    Ok(Stored { id: row.number("id")?, note: row.as_stored("note")? })
}
