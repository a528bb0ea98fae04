//! Writes behind what polls left: last-seen, deployments that begin, and devices that join or leave
//! groups with another version, one statement each. A device is told of an offer only once it is written
//! here.

use waxwing_wire::DeviceId;

use crate::domain::Sighting;
use crate::fleet::Fleet;
use crate::store::{self, Store, effects};

/// Most devices per statement: a fifth of a second of the only writer, so that reports and operators
/// need not wait long. The rest follows in the next statement.
const DEVICES_PER_STATEMENT_MAX: usize = 10_000;

/// Writes what was seen since the last time; returns how many devices that were.
///
/// # Errors
///
/// When the database fails. Nothing is lost: the next call writes it.
pub async fn flush_sightings(store: &Store, fleet: &Fleet) -> Result<usize, store::Error> {
    let mut polls = fleet.sightings().take();
    let mut written = 0;
    for batch in polls.chunks(DEVICES_PER_STATEMENT_MAX) {
        if let Err(error) = flush(store, fleet, batch).await {
            polls.drain(..written);
            fleet.sightings().put_back(polls);
            return Err(error);
        }
        written += batch.len();
    }
    Ok(written)
}

async fn flush(
    store: &Store,
    fleet: &Fleet,
    batch: &[(DeviceId, Sighting)],
) -> Result<(), store::Error> {
    let mut change = store.begin().await?;
    let effect = fleet.on_polls(batch);
    effects::write(change.connection(), &effect).await?;
    let turn = change.commit().await?;
    fleet.show(effect);
    drop(turn);
    Ok(())
}
