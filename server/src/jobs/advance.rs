//! Moves rollouts on: to the next phase when the gate is passed, to the end when everybody is.
//! Halts them too, in case the report that should have done so came before a restart.

use serde_json::json;
use waxwing_wire::RolloutId;

use crate::domain::Rollout;
use crate::domain::audit::{self, Action, Entry};
use crate::domain::rollout::Verdict;
use crate::fleet::Fleet;
use crate::store::{self, Store, rollouts};

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
    let mut moved = 0;
    for rollout in fleet.open_rollouts() {
        if rollout.judge(&fleet.counts(&rollout.id)) != Verdict::Wait {
            moved += usize::from(advance(store, fleet, &rollout.id, now_ms).await?);
        }
    }
    Ok(moved)
}

/// Judges again, now as the only writer, and moves the rollout.
async fn advance(
    store: &Store,
    fleet: &Fleet,
    id: &RolloutId,
    now_ms: u64,
) -> Result<bool, store::Error> {
    let mut change = store.begin().await?;
    let Some(rollout) = fleet.rollout(id) else { return Ok(false) };
    let mut rollout = Rollout::clone(&rollout);
    let at = fleet.stamp(now_ms);
    let action = match rollout.judge(&fleet.counts(id)) {
        Verdict::Advance => {
            rollout.start_next_phase(fleet.members_of(&rollout.group).iter(), at);
            Action::RolloutAdvanced
        }
        Verdict::Finish => {
            rollout.finish(at);
            Action::RolloutFinished
        }
        Verdict::Halt(reason) => {
            rollout.halt(&reason, at);
            Action::RolloutHalted
        }
        Verdict::Wait => return Ok(false),
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
