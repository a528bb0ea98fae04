//! Rollouts and their phases.

use std::collections::HashMap;

use sqlx::SqliteConnection;
use waxwing_wire::RolloutId;

use super::row::{Row, to_integer, to_json};
use super::{Error, Store};
use crate::domain::Rollout;
use crate::domain::rollout::{Approval, Phase, Started, State};

/// Adds a rollout with its phases.
pub async fn add(db: &mut SqliteConnection, rollout: &Rollout) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO rollouts (id, product, channel, version, group_id, plan, seed, state, \
         created_by, created_at, changed_at, generation) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(rollout.id.as_str())
    .bind(rollout.product.as_str())
    .bind(rollout.channel.as_str())
    .bind(rollout.version.to_string())
    .bind(rollout.group.as_str())
    .bind(to_json(&rollout.plan))
    .bind(&rollout.seed[..])
    .bind(rollout.state.as_str())
    .bind(&rollout.created_by)
    .bind(to_integer(rollout.created_at))
    .bind(to_integer(rollout.changed_at))
    .bind(to_integer(rollout.generation))
    .execute(&mut *db)
    .await?;
    for number in (0_i64..).take(rollout.phases.len()) {
        sqlx::query("INSERT INTO rollout_phases (rollout, phase) VALUES ($1, $2)")
            .bind(rollout.id.as_str())
            .bind(number)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// Writes everything about a rollout that may change.
pub async fn update(db: &mut SqliteConnection, rollout: &Rollout) -> Result<(), Error> {
    sqlx::query(
        "UPDATE rollouts SET state = $2, reason = $3, started_at = $4, finished_at = $5, \
         changed_at = $6, generation = $7, extended_s = $8 WHERE id = $1",
    )
    .bind(rollout.id.as_str())
    .bind(rollout.state.as_str())
    .bind(&rollout.reason)
    .bind(rollout.started_at.map(to_integer))
    .bind(rollout.finished_at.map(to_integer))
    .bind(to_integer(rollout.changed_at))
    .bind(to_integer(rollout.generation))
    .bind(i64::from(rollout.extended_s))
    .execute(&mut *db)
    .await?;
    for (number, phase) in (0_i64..).zip(&rollout.phases) {
        sqlx::query(
            "UPDATE rollout_phases SET started_at = $3, cutoff = $4, approved_by = $5, \
             approved_at = $6, asked_at = $7 WHERE rollout = $1 AND phase = $2",
        )
        .bind(rollout.id.as_str())
        .bind(number)
        .bind(phase.started.map(|started| to_integer(started.at)))
        .bind(phase.started.map(|started| started.cutoff.0.to_vec()))
        .bind(phase.approved.as_ref().map(|approval| approval.by.as_str()))
        .bind(phase.approved.as_ref().map(|approval| to_integer(approval.at)))
        .bind(phase.asked_at.map(to_integer))
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// Returns all rollouts.
pub async fn all(store: &Store) -> Result<Vec<Rollout>, Error> {
    let mut phases = phases(store).await?;
    let rows = sqlx::query("SELECT * FROM rollouts ORDER BY id").fetch_all(store.readers()).await?;
    rows.iter().map(|row| read(&Row::new("rollouts", row), &mut phases)).collect()
}

async fn phases(store: &Store) -> Result<HashMap<RolloutId, Vec<Phase>>, Error> {
    let rows = sqlx::query("SELECT * FROM rollout_phases ORDER BY rollout, phase")
        .fetch_all(store.readers())
        .await?;
    let mut phases = HashMap::<_, Vec<_>>::new();
    for row in &rows {
        let row = Row::new("rollout_phases", row);
        phases.entry(row.parse("rollout")?).or_default().push(phase(&row)?);
    }
    Ok(phases)
}

fn phase(row: &Row<'_>) -> Result<Phase, Error> {
    let (at, cutoff) = (row.number_or_null("started_at")?, row.digest_bytes("cutoff")?);
    let (by, approved_at) = (row.text_or_null("approved_by")?, row.number_or_null("approved_at")?);
    Ok(Phase {
        started: at.zip(cutoff).map(|(at, cutoff)| Started { at, cutoff }),
        asked_at: row.number_or_null("asked_at")?,
        approved: by.zip(approved_at).map(|(by, at)| Approval { by, at }),
    })
}

fn read(row: &Row<'_>, phases: &mut HashMap<RolloutId, Vec<Phase>>) -> Result<Rollout, Error> {
    let id = row.parse("id")?;
    Ok(Rollout {
        product: row.parse("product")?,
        channel: row.parse("channel")?,
        version: row.parse("version")?,
        group: row.parse("group_id")?,
        plan: row.json("plan")?,
        seed: row.digest_bytes("seed")?.map_or([0; 32], |seed| seed.0),
        state: row.word("state", State::parse)?,
        reason: row.text_or_null("reason")?,
        phases: phases.remove(&id).unwrap_or_default(),
        created_by: row.text("created_by")?,
        created_at: row.number("created_at")?,
        started_at: row.number_or_null("started_at")?,
        finished_at: row.number_or_null("finished_at")?,
        changed_at: row.number("changed_at")?,
        extended_s: row.number("extended_s")?,
        generation: row.number("generation")?,
        id,
    })
}
