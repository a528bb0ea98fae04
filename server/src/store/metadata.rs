//! Signed metadata files, under the names devices ask for: `2.root.json`, `timestamp.json`, ...
//!
//! Not here: whether to believe them. Who stores a file has had it verified.

use sqlx::SqliteConnection;

use super::row::{Row, to_integer};
use super::{Error, Store};

/// The name of the Director's repository.
pub const DIRECTOR: &str = "director";

/// Adds or replaces a file.
pub async fn put(
    db: &mut SqliteConnection,
    repository: &str,
    name: &str,
    body: &[u8],
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO metadata (repository, name, body, stored_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (repository, name) \
         DO UPDATE SET body = excluded.body, stored_at = excluded.stored_at",
    )
    .bind(repository)
    .bind(name)
    .bind(body)
    .bind(to_integer(now_ms))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns a file with the time at which it was stored, in Unix milliseconds.
pub async fn find(
    store: &Store,
    repository: &str,
    name: &str,
) -> Result<Option<(Vec<u8>, u64)>, Error> {
    let row =
        sqlx::query("SELECT body, stored_at FROM metadata WHERE repository = $1 AND name = $2")
            .bind(repository)
            .bind(name)
            .fetch_optional(store.readers())
            .await?;
    let row = row.as_ref().map(|row| Row::new("metadata", row));
    row.map(|row| Ok((row.bytes("body")?, row.number("stored_at")?))).transpose()
}

/// Returns all files of a repository with their names.
pub async fn all(store: &Store, repository: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let rows = sqlx::query("SELECT name, body FROM metadata WHERE repository = $1 ORDER BY name")
        .bind(repository)
        .fetch_all(store.readers())
        .await?;
    let rows = rows.iter().map(|row| Row::new("metadata", row));
    rows.map(|row| Ok((row.text("name")?, row.bytes("body")?))).collect()
}
