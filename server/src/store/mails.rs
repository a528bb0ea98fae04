//! E-mail on its way: the outbox.
//!
//! Not here: when a message is sent, and by whom.

use sqlx::SqliteConnection;

use super::row::{Row, to_integer};
use super::{Error, Store};
use crate::domain::letter::Letter;
use crate::domain::webhook::Delivery;
use crate::domain::webhook::delivery::State;

/// A letter on its way to somebody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// The letter.
    pub letter: Letter,
    /// Who gets it.
    pub recipient: String,
    /// How far it is.
    pub delivery: Delivery,
}

/// Puts a letter into the outbox for everybody. In the transaction of what it tells: neither is there
/// without the other.
pub async fn tell(
    db: &mut SqliteConnection,
    recipients: &[String],
    letter: &Letter,
) -> Result<(), Error> {
    for recipient in recipients {
        let Delivery { state, attempts, since, due_at, changed_at, .. } = Delivery::new(letter.at);
        sqlx::query(
            "INSERT INTO mails (message, recipient, subject, body, written_at, state, attempts, \
             since, due_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (message, recipient) DO NOTHING",
        )
        .bind(&letter.id)
        .bind(recipient)
        .bind(&letter.subject)
        .bind(&letter.body)
        .bind(to_integer(letter.at))
        .bind(state.as_str())
        .bind(i64::from(attempts))
        .bind(to_integer(since))
        .bind(to_integer(due_at))
        .bind(to_integer(changed_at))
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// Writes how far a letter is.
pub async fn put(db: &mut SqliteConnection, outgoing: &Outgoing) -> Result<(), Error> {
    let Delivery { state, attempts, since, due_at, outcome, changed_at } = outgoing.delivery;
    sqlx::query(
        "UPDATE mails SET state = $3, attempts = $4, since = $5, due_at = $6, outcome = $7, \
         changed_at = $8 WHERE message = $1 AND recipient = $2",
    )
    .bind(&outgoing.letter.id)
    .bind(&outgoing.recipient)
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

/// Returns the letters that are to be sent now, in flight or not, those that wait longest first. What
/// was written in the future is due, as in [`Delivery::begin`].
pub async fn due(store: &Store, now_ms: u64, limit: u32) -> Result<Vec<Outgoing>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM mails WHERE state IN ('due', 'in_flight') \
         AND (due_at <= $1 OR changed_at > $1) ORDER BY due_at, message, recipient LIMIT $2",
    )
    .bind(to_integer(now_ms))
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(outgoing).collect()
}

/// Returns the newest letters, of one state or of all.
pub async fn latest(
    store: &Store,
    state: Option<State>,
    limit: u32,
) -> Result<Vec<Outgoing>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM mails WHERE ($1 IS NULL OR state = $1) \
         ORDER BY message DESC, recipient LIMIT $2",
    )
    .bind(state.map(State::as_str))
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(outgoing).collect()
}

/// Returns how many letters are in each state.
pub async fn counts(store: &Store) -> Result<Vec<(State, u64)>, Error> {
    let rows = sqlx::query("SELECT state, count(*) AS messages FROM mails GROUP BY state")
        .fetch_all(store.readers())
        .await?;
    let rows = rows.iter().map(|row| Row::new("mails", row));
    rows.map(|row| Ok((row.word("state", State::parse)?, row.number("messages")?))).collect()
}

/// Forgets what came to an end before a time.
pub async fn forget(db: &mut SqliteConnection, before_ms: u64) -> Result<(), Error> {
    sqlx::query("DELETE FROM mails WHERE state IN ('delivered', 'dead') AND changed_at < $1")
        .bind(to_integer(before_ms))
        .execute(db)
        .await?;
    Ok(())
}

fn outgoing(row: &sqlx::sqlite::SqliteRow) -> Result<Outgoing, Error> {
    let row = Row::new("mails", row);
    let letter = Letter {
        id: row.text("message")?,
        at: row.number("written_at")?,
        subject: row.text("subject")?,
        body: row.text("body")?,
    };
    let delivery = Delivery {
        state: row.word("state", State::parse)?,
        attempts: row.number("attempts")?,
        since: row.number("since")?,
        due_at: row.number("due_at")?,
        outcome: row.parse_or_null("outcome")?,
        changed_at: row.number("changed_at")?,
    };
    Ok(Outgoing { letter, recipient: row.text("recipient")?, delivery })
}
