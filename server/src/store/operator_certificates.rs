//! The certificates with which operators listen over MQTT. A revoked one is removed: what is not here is
//! good for nothing.

use sqlx::SqliteConnection;

use super::row::{Row, to_integer};
use super::{Error, Store};

/// A certificate of an operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OperatorCertificate {
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// Whose it is.
    pub operator: String,
    /// When it was issued, in Unix milliseconds.
    pub issued_at: u64,
    /// Its notAfter, in Unix milliseconds.
    pub expires_at: u64,
}

/// Adds a certificate.
pub async fn add(
    db: &mut SqliteConnection,
    certificate: &OperatorCertificate,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO operator_certificates (serial, operator, issued_at, expires_at) \
         VALUES ($1, $2, $3, $4)",
    )
    .bind(&certificate.serial)
    .bind(&certificate.operator)
    .bind(to_integer(certificate.issued_at))
    .bind(to_integer(certificate.expires_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the certificates of an operator that have not ended, by serial number.
pub async fn of_operator(
    store: &Store,
    operator: &str,
    now_ms: u64,
) -> Result<Vec<OperatorCertificate>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM operator_certificates WHERE operator = $1 AND expires_at > $2 \
         ORDER BY serial",
    )
    .bind(operator)
    .bind(to_integer(now_ms))
    .fetch_all(store.readers())
    .await?;
    let rows = rows.iter().map(|row| Row::new("operator_certificates", row));
    let certificate = |row: Row<'_>| {
        Ok(OperatorCertificate {
            serial: row.text("serial")?,
            operator: row.text("operator")?,
            issued_at: row.number("issued_at")?,
            expires_at: row.number("expires_at")?,
        })
    };
    rows.map(certificate).collect()
}

/// Tells whether a certificate of an operator is good.
pub async fn is_good(
    store: &Store,
    operator: &str,
    serial: &str,
    now_ms: u64,
) -> Result<bool, Error> {
    let all = of_operator(store, operator, now_ms).await?;
    Ok(all.iter().any(|certificate| certificate.serial == serial))
}

/// Removes a certificate of an operator, and returns whether there was one.
pub async fn remove(
    db: &mut SqliteConnection,
    operator: &str,
    serial: &str,
) -> Result<bool, Error> {
    let removed =
        sqlx::query("DELETE FROM operator_certificates WHERE operator = $1 AND serial = $2")
            .bind(operator)
            .bind(serial)
            .execute(db)
            .await?;
    Ok(removed.rows_affected() > 0)
}

/// Removes all certificates of an operator.
pub async fn remove_all(db: &mut SqliteConnection, operator: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM operator_certificates WHERE operator = $1")
        .bind(operator)
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets certificates that have ended.
pub async fn forget(db: &mut SqliteConnection, now_ms: u64) -> Result<(), Error> {
    sqlx::query("DELETE FROM operator_certificates WHERE expires_at <= $1")
        .bind(to_integer(now_ms))
        .execute(db)
        .await?;
    Ok(())
}
