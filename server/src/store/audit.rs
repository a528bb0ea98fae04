//! The audit log: written in the transaction of each change, read by page.

use sqlx::SqliteConnection;

use super::row::{Row, to_integer};
use super::{Error, Store};
use crate::domain::audit::{Action, Entry};

/// Adds a line.
pub async fn add(db: &mut SqliteConnection, entry: &Entry) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO audit (at, actor, action, subject, reason, detail) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(to_integer(entry.at))
    .bind(&entry.actor)
    .bind(entry.action.as_str())
    .bind(&entry.subject)
    .bind(&entry.reason)
    .bind(entry.detail.to_string())
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the lines after a line number, oldest first, each with its number.
pub async fn page(store: &Store, after: i64, limit: u32) -> Result<Vec<(i64, Entry)>, Error> {
    let rows = sqlx::query("SELECT * FROM audit WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(limit)
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(|row| read(&Row::new("audit", row))).collect()
}

fn read(row: &Row<'_>) -> Result<(i64, Entry), Error> {
    let entry = Entry {
        at: row.number("at")?,
        actor: row.text("actor")?,
        action: row.word("action", Action::parse)?,
        subject: row.text("subject")?,
        reason: row.text("reason")?,
        detail: row.json("detail")?,
    };
    Ok((row.number("id")?, entry))
}
