//! Rollouts and their phases.

use std::collections::HashMap;

use sqlx::SqliteConnection;
use waxwing_wire::RolloutId;

use super::row::{Row, to_integer};
use super::{Error, Store};
use crate::domain::Rollout;
use crate::domain::rollout::{Gate, Phase, Started, State};

/// Adds a rollout with its phases.
pub async fn add(db: &mut SqliteConnection, rollout: &Rollout) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO rollouts (id, product, channel, version, group_id, healthy_percent, \
         failed_percent, soak_s, seed, state, created_at, changed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(rollout.id.as_str())
    .bind(rollout.product.as_str())
    .bind(rollout.channel.as_str())
    .bind(rollout.version.to_string())
    .bind(rollout.group.as_str())
    .bind(i64::from(rollout.gate.healthy_percent))
    .bind(i64::from(rollout.gate.failed_percent))
    .bind(i64::from(rollout.soak_s))
    .bind(&rollout.seed[..])
    .bind(rollout.state.as_str())
    .bind(to_integer(rollout.created_at))
    .bind(to_integer(rollout.changed_at))
    .execute(&mut *db)
    .await?;
    for (number, phase) in (0_i64..).zip(&rollout.phases) {
        sqlx::query("INSERT INTO rollout_phases (rollout, phase, percent) VALUES ($1, $2, $3)")
            .bind(rollout.id.as_str())
            .bind(number)
            .bind(i64::from(phase.percent))
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// Writes everything about a rollout that may change.
pub async fn update(db: &mut SqliteConnection, rollout: &Rollout) -> Result<(), Error> {
    sqlx::query(
        "UPDATE rollouts SET state = $2, reason = $3, started_at = $4, finished_at = $5, \
         changed_at = $6 WHERE id = $1",
    )
    .bind(rollout.id.as_str())
    .bind(rollout.state.as_str())
    .bind(&rollout.reason)
    .bind(rollout.started_at.map(to_integer))
    .bind(rollout.finished_at.map(to_integer))
    .bind(to_integer(rollout.changed_at))
    .execute(&mut *db)
    .await?;
    for (number, started) in (0_i64..).zip(rollout.started()) {
        sqlx::query(
            "UPDATE rollout_phases SET started_at = $3, cutoff = $4 \
             WHERE rollout = $1 AND phase = $2",
        )
        .bind(rollout.id.as_str())
        .bind(number)
        .bind(to_integer(started.at))
        .bind(&started.cutoff.0[..])
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
        let (at, cutoff) = (row.number_or_null("started_at")?, row.digest_bytes("cutoff")?);
        let started = at.zip(cutoff).map(|(at, cutoff)| Started { at, cutoff });
        let phase = Phase { percent: row.number("percent")?, started };
        phases.entry(row.parse("rollout")?).or_default().push(phase);
    }
    Ok(phases)
}

fn read(row: &Row<'_>, phases: &mut HashMap<RolloutId, Vec<Phase>>) -> Result<Rollout, Error> {
    let id = row.parse("id")?;
    let gate = Gate {
        healthy_percent: row.number("healthy_percent")?,
        failed_percent: row.number("failed_percent")?,
    };
    Ok(Rollout {
        product: row.parse("product")?,
        channel: row.parse("channel")?,
        version: row.parse("version")?,
        group: row.parse("group_id")?,
        gate,
        soak_s: row.number("soak_s")?,
        seed: row.digest_bytes("seed")?.map_or([0; 32], |seed| seed.0),
        state: row.word("state", State::parse)?,
        reason: row.text_or_null("reason")?,
        phases: phases.remove(&id).unwrap_or_default(),
        created_at: row.number("created_at")?,
        started_at: row.number_or_null("started_at")?,
        finished_at: row.number_or_null("finished_at")?,
        changed_at: row.number("changed_at")?,
        id,
    })
}
