//! Deployments: a row for each device that was offered something or said something.

use sqlx::SqliteConnection;
use waxwing_wire::{DeviceId, ErrorCode, RolloutId};

use super::row::{Row, to_integer, to_json};
use super::{Error, Store};
use crate::domain::Deployment;

/// Adds or replaces a deployment.
pub async fn put(
    db: &mut SqliteConnection,
    rollout: &RolloutId,
    device: &DeviceId,
    deployment: &Deployment,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO deployments (rollout, device, state, code, attempt, changed_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (rollout, device) DO UPDATE SET \
         state = excluded.state, code = excluded.code, attempt = excluded.attempt, \
         changed_at = excluded.changed_at",
    )
    .bind(rollout.as_str())
    .bind(device.as_str())
    .bind(deployment.state.as_str())
    .bind(i64::from(deployment.code.0))
    .bind(i64::from(deployment.attempt))
    .bind(to_integer(deployment.changed_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Adds many deployments that begin, as one statement. Those that are there already know better.
pub async fn begin(
    db: &mut SqliteConnection,
    deployments: &[(RolloutId, DeviceId, Deployment)],
) -> Result<(), Error> {
    let rows = deployments.iter().map(|(rollout, device, begun)| {
        (rollout, device, begun.state, begun.code, begun.attempt, begun.changed_at)
    });
    sqlx::query(
        "INSERT INTO deployments (rollout, device, state, code, attempt, changed_at) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 \
         FROM json_each($1) WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(to_json(&rows.collect::<Vec<_>>()))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns all deployments.
pub async fn all(store: &Store) -> Result<Vec<(RolloutId, DeviceId, Deployment)>, Error> {
    let rows = sqlx::query("SELECT * FROM deployments").fetch_all(store.readers()).await?;
    rows.iter().map(|row| read(&Row::new("deployments", row))).collect()
}

/// Returns a page of the deployments of a rollout, by device.
pub async fn page(
    store: &Store,
    rollout: &RolloutId,
    after: &str,
    limit: u32,
) -> Result<Vec<(DeviceId, Deployment)>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM deployments WHERE rollout = $1 AND device > $2 ORDER BY device LIMIT $3",
    )
    .bind(rollout.as_str())
    .bind(after)
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    let rows = rows.iter().map(|row| read(&Row::new("deployments", row)));
    rows.map(|row| row.map(|(_, device, deployment)| (device, deployment))).collect()
}

/// Returns the deployments of a rollout.
pub async fn of_rollout(
    store: &Store,
    rollout: &RolloutId,
) -> Result<Vec<(DeviceId, Deployment)>, Error> {
    page(store, rollout, "", u32::MAX).await
}

fn read(row: &Row<'_>) -> Result<(RolloutId, DeviceId, Deployment), Error> {
    let deployment = Deployment {
        state: row.parse("state")?,
        code: ErrorCode(row.number("code")?),
        attempt: row.number("attempt")?,
        changed_at: row.number("changed_at")?,
    };
    Ok((row.parse("rollout")?, row.parse("device")?, deployment))
}
