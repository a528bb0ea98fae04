//! Moves rollouts on: to the next phase when the gate is passed, to the end when everybody is. Gives up
//! on devices that are silent, and halts rollouts that this is evidence against.

use serde_json::json;
use waxwing_wire::RolloutId;

use crate::domain::Rollout;
use crate::domain::audit::{self, Action, Entry};
use crate::domain::rollout::{self, Decision};
use crate::fleet::Fleet;
use crate::store::{self, Store, deployments, rollouts};

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
        if let Some(decision) = rollout.decide(&fleet.evidence(&rollout.id), now_ms) {
            moved += usize::from(carry_out(store, fleet, &rollout.id, decision, now_ms).await?);
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
    let timed_out = fleet.timed_out(fleet.stamp(now_ms), GIVEN_UP_AT_ONCE_MAX);
    deployments::put_all(change.connection(), &timed_out).await?;
    let turn = change.commit().await?;
    for (rollout, device, deployment) in timed_out {
        tracing::info!(rollout.id = %rollout, device.id = %device, "nothing was heard in time");
        fleet.put_deployment(&device, &rollout, deployment);
    }
    drop(turn);
    Ok(())
}

/// Carries a decision out as the only writer, unless something has happened to the rollout since.
async fn carry_out(
    store: &Store,
    fleet: &Fleet,
    id: &RolloutId,
    decision: Decision,
    now_ms: u64,
) -> Result<bool, store::Error> {
    let mut change = store.begin().await?;
    let Some(rollout) = fleet.rollout(id) else { return Ok(false) };
    let mut rollout = Rollout::clone(&rollout);
    let at = fleet.stamp(now_ms);
    let members = fleet.members_of(&rollout.group);
    if rollout.carry_out(decision, members.iter().map(|device| &device.id), at).is_err() {
        return Ok(false);
    }
    let action = match decision.action {
        rollout::Action::Advance => Action::RolloutAdvanced,
        rollout::Action::Finish => Action::RolloutFinished,
        rollout::Action::Halt(_) => Action::RolloutHalted,
    };
    rollouts::update(change.connection(), &rollout).await?;
    store::audit::add(change.connection(), &entry(&rollout, action, at)).await?;
    let turn = change.commit().await?;
    tracing::info!(rollout.id = %rollout.id, %action, "rollout moved");
    fleet.put_rollout(rollout);
    drop(turn);
    Ok(true)
}

fn entry(rollout: &Rollout, action: Action, at: u64) -> Entry {
    Entry {
        at,
        actor: audit::SERVER.to_owned(),
        action,
        subject: format!("rollout/{}", rollout.id),
        reason: rollout.reason.clone().unwrap_or_default(),
        detail: json!({ "phase": rollout.current_phase() }),
    }
}
