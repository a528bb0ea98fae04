//! Who is told of rollouts, and the messages on their way: the outbox.
//!
//! Not here: when a message is sent, and secrets, of which the database knows none.

use sqlx::SqliteConnection;

use super::row::{Row, to_integer, to_json};
use super::{Error, Store};
use crate::domain::Webhook;
use crate::domain::webhook::delivery::State;
use crate::domain::webhook::{Delivery, Event, Kind};

/// A message on its way to a webhook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// The webhook.
    pub webhook: String,
    /// The identifier of the message.
    pub message: String,
    /// What happened.
    pub kind: Kind,
    /// The message, byte for byte as it is signed.
    pub body: String,
    /// How far it is.
    pub delivery: Delivery,
}

/// Adds a webhook.
pub async fn add(db: &mut SqliteConnection, webhook: &Webhook) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO webhooks (id, url, kinds, created_by, created_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&webhook.id)
    .bind(webhook.target.to_string())
    .bind(to_json(&webhook.kinds))
    .bind(&webhook.created_by)
    .bind(to_integer(webhook.created_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Removes a webhook with its messages.
pub async fn remove(db: &mut SqliteConnection, webhook: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM webhooks WHERE id = $1").bind(webhook).execute(db).await?;
    Ok(())
}

/// Returns all webhooks, by name.
pub async fn all(db: &mut SqliteConnection) -> Result<Vec<Webhook>, Error> {
    let rows = sqlx::query("SELECT * FROM webhooks ORDER BY id").fetch_all(db).await?;
    rows.iter().map(|row| read(&Row::new("webhooks", row))).collect()
}

/// Puts what happened into the outbox for everybody who wants to be told. In the transaction of what
/// happened: neither is there without the other.
pub async fn tell(db: &mut SqliteConnection, event: &Event) -> Result<(), Error> {
    for webhook in all(db).await?.iter().filter(|webhook| webhook.wants(event.kind)) {
        send(db, &webhook.id, event).await?;
    }
    Ok(())
}

/// Puts a message into the outbox for one webhook.
pub async fn send(db: &mut SqliteConnection, webhook: &str, event: &Event) -> Result<(), Error> {
    let Delivery { state, attempts, since, due_at, outcome, changed_at } = Delivery::new(event.at);
    sqlx::query(
        "INSERT INTO webhook_deliveries (webhook, message, kind, body, state, attempts, since, \
         due_at, outcome, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(webhook)
    .bind(&event.id)
    .bind(event.kind.as_str())
    .bind(&event.body)
    .bind(state.as_str())
    .bind(i64::from(attempts))
    .bind(to_integer(since))
    .bind(to_integer(due_at))
    .bind(outcome.map(|outcome| outcome.to_string()))
    .bind(to_integer(changed_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Writes how far a delivery is. One that was removed meanwhile stays removed.
pub async fn put(
    db: &mut SqliteConnection,
    webhook: &str,
    message: &str,
    delivery: &Delivery,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE webhook_deliveries SET state = $3, attempts = $4, since = $5, due_at = $6, \
         outcome = $7, changed_at = $8 WHERE webhook = $1 AND message = $2",
    )
    .bind(webhook)
    .bind(message)
    .bind(delivery.state.as_str())
    .bind(i64::from(delivery.attempts))
    .bind(to_integer(delivery.since))
    .bind(to_integer(delivery.due_at))
    .bind(delivery.outcome.map(|outcome| outcome.to_string()))
    .bind(to_integer(delivery.changed_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the webhooks for which a message is to be sent now, in flight or not. Here and below, what was
/// written in the future is due, as in [`Delivery::begin`].
pub async fn due(store: &Store, now_ms: u64) -> Result<Vec<Webhook>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM webhooks WHERE id IN (SELECT webhook FROM webhook_deliveries \
         WHERE state IN ('due', 'in_flight') AND (due_at <= $1 OR changed_at > $1))",
    )
    .bind(to_integer(now_ms))
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| read(&Row::new("webhooks", row))).collect()
}

/// Returns the messages that are to be sent to a webhook now, those that wait longest first.
pub async fn due_for(
    store: &Store,
    webhook: &str,
    now_ms: u64,
    limit: u32,
) -> Result<Vec<Outgoing>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM webhook_deliveries WHERE webhook = $1 AND state IN ('due', 'in_flight') \
         AND (due_at <= $2 OR changed_at > $2) ORDER BY due_at, message LIMIT $3",
    )
    .bind(webhook)
    .bind(to_integer(now_ms))
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(outgoing).collect()
}

/// Returns one message of a webhook.
pub async fn find(
    db: &mut SqliteConnection,
    webhook: &str,
    message: &str,
) -> Result<Option<Outgoing>, Error> {
    let row = sqlx::query("SELECT * FROM webhook_deliveries WHERE webhook = $1 AND message = $2")
        .bind(webhook)
        .bind(message)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(outgoing).transpose()
}

/// Returns a page of the messages of a webhook, newest first; of one state, or of all.
pub async fn page(
    store: &Store,
    webhook: &str,
    state: Option<State>,
    before: Option<&str>,
    limit: u32,
) -> Result<Vec<Outgoing>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM webhook_deliveries WHERE webhook = $1 AND ($2 IS NULL OR state = $2) \
         AND ($3 IS NULL OR message < $3) ORDER BY message DESC LIMIT $4",
    )
    .bind(webhook)
    .bind(state.map(State::as_str))
    .bind(before)
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(outgoing).collect()
}

/// Returns how many messages are in each state.
pub async fn counts(store: &Store) -> Result<Vec<(State, u64)>, Error> {
    let rows =
        sqlx::query("SELECT state, count(*) AS messages FROM webhook_deliveries GROUP BY state")
            .fetch_all(store.readers())
            .await?;
    let rows = rows.iter().map(|row| Row::new("webhook_deliveries", row));
    rows.map(|row| Ok((row.word("state", State::parse)?, row.number("messages")?))).collect()
}

/// Forgets what came to an end before a time; returns how many messages.
pub async fn forget(db: &mut SqliteConnection, before_ms: u64) -> Result<u64, Error> {
    let done = sqlx::query(
        "DELETE FROM webhook_deliveries WHERE state IN ('delivered', 'dead') AND changed_at < $1",
    )
    .bind(to_integer(before_ms))
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

fn read(row: &Row<'_>) -> Result<Webhook, Error> {
    Ok(Webhook {
        id: row.text("id")?,
        target: row.parse("url")?,
        kinds: row.json("kinds")?,
        created_by: row.text("created_by")?,
        created_at: row.number("created_at")?,
    })
}

fn outgoing(row: &sqlx::sqlite::SqliteRow) -> Result<Outgoing, Error> {
    let row = Row::new("webhook_deliveries", row);
    Ok(Outgoing {
        webhook: row.text("webhook")?,
        message: row.text("message")?,
        kind: row.word("kind", Kind::parse)?,
        body: row.text("body")?,
        delivery: Delivery {
            state: row.word("state", State::parse)?,
            attempts: row.number("attempts")?,
            since: row.number("since")?,
            due_at: row.number("due_at")?,
            outcome: row.parse_or_null("outcome")?,
            changed_at: row.number("changed_at")?,
        },
    })
}
