//! Commands for devices, until a while after they came to an end.
//!
//! Not here: what may follow on what (`domain::command`), nor the way to the device (`orders`).

use sqlx::SqliteConnection;
use waxwing_wire::DeviceId;

use super::row::{Row, to_integer};
use super::{Error, Store};
use crate::domain::command::{self, Command, State};

/// Keeps a new command.
pub async fn add(db: &mut SqliteConnection, command: &Command) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO commands (number, device, name, arguments, state, created_by, created_at, \
         expires_at, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '')",
    )
    .bind(to_integer(command.number))
    .bind(command.device.as_str())
    .bind(command.order.to_string())
    .bind(command::arguments(&command.order).to_string())
    .bind(command.state.as_str())
    .bind(&command.created_by)
    .bind(to_integer(command.created_at))
    .bind(to_integer(command.expires_at))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns one command of a device.
pub async fn find(
    db: &mut SqliteConnection,
    device: &DeviceId,
    number: u64,
) -> Result<Option<Command>, Error> {
    let row = sqlx::query("SELECT * FROM commands WHERE device = $1 AND number = $2")
        .bind(device.as_str())
        .bind(to_integer(number))
        .fetch_optional(db)
        .await?;
    row.as_ref().map(|row| read(&Row::new("commands", row))).transpose()
}

/// Returns commands of a device, the newest first, from before a number.
pub async fn page(
    store: &Store,
    device: &DeviceId,
    before: u64,
    limit: u32,
) -> Result<Vec<Command>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM commands WHERE device = $1 AND number < $2 ORDER BY number DESC LIMIT $3",
    )
    .bind(device.as_str())
    .bind(to_integer(before))
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| read(&Row::new("commands", row))).collect()
}

/// Returns the number of the newest command of all; 0 if there is none.
pub async fn newest(store: &Store) -> Result<u64, Error> {
    let row = sqlx::query("SELECT COALESCE(MAX(number), 0) AS number FROM commands")
        .fetch_one(store.readers())
        .await?;
    Row::new("commands", &row).number("number")
}

/// Returns the commands of a device that are still good and open, oldest first.
pub async fn open(
    db: &mut SqliteConnection,
    device: &DeviceId,
    now_ms: u64,
) -> Result<Vec<Command>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM commands WHERE device = $1 AND ended_at IS NULL AND expires_at > $2 \
         ORDER BY number",
    )
    .bind(device.as_str())
    .bind(to_integer(now_ms))
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| read(&Row::new("commands", row))).collect()
}

/// Returns whom commands wait for.
pub async fn waiting(store: &Store, now_ms: u64) -> Result<Vec<DeviceId>, Error> {
    let rows = sqlx::query(
        "SELECT DISTINCT device FROM commands WHERE ended_at IS NULL AND expires_at > $1",
    )
    .bind(to_integer(now_ms))
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| Row::new("commands", row).parse("device")).collect()
}

/// Notes that a command is about to go to its device.
pub async fn send(db: &mut SqliteConnection, number: u64, now_ms: u64) -> Result<(), Error> {
    sqlx::query("UPDATE commands SET state = $2, sent_at = $3 WHERE number = $1")
        .bind(to_integer(number))
        .bind(State::Sent.as_str())
        .bind(to_integer(now_ms))
        .execute(db)
        .await?;
    Ok(())
}

/// Brings a command to its end.
pub async fn end(
    db: &mut SqliteConnection,
    number: u64,
    state: State,
    detail: &str,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query("UPDATE commands SET state = $2, detail = $3, ended_at = $4 WHERE number = $1")
        .bind(to_integer(number))
        .bind(state.as_str())
        .bind(detail)
        .bind(to_integer(now_ms))
        .execute(db)
        .await?;
    Ok(())
}

/// Takes back what is open of a device that is shut out.
pub async fn shut_out(
    db: &mut SqliteConnection,
    device: &DeviceId,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE commands SET state = $2, ended_at = $3 WHERE device = $1 AND ended_at IS NULL",
    )
    .bind(device.as_str())
    .bind(State::Cancelled.as_str())
    .bind(to_integer(now_ms))
    .execute(db)
    .await?;
    Ok(())
}

/// Brings those to their end whose time is over, and forgets those that ended before a time.
pub async fn forget(
    db: &mut SqliteConnection,
    ended_before_ms: u64,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE commands SET state = $1, ended_at = expires_at \
         WHERE ended_at IS NULL AND expires_at <= $2",
    )
    .bind(State::Expired.as_str())
    .bind(to_integer(now_ms))
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM commands WHERE ended_at IS NOT NULL AND ended_at <= $1")
        .bind(to_integer(ended_before_ms))
        .execute(db)
        .await?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Command, Error> {
    let (name, arguments) = (row.text("name")?, row.text("arguments")?);
    let order = command::read(&name, &arguments);
    Ok(Command {
        number: row.number("number")?,
        device: row.parse("device")?,
        order: order.ok_or_else(|| row.damaged("arguments", &arguments))?,
        state: row.word("state", State::parse)?,
        created_by: row.text("created_by")?,
        created_at: row.number("created_at")?,
        expires_at: row.number("expires_at")?,
        sent_at: row.number_or_null("sent_at")?,
        ended_at: row.number_or_null("ended_at")?,
        detail: row.text("detail")?,
    })
}
