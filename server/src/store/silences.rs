//! Silences of alerts.
//!
//! Not here: what they do.

use sqlx::SqliteConnection;

use super::Error;
use super::row::{Row, to_integer};
use crate::domain::alert::Silence;

/// Adds a silence.
pub async fn add(db: &mut SqliteConnection, silence: &Silence) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO alert_silences (id, rule, subject, until, created_by, created_at, reason) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&silence.id)
    .bind(silence.rule.as_ref().map(ToString::to_string))
    .bind(&silence.subject)
    .bind(to_integer(silence.until))
    .bind(&silence.created_by)
    .bind(to_integer(silence.created_at))
    .bind(&silence.reason)
    .execute(db)
    .await?;
    Ok(())
}

/// Removes a silence.
pub async fn remove(db: &mut SqliteConnection, silence: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM alert_silences WHERE id = $1").bind(silence).execute(db).await?;
    Ok(())
}

/// Returns the silences that are not over at a time, in Unix milliseconds, by name.
pub async fn in_force(db: &mut SqliteConnection, now_ms: u64) -> Result<Vec<Silence>, Error> {
    let rows = sqlx::query("SELECT * FROM alert_silences WHERE until > $1 ORDER BY id")
        .bind(to_integer(now_ms))
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| read(&Row::new("alert_silences", row))).collect()
}

/// Forgets the silences that were over before a time.
pub async fn forget(db: &mut SqliteConnection, before_ms: u64) -> Result<(), Error> {
    sqlx::query("DELETE FROM alert_silences WHERE until <= $1")
        .bind(to_integer(before_ms))
        .execute(db)
        .await?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Silence, Error> {
    Ok(Silence {
        id: row.text("id")?,
        rule: row.parse_or_null("rule")?,
        subject: row.text_or_null("subject")?,
        until: row.number("until")?,
        created_by: row.text("created_by")?,
        created_at: row.number("created_at")?,
        reason: row.text("reason")?,
    })
}
