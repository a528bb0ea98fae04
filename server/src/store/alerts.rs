//! Alerts and their rules.
//!
//! Not here: what becomes of an alert, and the rules that nobody changed.

use sqlx::SqliteConnection;

use super::row::{Row, to_integer, to_json};
use super::{Error, Store, mails, webhooks};
use crate::domain::alert::board::Step;
use crate::domain::alert::lost::Absence;
use crate::domain::alert::{Alert, Rule, RuleName, Severity, State};
use crate::domain::letter::Letter;
use crate::domain::webhook::Event;

/// Which alerts are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only those in this state.
    pub state: Option<&'a str>,
    /// Only those of this rule.
    pub rule: Option<&'a str>,
    /// Only those before this one.
    pub before: Option<&'a str>,
}

/// Returns when the server was away.
pub async fn absences(db: &mut SqliteConnection) -> Result<Vec<Absence>, Error> {
    let rows = sqlx::query("SELECT * FROM absences ORDER BY from_ms").fetch_all(db).await?;
    let rows = rows.iter().map(|row| Row::new("absences", row));
    rows.map(|row| Ok(Absence { from_ms: row.number("from_ms")?, to_ms: row.number("to_ms")? }))
        .collect()
}

/// Writes when the server was away, in the place of what was written of that before.
pub async fn put_absences(db: &mut SqliteConnection, absences: &[Absence]) -> Result<(), Error> {
    sqlx::query("DELETE FROM absences").execute(&mut *db).await?;
    for Absence { from_ms, to_ms } in absences {
        sqlx::query("INSERT INTO absences (from_ms, to_ms) VALUES ($1, $2)")
            .bind(to_integer(*from_ms))
            .bind(to_integer(*to_ms))
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// Writes a rule that was changed.
pub async fn put_rule(db: &mut SqliteConnection, rule: &Rule) -> Result<(), Error> {
    let changed = rule.changed.as_ref();
    sqlx::query(
        "INSERT INTO alert_rules (name, settings, revision, changed_by, changed_at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO UPDATE SET \
         settings = excluded.settings, revision = excluded.revision, \
         changed_by = excluded.changed_by, changed_at = excluded.changed_at",
    )
    .bind(rule.name.to_string())
    .bind(to_json(&rule.settings))
    .bind(to_integer(rule.revision))
    .bind(changed.map_or("", |(by, _)| by))
    .bind(to_integer(changed.map_or(0, |(_, at)| *at)))
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets that a rule was changed.
pub async fn remove_rule(db: &mut SqliteConnection, rule: &RuleName) -> Result<(), Error> {
    sqlx::query("DELETE FROM alert_rules WHERE name = $1")
        .bind(rule.to_string())
        .execute(db)
        .await?;
    Ok(())
}

/// Returns all rules, also those that nobody changed.
pub async fn rules(db: &mut SqliteConnection) -> Result<Vec<Rule>, Error> {
    let rows = sqlx::query("SELECT * FROM alert_rules").fetch_all(db).await?;
    let rows = rows.iter().map(|row| read_rule(&Row::new("alert_rules", row)));
    Ok(Rule::all(rows.collect::<Result<_, Error>>()?))
}

/// Returns the alerts that are not over.
pub async fn open(db: &mut SqliteConnection) -> Result<Vec<Alert>, Error> {
    let rows = sqlx::query("SELECT * FROM alerts WHERE state IN ('pending', 'firing') ORDER BY id")
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| read(&Row::new("alerts", row))).collect()
}

/// Writes what becomes of alerts, and puts what is told of them into the outboxes: to webhooks, and to
/// those who get mail.
pub async fn write(
    db: &mut SqliteConnection,
    steps: &[Step],
    recipients: &[String],
) -> Result<(), Error> {
    for step in steps {
        put(&mut *db, &step.alert).await?;
        if let Some(event) = Event::of_alert(step) {
            webhooks::tell(&mut *db, &event).await?;
            if let Some(letter) = Letter::of_alert(&event.id, step) {
                mails::tell(&mut *db, recipients, &letter).await?;
            }
        }
    }
    Ok(())
}

/// Adds or replaces an alert; one that is quiet again is removed.
async fn put(db: &mut SqliteConnection, alert: &Alert) -> Result<(), Error> {
    let (since, below_since, resolved_at) = match alert.state {
        State::Quiet => return remove(db, &alert.id).await,
        State::Pending { since } => (since, None, None),
        State::Firing { since, below_since } => (since, below_since, None),
        State::Resolved { since, at } => (since, None, Some(at)),
    };
    sqlx::query(
        "INSERT INTO alerts (id, rule, subject, severity, began_at, state, since, below_since, \
         resolved_at, value, peak, examples, told_at, written_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         ON CONFLICT (id) DO UPDATE SET severity = excluded.severity, state = excluded.state, \
         since = excluded.since, below_since = excluded.below_since, \
         resolved_at = excluded.resolved_at, value = excluded.value, peak = excluded.peak, \
         examples = excluded.examples, told_at = excluded.told_at, written_at = excluded.written_at",
    )
    .bind(&alert.id)
    .bind(alert.rule.to_string())
    .bind(&alert.subject)
    .bind(alert.severity.as_str())
    .bind(to_integer(alert.began_at))
    .bind(alert.state.as_str())
    .bind(to_integer(since))
    .bind(below_since.map(to_integer))
    .bind(resolved_at.map(to_integer))
    .bind(to_integer(alert.value))
    .bind(to_integer(alert.peak))
    .bind(to_json(&alert.examples))
    .bind(alert.told_at.map(to_integer))
    .bind(to_integer(alert.written_at))
    .execute(db)
    .await?;
    Ok(())
}

async fn remove(db: &mut SqliteConnection, alert: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM alerts WHERE id = $1").bind(alert).execute(db).await?;
    Ok(())
}

/// Returns one alert.
pub async fn find(store: &Store, alert: &str) -> Result<Option<Alert>, Error> {
    let row = sqlx::query("SELECT * FROM alerts WHERE id = $1")
        .bind(alert)
        .fetch_optional(store.readers())
        .await?;
    row.as_ref().map(|row| read(&Row::new("alerts", row))).transpose()
}

/// Returns a page of alerts, newest first.
pub async fn page(store: &Store, filter: Filter<'_>, limit: u32) -> Result<Vec<Alert>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM alerts WHERE ($1 IS NULL OR state = $1) AND ($2 IS NULL OR rule = $2) \
         AND ($3 IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
    )
    .bind(filter.state)
    .bind(filter.rule)
    .bind(filter.before)
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| read(&Row::new("alerts", row))).collect()
}

/// Forgets what was over before a time, and the oldest ones beyond a number; returns how many.
pub async fn forget(
    db: &mut SqliteConnection,
    before_ms: u64,
    kept_max: u32,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "DELETE FROM alerts WHERE state = 'resolved' AND (resolved_at < $1 OR id <= \
         (SELECT id FROM alerts WHERE state = 'resolved' ORDER BY id DESC LIMIT 1 OFFSET $2))",
    )
    .bind(to_integer(before_ms))
    .bind(kept_max)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

fn read_rule(row: &Row<'_>) -> Result<Rule, Error> {
    Ok(Rule {
        name: row.parse("name")?,
        settings: row.json("settings")?,
        revision: row.number("revision")?,
        changed: Some((row.text("changed_by")?, row.number("changed_at")?)),
    })
}

fn read(row: &Row<'_>) -> Result<Alert, Error> {
    let (since, resolved_at) = (row.number("since")?, row.number_or_null("resolved_at")?);
    let below_since = row.number_or_null("below_since")?;
    let state = row.text("state")?;
    let state = match (state.as_str(), resolved_at) {
        ("pending", None) => State::Pending { since },
        ("firing", None) => State::Firing { since, below_since },
        ("resolved", Some(at)) => State::Resolved { since, at },
        _ => return Err(row.damaged("state", &state)),
    };
    Ok(Alert {
        id: row.text("id")?,
        rule: row.parse("rule")?,
        subject: row.text("subject")?,
        severity: row.word("severity", Severity::parse)?,
        began_at: row.number("began_at")?,
        state,
        value: row.number("value")?,
        peak: row.number("peak")?,
        examples: row.json("examples")?,
        told_at: row.number_or_null("told_at")?,
        written_at: row.number("written_at")?,
    })
}
