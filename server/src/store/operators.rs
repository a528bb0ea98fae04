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

/// Somebody who may do everything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operator {
    /// The name in the audit log.
    pub name: String,
    /// When the operator was added, in Unix milliseconds.
    pub created_at: u64,
    /// SHA-256 of the token.
    pub sha256: Digest,
    /// SHA-256 of the token before, and until when it is good, in Unix milliseconds.
    pub previous: Option<(Digest, u64)>,
}

/// Replaces the token of an operator; the present one is good until `until_ms`, and the one before it
/// no more.
pub async fn replace(
    db: &mut SqliteConnection,
    name: &str,
    sha256: &Digest,
    until_ms: u64,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE admin_tokens SET previous_sha256 = sha256, previous_until = $3, sha256 = $2 \
         WHERE name = $1",
    )
    .bind(name)
    .bind(sha256.to_string())
    .bind(to_integer(until_ms))
    .execute(db)
    .await?;
    Ok(())
}

/// Removes an operator, whose tokens are good no more.
pub async fn remove(db: &mut SqliteConnection, name: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM admin_tokens WHERE name = $1").bind(name).execute(db).await?;
    Ok(())
}

/// Returns all operators, by name.
pub async fn all(store: &Store) -> Result<Vec<Operator>, Error> {
    let rows =
        sqlx::query("SELECT * FROM admin_tokens ORDER BY name").fetch_all(store.readers()).await?;
    let rows = rows.iter().map(|row| Row::new("admin_tokens", row));
    let operators = rows.map(|row| {
        let previous = match row.number_or_null("previous_until")? {
            Some(until_ms) => Some((row.parse("previous_sha256")?, until_ms)),
            None => None,
        };
        let (name, created_at) = (row.text("name")?, row.number("created_at")?);
        Ok(Operator { name, created_at, sha256: row.parse("sha256")?, previous })
    });
    operators.collect()
}
