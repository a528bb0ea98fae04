//! Enrolment: tokens, and the certificates they and renewals bring.
//!
//! Not here: whether a token or a renewal is good. That is asked before anything is written.

use sqlx::SqliteConnection;
use waxwing_wire::{DeviceId, Digest};

use super::row::{Row, to_integer};
use super::{Error, Store};
use crate::domain::device::CertificateStatus;

/// An enrolment token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// Whose it is.
    pub device: DeviceId,
    /// Until when it is good, in Unix milliseconds.
    pub expires_at: u64,
    /// What it was spent on.
    pub spent_on: Option<Issued>,
    /// When it was last noted that it came again with another key, in Unix milliseconds.
    pub misused_at: Option<u64>,
}

/// A certificate as it was issued.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issued {
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// The public key as `SubjectPublicKeyInfo`, DER.
    pub spki: Vec<u8>,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// When, in Unix milliseconds.
    pub issued_at: u64,
    /// Its notAfter, in Unix milliseconds.
    pub expires_at: u64,
}

/// Adds a token by the SHA-256 of its text; those of the device that were not spent are good no more.
pub async fn add_token(
    db: &mut SqliteConnection,
    sha256: &Digest,
    device: &DeviceId,
    now_ms: u64,
    expires_at: u64,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM tokens WHERE device = $1 AND serial IS NULL")
        .bind(device.as_str())
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "INSERT INTO tokens (sha256, device, created_at, expires_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(sha256.to_string())
    .bind(device.as_str())
    .bind(to_integer(now_ms))
    .bind(to_integer(expires_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns a token by the SHA-256 of its text. To spend it, ask inside the change that does, so that
/// it cannot be spent twice.
pub async fn token(db: &mut SqliteConnection, sha256: &Digest) -> Result<Option<Token>, Error> {
    let row = sqlx::query(
        "SELECT tokens.device AS token_device, tokens.expires_at AS token_expires_at, \
         tokens.misused_at AS misused_at, certificates.* FROM tokens LEFT JOIN certificates USING (serial) \
         WHERE tokens.sha256 = $1",
    )
    .bind(sha256.to_string())
    .fetch_optional(db)
    .await?;
    let Some(row) = &row else { return Ok(None) };
    let row = Row::new("tokens", row);
    let spent_on = match row.text_or_null("serial")? {
        Some(_) => Some(read_issued(&row)?),
        None => None,
    };
    Ok(Some(Token {
        device: row.parse("token_device")?,
        expires_at: row.number("token_expires_at")?,
        spent_on,
        misused_at: row.number_or_null("misused_at")?,
    }))
}

/// Remembers that it was noted that a spent token came with another key.
pub async fn note_misuse(
    db: &mut SqliteConnection,
    sha256: &Digest,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query("UPDATE tokens SET misused_at = $2 WHERE sha256 = $1")
        .bind(sha256.to_string())
        .bind(to_integer(now_ms))
        .execute(db)
        .await?;
    Ok(())
}

/// Remembers what a token was spent on.
pub async fn spend(db: &mut SqliteConnection, sha256: &Digest, serial: &str) -> Result<(), Error> {
    sqlx::query("UPDATE tokens SET serial = $2 WHERE sha256 = $1")
        .bind(sha256.to_string())
        .bind(serial)
        .execute(db)
        .await?;
    Ok(())
}

/// Adds a certificate of a device.
pub async fn add_certificate(
    db: &mut SqliteConnection,
    device: &DeviceId,
    issued: &Issued,
    status: CertificateStatus,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO certificates (serial, device, spki, der, status, issued_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&issued.serial)
    .bind(device.as_str())
    .bind(&issued.spki)
    .bind(&issued.der)
    .bind(status.as_str())
    .bind(to_integer(issued.issued_at))
    .bind(to_integer(issued.expires_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns a certificate that is not revoked.
pub async fn certificate(db: &mut SqliteConnection, serial: &str) -> Result<Option<Issued>, Error> {
    let row = sqlx::query("SELECT * FROM certificates WHERE serial = $1 AND status <> 'revoked'")
        .bind(serial)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(|row| read_issued(&Row::new("certificates", row))).transpose()
}

/// Returns when a device last got a certificate for an older one rather than for a token, in Unix
/// milliseconds.
pub async fn renewed_at(
    db: &mut SqliteConnection,
    device: &DeviceId,
) -> Result<Option<u64>, Error> {
    let row = sqlx::query(
        "SELECT MAX(issued_at) AS renewed_at FROM certificates WHERE device = $1 \
         AND NOT EXISTS (SELECT 1 FROM tokens WHERE tokens.serial = certificates.serial)",
    )
    .bind(device.as_str())
    .fetch_one(db)
    .await?;
    Row::new("certificates", &row).number_or_null("renewed_at")
}

/// Takes away the certificate that a device got and never used. Its row stays, as an old one, only
/// while something refers to it: the token that bought it, or a report signed with its key.
pub async fn drop_next(db: &mut SqliteConnection, device: &DeviceId) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM certificates WHERE device = $1 AND status = 'next' \
         AND NOT EXISTS (SELECT 1 FROM tokens WHERE tokens.serial = certificates.serial) \
         AND NOT EXISTS (SELECT 1 FROM reports WHERE reports.serial = certificates.serial)",
    )
    .bind(device.as_str())
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE certificates SET status = 'old' WHERE device = $1 AND status = 'next'")
        .bind(device.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Makes a certificate the device's current one, and the one before it an old one. Doing it twice
/// changes nothing.
pub async fn promote(
    db: &mut SqliteConnection,
    device: &DeviceId,
    serial: &str,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE certificates SET status = CASE serial WHEN $2 THEN 'current' ELSE 'old' END \
         WHERE device = $1 AND status IN ('current', 'next')",
    )
    .bind(device.as_str())
    .bind(serial)
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the device that a key was last certified for, if it ever was.
pub async fn owner(db: &mut SqliteConnection, spki: &[u8]) -> Result<Option<DeviceId>, Error> {
    let row = sqlx::query(
        "SELECT device FROM certificates WHERE spki = $1 ORDER BY issued_at DESC LIMIT 1",
    )
    .bind(spki)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(|row| Row::new("certificates", row).parse("device")).transpose()
}

/// Returns the serial numbers of the revoked certificates whose life had not ended at `alive_at`,
/// with the time of their revocation, in Unix milliseconds.
pub async fn revoked(store: &Store, alive_at: u64) -> Result<Vec<(String, u64)>, Error> {
    let rows = sqlx::query(
        "SELECT serial, revoked_at FROM certificates \
         WHERE revoked_at IS NOT NULL AND expires_at >= $1 ORDER BY revoked_at, serial",
    )
    .bind(to_integer(alive_at))
    .fetch_all(store.readers())
    .await?;
    let rows = rows.iter().map(|row| Row::new("certificates", row));
    rows.map(|row| Ok((row.text("serial")?, row.number("revoked_at")?))).collect()
}

/// Counts the certificates in use: all of them, then those that end at each of these times, in Unix
/// milliseconds, or before.
pub async fn certificates_until(store: &Store, until_ms: [u64; 4]) -> Result<[u64; 5], Error> {
    let [a, b, c, d] = until_ms.map(to_integer);
    let row = sqlx::query(
        "SELECT COUNT(*) AS total, COUNT(*) FILTER (WHERE expires_at <= $1) AS first, \
         COUNT(*) FILTER (WHERE expires_at <= $2) AS second, \
         COUNT(*) FILTER (WHERE expires_at <= $3) AS third, \
         COUNT(*) FILTER (WHERE expires_at <= $4) AS fourth \
         FROM certificates WHERE status = 'current'",
    )
    .bind(a)
    .bind(b)
    .bind(c)
    .bind(d)
    .fetch_one(store.readers())
    .await?;
    let row = Row::new("certificates", &row);
    Ok([
        row.number("total")?,
        row.number("first")?,
        row.number("second")?,
        row.number("third")?,
        row.number("fourth")?,
    ])
}

/// Returns a certificate of a device by its serial number, whatever has become of it.
pub async fn issued(
    db: &mut SqliteConnection,
    device: &DeviceId,
    serial: &str,
) -> Result<Option<Issued>, Error> {
    let row = sqlx::query("SELECT * FROM certificates WHERE device = $1 AND serial = $2")
        .bind(device.as_str())
        .bind(serial)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(|row| read_issued(&Row::new("certificates", row))).transpose()
}

fn read_issued(row: &Row<'_>) -> Result<Issued, Error> {
    Ok(Issued {
        serial: row.text("serial")?,
        spki: row.bytes("spki")?,
        der: row.bytes("der")?,
        issued_at: row.number("issued_at")?,
        expires_at: row.number("expires_at")?,
    })
}
