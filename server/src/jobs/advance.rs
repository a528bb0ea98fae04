//! Moves rollouts on: to the next phase when the gate is passed, to the end when everybody is. Gives up
//! on devices that are silent; what that is evidence against halts in the same transaction.

use waxwing_wire::RolloutId;

use crate::domain::rollout::Decision;
use crate::fleet::Fleet;
use crate::store::{self, Store, effects};

/// Most deployments that are given up in one statement, so that others need not wait long. The rest
/// follows a second later.
const GIVEN_UP_AT_ONCE_MAX: usize = 10_000;

/// Moves every open rollout as far as its counts allow; returns how many moved.
///
/// # Errors
///
/// When the database fails. What was not moved is moved by the next call.
pub async fn advance_rollouts(
    store: &Store,
    fleet: &Fleet,
    now_ms: u64,
) -> Result<usize, store::Error> {
    give_up(store, fleet, now_ms).await?;
    let mut moved = 0;
    for rollout in fleet.open_rollouts() {
        let (evidence, health) = (fleet.evidence(&rollout.id), fleet.health(&rollout.id));
        if let Some(decision) = rollout.decide(&evidence, &health, now_ms) {
            moved += usize::from(carry_out(store, fleet, &rollout.id, &decision, now_ms).await?);
        }
    }
    Ok(moved)
}

/// Ends or withdraws the deployments whose time has run out.
async fn give_up(store: &Store, fleet: &Fleet, now_ms: u64) -> Result<(), store::Error> {
    fleet.look(now_ms);
    if fleet.timed_out(now_ms, 1).is_empty() {
        return Ok(());
    }
    let mut change = store.begin().await?;
    // Asked again as the only writer: what was reported in between counts.
    let effect = fleet.on_silence(now_ms, GIVEN_UP_AT_ONCE_MAX);
    effects::write(change.connection(), &effect).await?;
    let turn = change.commit().await?;
    for (rollout, device, _) in &effect.deployments {
        tracing::info!(rollout.id = %rollout, device.id = %device, "nothing was heard in time");
    }
    fleet.show(effect);
    drop(turn);
    Ok(())
}

/// Carries a decision out as the only writer, unless something has happened to the rollout since.
async fn carry_out(
    store: &Store,
    fleet: &Fleet,
    id: &RolloutId,
    decision: &Decision,
    now_ms: u64,
) -> Result<bool, store::Error> {
    let mut change = store.begin().await?;
    let Some(effect) = fleet.on_decision(id, decision, now_ms) else { return Ok(false) };
    effects::write(change.connection(), &effect).await?;
    let turn = change.commit().await?;
    fleet.show(effect);
    drop(turn);
    Ok(true)
}
