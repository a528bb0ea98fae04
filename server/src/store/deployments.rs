//! Deployments: a row for each device that was offered something or said something.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sqlx::SqliteConnection;
use waxwing_wire::{DeviceId, ErrorCode, RolloutId};

use super::row::{Row, to_json};
use super::{Error, Store};
use crate::domain::Deployment;

/// Adds or replaces a deployment.
pub async fn put(
    db: &mut SqliteConnection,
    rollout: &RolloutId,
    device: &DeviceId,
    deployment: &Deployment,
) -> Result<(), Error> {
    put_all(db, &[(rollout.clone(), device.clone(), *deployment)]).await
}

/// Adds or replaces many deployments, as one statement.
pub async fn put_all(
    db: &mut SqliteConnection,
    deployments: &[(RolloutId, DeviceId, Deployment)],
) -> Result<(), Error> {
    let rows = deployments.iter().map(|(rollout, device, it)| {
        let Deployment { state, code, attempt, tries, hop, phase, .. } = *it;
        let Deployment { changed_at, decided_at, deferred, not_before, .. } = *it;
        (
            rollout, device, state, code, attempt, tries, hop, phase, changed_at, decided_at,
            deferred, not_before,
        )
    });
    sqlx::query(
        "INSERT INTO deployments \
         (rollout, device, state, code, attempt, tries, hop, phase, changed_at, decided_at, \
         deferred, not_before) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
         value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11 \
         FROM json_each($1) WHERE true ON CONFLICT (rollout, device) DO UPDATE SET \
         state = excluded.state, code = excluded.code, attempt = excluded.attempt, \
         tries = excluded.tries, hop = excluded.hop, phase = excluded.phase, \
         changed_at = excluded.changed_at, decided_at = excluded.decided_at, \
         deferred = excluded.deferred, not_before = excluded.not_before",
    )
    .bind(to_json(&rows.collect::<Vec<_>>()))
    .execute(db)
    .await?;
    Ok(())
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
    db: &mut SqliteConnection,
    rollout: &RolloutId,
) -> Result<HashMap<DeviceId, Deployment>, Error> {
    let mut rows = sqlx::query("SELECT * FROM deployments WHERE rollout = $1")
        .bind(rollout.as_str())
        .fetch(db);
    let mut deployments = HashMap::new();
    while let Some(row) = rows.try_next().await? {
        let (_, device, deployment) = read(&Row::new("deployments", &row))?;
        deployments.insert(device, deployment);
    }
    Ok(deployments)
}

fn read(row: &Row<'_>) -> Result<(RolloutId, DeviceId, Deployment), Error> {
    let deployment = Deployment {
        state: row.parse("state")?,
        code: ErrorCode(row.number("code")?),
        attempt: row.number("attempt")?,
        tries: row.number("tries")?,
        hop: row.number("hop")?,
        phase: row.number("phase")?,
        changed_at: row.number("changed_at")?,
        decided_at: row.number("decided_at")?,
        deferred: row.number("deferred")?,
        not_before: row.number("not_before")?,
    };
    Ok((row.parse("rollout")?, row.parse("device")?, deployment))
}
