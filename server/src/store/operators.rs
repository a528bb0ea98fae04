//! Operators: who holds an admin token, by the SHA-256 of the token.

use sqlx::SqliteConnection;
use waxwing_wire::Digest;

use super::row::{Row, to_integer};
use super::{Error, Store};

/// Adds a token.
pub async fn add(
    db: &mut SqliteConnection,
    name: &str,
    sha256: &Digest,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query("INSERT INTO admin_tokens (sha256, name, created_at) VALUES ($1, $2, $3)")
        .bind(sha256.to_string())
        .bind(name)
        .bind(to_integer(now_ms))
        .execute(db)
        .await?;
    Ok(())
}

/// Returns the hash and the name of each token.
pub async fn all(store: &Store) -> Result<Vec<(Digest, String)>, Error> {
    let rows = sqlx::query("SELECT sha256, name FROM admin_tokens ORDER BY name")
        .fetch_all(store.readers())
        .await?;
    let rows = rows.iter().map(|row| Row::new("admin_tokens", row));
    rows.map(|row| Ok((row.parse("sha256")?, row.text("name")?))).collect()
}
