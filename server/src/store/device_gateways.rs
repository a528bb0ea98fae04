//! Which devices may carry what another one says.

use sqlx::SqliteConnection;
use waxwing_wire::DeviceId;

use super::row::{Row, to_integer};
use super::{Error, Store};

/// A device that may carry what another one says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// Whose messages and firmware are carried.
    pub device: DeviceId,
    /// Who may carry them.
    pub gateway: DeviceId,
    /// When it was granted, in Unix milliseconds.
    pub granted_at: u64,
}

/// Grants something, and returns whether it was not granted before.
pub async fn add(db: &mut SqliteConnection, grant: &Grant) -> Result<bool, Error> {
    let added = sqlx::query(
        "INSERT INTO device_gateways (device, gateway, granted_at) VALUES ($1, $2, $3) \
         ON CONFLICT (device, gateway) DO NOTHING",
    )
    .bind(grant.device.as_str())
    .bind(grant.gateway.as_str())
    .bind(to_integer(grant.granted_at))
    .execute(db)
    .await?;
    Ok(added.rows_affected() > 0)
}

/// Takes a grant back, and returns whether there was one.
pub async fn remove(
    db: &mut SqliteConnection,
    device: &DeviceId,
    gateway: &DeviceId,
) -> Result<bool, Error> {
    let removed = sqlx::query("DELETE FROM device_gateways WHERE device = $1 AND gateway = $2")
        .bind(device.as_str())
        .bind(gateway.as_str())
        .execute(db)
        .await?;
    Ok(removed.rows_affected() > 0)
}

/// Takes back what a device may carry, and who may carry for it.
pub async fn forget(db: &mut SqliteConnection, device: &DeviceId) -> Result<(), Error> {
    sqlx::query("DELETE FROM device_gateways WHERE device = $1 OR gateway = $1")
        .bind(device.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Returns who may carry for a device, and for whom it may carry itself.
pub async fn of(store: &Store, device: &DeviceId) -> Result<Vec<Grant>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM device_gateways WHERE device = $1 OR gateway = $1 ORDER BY device, gateway",
    )
    .bind(device.as_str())
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| read(&Row::new("device_gateways", row))).collect()
}

/// Returns all grants.
pub async fn all(store: &Store) -> Result<Vec<Grant>, Error> {
    let rows = sqlx::query("SELECT * FROM device_gateways").fetch_all(store.readers()).await?;
    rows.iter().map(|row| read(&Row::new("device_gateways", row))).collect()
}

fn read(row: &Row<'_>) -> Result<Grant, Error> {
    Ok(Grant {
        device: row.parse("device")?,
        gateway: row.parse("gateway")?,
        granted_at: row.number("granted_at")?,
    })
}
