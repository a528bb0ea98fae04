//! Up to when the polls were sealed that gateways carried.

use sqlx::SqliteConnection;

use super::row::{Row, to_integer};
use super::{Error, Store};

/// Raises the mark, in Unix seconds. It never falls.
pub async fn raise(db: &mut SqliteConnection, sealed_s: u64) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO carried_polls (id, sealed_s) VALUES (1, $1) ON CONFLICT (id) \
         DO UPDATE SET sealed_s = max(sealed_s, excluded.sealed_s)",
    )
    .bind(to_integer(sealed_s))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the mark in Unix seconds; 0 if none was ever kept.
pub async fn read(store: &Store) -> Result<u64, Error> {
    let row = sqlx::query("SELECT * FROM carried_polls").fetch_optional(store.readers()).await?;
    row.as_ref().map_or(Ok(0), |row| Row::new("carried_polls", row).number("sealed_s"))
}
