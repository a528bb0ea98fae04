//! The Director's clock mark: how far the database knows of what was signed.

use sqlx::SqliteConnection;

use super::row::{Row, to_integer};
use super::{Error, Store};

/// Raises the mark, in Unix milliseconds. It never falls.
pub async fn raise(db: &mut SqliteConnection, wall_ms: u64) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO clock_mark (id, wall_ms) VALUES (1, $1) ON CONFLICT (id) \
         DO UPDATE SET wall_ms = excluded.wall_ms WHERE excluded.wall_ms > clock_mark.wall_ms",
    )
    .bind(to_integer(wall_ms))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the mark in Unix milliseconds; 0 if none was ever kept.
pub async fn read(store: &Store) -> Result<u64, Error> {
    let row = sqlx::query("SELECT * FROM clock_mark").fetch_optional(store.readers()).await?;
    row.as_ref().map_or(Ok(0), |row| Row::new("clock_mark", row).number("wall_ms"))
}
