//! Devices with the certificates they may use.

mod all;

use std::collections::HashMap;

use semver::Version;
use sqlx::SqliteConnection;
use waxwing_wire::{DeviceId, Digest, ProductId};

pub use self::all::{Stored, for_each};

use super::row::{Row, to_integer, to_json};
use super::{Error, Store, device_gateways, device_readers, sessions};
use crate::domain::{Device, Running, Sighting};

/// What was last seen of a device, up to a second ago.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// Release that ran.
    pub version: Version,
    /// Image that ran.
    pub sha256: Digest,
    /// The device's floor.
    pub security_version: u32,
    /// The pins by which it knew us, if they were not those of its firmware.
    pub pins: Option<Digest>,
}

impl Seen {
    /// Returns what it ran.
    pub fn running(&self) -> Running {
        Running {
            version: self.version.clone(),
            sha256: self.sha256,
            security_version: self.security_version,
            pins: self.pins,
            out_s: 0,
        }
    }
}

/// Adds a device.
pub async fn add(db: &mut SqliteConnection, device: &Device) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO devices \
         (id, product, tags, status, created_at, changed_at, attributes, reported_attributes, \
         message_secret) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(device.id.as_str())
    .bind(device.product.as_str())
    .bind(to_json(&device.tags))
    .bind(device.status.as_str())
    .bind(to_integer(device.created_at))
    .bind(to_integer(device.changed_at))
    .bind(to_json(&device.attributes.given))
    .bind(to_json(&device.attributes.reported))
    .bind(&device.message_secret)
    .execute(db)
    .await?;
    Ok(())
}

/// Writes tags, attributes, status, sealed secret and time of change.
pub async fn update(db: &mut SqliteConnection, device: &Device) -> Result<(), Error> {
    sqlx::query(
        "UPDATE devices SET tags = $2, status = $3, changed_at = $4, attributes = $5, \
         reported_attributes = $6, message_secret = $7 WHERE id = $1",
    )
    .bind(device.id.as_str())
    .bind(to_json(&device.tags))
    .bind(device.status.as_str())
    .bind(to_integer(device.changed_at))
    .bind(to_json(&device.attributes.given))
    .bind(to_json(&device.attributes.reported))
    .bind(&device.message_secret)
    .execute(db)
    .await?;
    Ok(())
}

/// Writes when something changed for each of these devices, as one statement.
pub async fn change_some(db: &mut SqliteConnection, devices: &[Device]) -> Result<(), Error> {
    let rows = devices.iter().map(|device| (&device.id, device.changed_at));
    sqlx::query(
        "UPDATE devices SET changed_at = changed.value ->> 1 \
         FROM json_each($1) AS changed WHERE devices.id = changed.value ->> 0",
    )
    .bind(to_json(&rows.collect::<Vec<_>>()))
    .execute(db)
    .await?;
    Ok(())
}

/// Writes that something changed for every device.
pub async fn change_all(db: &mut SqliteConnection, at: u64) -> Result<(), Error> {
    sqlx::query("UPDATE devices SET changed_at = $1 WHERE changed_at < $1")
        .bind(to_integer(at))
        .execute(db)
        .await?;
    Ok(())
}

/// Takes all certificates and unspent tokens from a device.
pub async fn shut_out(
    db: &mut SqliteConnection,
    device: &DeviceId,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query("UPDATE certificates SET status = 'revoked', revoked_at = $2 WHERE device = $1")
        .bind(device.as_str())
        .bind(to_integer(now_ms))
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM tokens WHERE device = $1")
        .bind(device.as_str())
        .execute(&mut *db)
        .await?;
    device_gateways::forget(&mut *db, device).await?;
    device_readers::forget(&mut *db, device).await?;
    sessions::remove(db, device).await
}

/// Writes what was seen of many devices, as one statement.
pub async fn see(
    db: &mut SqliteConnection,
    sightings: &[(DeviceId, Sighting)],
) -> Result<(), Error> {
    let rows = sightings.iter().map(|(device, seen)| {
        let running = &seen.running;
        let pins = running.pins;
        (device, seen.at, &running.version, running.sha256, running.security_version, pins)
    });
    sqlx::query(
        "UPDATE devices SET seen_at = seen.value ->> 1, version = seen.value ->> 2, \
         sha256 = seen.value ->> 3, security_version = seen.value ->> 4, \
         pins = seen.value ->> 5 \
         FROM json_each($1) AS seen WHERE devices.id = seen.value ->> 0",
    )
    .bind(to_json(&rows.collect::<Vec<_>>()))
    .execute(db)
    .await?;
    Ok(())
}

/// Writes when devices last said something by a message, as one statement.
pub async fn hear(db: &mut SqliteConnection, heard: &[(DeviceId, u64)]) -> Result<(), Error> {
    sqlx::query(
        "UPDATE devices SET heard_at = heard.value ->> 1 FROM json_each($1) AS heard \
         WHERE devices.id = heard.value ->> 0 AND coalesce(heard_at, 0) < heard.value ->> 1",
    )
    .bind(to_json(&heard))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns what was last seen of a device.
pub async fn seen(store: &Store, device: &DeviceId) -> Result<Option<Seen>, Error> {
    let row = sqlx::query("SELECT * FROM devices WHERE id = $1")
        .bind(device.as_str())
        .fetch_optional(store.readers())
        .await?;
    row.as_ref().map_or(Ok(None), |row| read_seen(&Row::new("devices", row)))
}

/// Returns what each device of a product was last seen with; those never seen are left out.
pub async fn running_of(
    store: &Store,
    product: &ProductId,
) -> Result<HashMap<DeviceId, Running>, Error> {
    let rows = sqlx::query(
        "SELECT id, seen_at, version, sha256, security_version, pins FROM devices \
         WHERE product = $1 AND seen_at IS NOT NULL",
    )
    .bind(product.as_str())
    .fetch_all(store.readers())
    .await?;
    let rows = rows.iter().map(|row| Row::new("devices", row));
    let seen = rows.filter_map(|row| {
        let running = read_seen(&row).transpose()?;
        Some(running.and_then(|seen| Ok((row.parse("id")?, seen.running()))))
    });
    seen.collect()
}

/// Returns a page of devices by name, each with what was last seen of it.
pub async fn page(
    store: &Store,
    product: Option<&str>,
    after: &str,
    limit: u32,
) -> Result<Vec<(DeviceId, Option<Seen>)>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM devices WHERE id > $1 AND ($2 IS NULL OR product = $2) \
         ORDER BY id LIMIT $3",
    )
    .bind(after)
    .bind(product)
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    let rows = rows.iter().map(|row| Row::new("devices", row));
    rows.map(|row| Ok((row.parse("id")?, read_seen(&row)?))).collect()
}

fn read_seen(row: &Row<'_>) -> Result<Option<Seen>, Error> {
    let Some(at) = row.number_or_null("seen_at")? else { return Ok(None) };
    Ok(Some(Seen {
        at,
        version: row.parse("version")?,
        sha256: row.parse("sha256")?,
        security_version: row.number("security_version")?,
        pins: row.text_or_null("pins")?.map(|_| row.parse("pins")).transpose()?,
    }))
}
