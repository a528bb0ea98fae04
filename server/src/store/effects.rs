//! Effects: everything that follows from one thing, in one transaction.

use sqlx::SqliteConnection;

use super::{Error, audit, contact, deployments, devices, rollouts, webhooks};
use crate::domain::effect::Effect;

/// Writes an effect.
pub async fn write(db: &mut SqliteConnection, effect: &Effect<'_>) -> Result<(), Error> {
    if !effect.sightings.is_empty() {
        devices::see(&mut *db, effect.sightings).await?;
    }
    if !effect.devices.is_empty() {
        devices::change_some(&mut *db, &effect.devices).await?;
    }
    if !effect.deployments.is_empty() {
        deployments::put_all(&mut *db, &effect.deployments).await?;
    }
    if !effect.lost.is_empty() {
        contact::add(&mut *db, &effect.lost).await?;
    }
    for moved in &effect.moved {
        rollouts::update(&mut *db, &moved.rollout).await?;
        audit::add(&mut *db, &moved.entry()).await?;
        webhooks::tell(db, &moved.event()).await?;
    }
    Ok(())
}
