//! Writes behind what polls left: last-seen, deployments that begin, and devices that join or leave
//! groups with another version, one statement each. A device is told of an offer only once it is written
//! here.

use waxwing_wire::DeviceId;

use crate::domain::Sighting;
use crate::fleet::Fleet;
use crate::store::{self, Store, deployments, devices};

/// Most devices per statement: a fifth of a second of the only writer, so that reports and operators
/// need not wait long. The rest follows in the next statement.
const DEVICES_PER_STATEMENT_MAX: usize = 10_000;

/// Writes what was seen since the last time; returns how many devices that were.
///
/// # Errors
///
/// When the database fails. Nothing is lost: the next call writes it.
pub async fn flush_sightings(store: &Store, fleet: &Fleet) -> Result<usize, store::Error> {
    let mut rest = fleet.sightings().take();
    let total = rest.len();
    while !rest.is_empty() {
        let batch = rest.split_off(rest.len().saturating_sub(DEVICES_PER_STATEMENT_MAX));
        if let Err(error) = flush(store, fleet, &batch).await {
            fleet.sightings().put_back(batch);
            fleet.sightings().put_back(rest);
            return Err(error);
        }
    }
    Ok(total)
}

async fn flush(
    store: &Store,
    fleet: &Fleet,
    batch: &[(DeviceId, Sighting)],
) -> Result<(), store::Error> {
    let mut change = store.begin().await?;
    let begun = fleet.beginnings(batch);
    let changed = fleet.seen_changed(batch);
    devices::see(change.connection(), batch).await?;
    if !changed.is_empty() {
        devices::change_some(change.connection(), &changed).await?;
    }
    if !begun.is_empty() {
        deployments::put_all(change.connection(), &begun).await?;
    }
    let turn = change.commit().await?;
    for (rollout, device, deployment) in begun {
        fleet.put_deployment(&device, &rollout, deployment);
    }
    for device in changed {
        fleet.put_device(device);
    }
    fleet.saw(batch);
    drop(turn);
    Ok(())
}
