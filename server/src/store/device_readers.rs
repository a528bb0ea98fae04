//! Which devices may read what another one says.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;
use waxwing_wire::DeviceId;
use waxwing_wire::topic::Kind;

use super::row::{Row, to_integer, to_json};
use super::{Error, Store};

/// A device that may read what another one says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// What is read.
    pub device: DeviceId,
    /// Who may read it.
    pub reader: DeviceId,
    /// Which messages.
    pub kinds: BTreeSet<Kind>,
    /// When it was granted, in Unix milliseconds.
    pub granted_at: u64,
}

/// Grants something, in the place of what was granted to the same reader of the same device.
pub async fn put(db: &mut SqliteConnection, grant: &Grant) -> Result<(), Error> {
    let kinds: Vec<_> = grant.kinds.iter().map(|kind| kind.as_str()).collect();
    sqlx::query(
        "INSERT INTO device_readers (device, reader, kinds, granted_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (device, reader) DO UPDATE SET kinds = excluded.kinds, \
         granted_at = excluded.granted_at",
    )
    .bind(grant.device.as_str())
    .bind(grant.reader.as_str())
    .bind(to_json(&kinds))
    .bind(to_integer(grant.granted_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Takes a grant back, and returns whether there was one.
pub async fn remove(
    db: &mut SqliteConnection,
    device: &DeviceId,
    reader: &DeviceId,
) -> Result<bool, Error> {
    let removed = sqlx::query("DELETE FROM device_readers WHERE device = $1 AND reader = $2")
        .bind(device.as_str())
        .bind(reader.as_str())
        .execute(db)
        .await?;
    Ok(removed.rows_affected() > 0)
}

/// Takes back everything that a device may read, and that others may read of it.
pub async fn forget(db: &mut SqliteConnection, device: &DeviceId) -> Result<(), Error> {
    sqlx::query("DELETE FROM device_readers WHERE device = $1 OR reader = $1")
        .bind(device.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Returns who may read what a device says, and what the device may read itself.
pub async fn of(store: &Store, device: &DeviceId) -> Result<Vec<Grant>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM device_readers WHERE device = $1 OR reader = $1 ORDER BY device, reader",
    )
    .bind(device.as_str())
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| read(&Row::new("device_readers", row))).collect()
}

/// Returns all grants.
pub async fn all(store: &Store) -> Result<Vec<Grant>, Error> {
    let rows = sqlx::query("SELECT * FROM device_readers").fetch_all(store.readers()).await?;
    rows.iter().map(|row| read(&Row::new("device_readers", row))).collect()
}

fn read(row: &Row<'_>) -> Result<Grant, Error> {
    let words: Vec<String> = row.json("kinds")?;
    let kind = |word: &String| Kind::ALL.into_iter().find(|kind| kind.as_str() == word);
    let kinds = words.iter().map(kind).collect::<Option<BTreeSet<_>>>();
    Ok(Grant {
        device: row.parse("device")?,
        reader: row.parse("reader")?,
        kinds: kinds.ok_or_else(|| row.damaged("kinds", &words.join(" ")))?,
        granted_at: row.number("granted_at")?,
    })
}
