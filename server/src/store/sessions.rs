//! MQTT sessions between the connections of a device, and the commands that wait in them.
//!
//! A row for each device that wants its session kept. While it is connected, the row says what it was
//! told; nothing is written while nothing changes. Not here: what a session means (`mqtt`).

use sqlx::SqliteConnection;
use waxwing_wire::DeviceId;

use super::row::{Row, to_integer, to_json};
use super::{Error, Store};

/// A session that is kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Session {
    /// `QoS` of the subscription to the commands.
    pub subscription: Option<u8>,
    /// The topics of other devices that it listens to.
    pub feeds: Vec<String>,
    /// The commands that are still good, oldest first.
    pub commands: Vec<Command>,
    /// Ids of messages with `QoS` 2 that were taken and not released.
    pub taken: Vec<u16>,
}

/// A command that waits for a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// Its number among all of them; rises.
    pub position: u64,
    /// The packet in which it travels.
    pub packet: u16,
    /// What the device gets.
    pub payload: Vec<u8>,
    /// Whether it may have been sent before.
    pub sent: bool,
}

/// What is kept of a session when its connection ends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rest {
    /// For how many seconds it is kept.
    pub expiry_s: u32,
    /// The commands that were sent and not acknowledged.
    pub sent: Vec<u64>,
    /// Ids of messages with `QoS` 2 that were taken and not released.
    pub taken: Vec<u16>,
}

/// The connection of a device, by its number since the start of the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connection {
    /// Whose it is.
    pub device: DeviceId,
    /// Its number.
    pub number: u64,
}

/// What is to be kept for a device.
#[derive(Clone, Copy, Debug)]
pub struct NewCommand<'a> {
    /// Whom it is for.
    pub device: &'a DeviceId,
    /// What the device gets.
    pub payload: &'a [u8],
    /// Until when it is good, in Unix milliseconds.
    pub expires_at: u64,
    /// Most commands that wait for one device.
    pub commands_max: usize,
    /// The lowest packet id.
    pub packet_min: u16,
}

/// What became of a command that was to be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Queued {
    /// So many wait already that it was not added.
    Full,
    /// It waits, and travels in this packet.
    Kept {
        /// Its number among all commands.
        position: u64,
        /// The packet.
        packet: u16,
    },
    /// The device has no session that is kept and subscribes to its commands.
    NoSession,
}

/// Tells whether anything is kept for a device.
pub async fn exists(store: &Store, device: &DeviceId) -> Result<bool, Error> {
    let row = sqlx::query("SELECT 1 FROM mqtt_sessions WHERE device = $1")
        .bind(device.as_str())
        .fetch_optional(store.readers())
        .await?;
    Ok(row.is_some())
}

/// Begins a connection that wants its session kept for so long, and returns the session that it goes
/// on with: none if the device wants a new one, or there is none that is still kept.
pub async fn begin(
    db: &mut SqliteConnection,
    connection: &Connection,
    clean_start: bool,
    expiry_s: u32,
    now_ms: u64,
) -> Result<Option<Session>, Error> {
    let device = &connection.device;
    let found = load(&mut *db, device, now_ms).await?;
    let session = found.clone().filter(|_| !clean_start);
    if found.is_none() || session.is_none() || expiry_s == 0 {
        remove(&mut *db, device).await?;
    }
    if expiry_s > 0 {
        open(db, connection, expiry_s).await?;
    }
    Ok(session)
}

async fn open(
    db: &mut SqliteConnection,
    connection: &Connection,
    expiry_s: u32,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO mqtt_sessions (device, connection, expiry_s, taken) VALUES ($1, $2, $3, '[]') \
         ON CONFLICT (device) DO UPDATE SET connection = excluded.connection, \
         expiry_s = excluded.expiry_s, away_at = NULL, taken = '[]'",
    )
    .bind(connection.device.as_str())
    .bind(to_integer(connection.number))
    .bind(expiry_s)
    .execute(db)
    .await?;
    Ok(())
}

async fn load(
    db: &mut SqliteConnection,
    device: &DeviceId,
    now_ms: u64,
) -> Result<Option<Session>, Error> {
    let row = sqlx::query(
        "SELECT * FROM mqtt_sessions \
         WHERE device = $1 AND (away_at IS NULL OR away_at + expiry_s * 1000 > $2)",
    )
    .bind(device.as_str())
    .bind(to_integer(now_ms))
    .fetch_optional(&mut *db)
    .await?;
    let Some(row) = &row else { return Ok(None) };
    let row = Row::new("mqtt_sessions", row);
    let (subscription, feeds) = (row.number_or_null("subscription")?, row.json("feeds")?);
    let (commands, taken) = (commands(db, device, now_ms).await?, row.json("taken")?);
    Ok(Some(Session { subscription, feeds, commands, taken }))
}

async fn commands(
    db: &mut SqliteConnection,
    device: &DeviceId,
    now_ms: u64,
) -> Result<Vec<Command>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM mqtt_commands WHERE device = $1 AND expires_at > $2 ORDER BY position",
    )
    .bind(device.as_str())
    .bind(to_integer(now_ms))
    .fetch_all(db)
    .await?;
    let command = |row: &Row<'_>| {
        Ok(Command {
            position: row.number("position")?,
            packet: row.number("packet")?,
            payload: row.bytes("payload")?,
            sent: row.number::<u8>("sent")? != 0,
        })
    };
    rows.iter().map(|row| command(&Row::new("mqtt_commands", row))).collect()
}

/// Notes what a connection's session subscribes to: with which `QoS` to its commands, and which topics
/// of others.
pub async fn subscribe(
    db: &mut SqliteConnection,
    connection: &Connection,
    subscription: Option<u8>,
    feeds: &[String],
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE mqtt_sessions SET subscription = $3, feeds = $4 \
         WHERE device = $1 AND connection = $2 AND away_at IS NULL",
    )
    .bind(connection.device.as_str())
    .bind(to_integer(connection.number))
    .bind(subscription)
    .bind(to_json(&feeds))
    .execute(db)
    .await?;
    Ok(())
}

/// Ends a connection, and keeps this of its session, or nothing. One that another has replaced changes
/// nothing.
pub async fn end(
    db: &mut SqliteConnection,
    connection: &Connection,
    rest: Option<&Rest>,
    now_ms: u64,
) -> Result<(), Error> {
    let Some(rest) = rest else { return drop_session(db, connection).await };
    let ended = sqlx::query(
        "UPDATE mqtt_sessions SET away_at = $3, expiry_s = $4, taken = $5 \
         WHERE device = $1 AND connection = $2 AND away_at IS NULL",
    )
    .bind(connection.device.as_str())
    .bind(to_integer(connection.number))
    .bind(to_integer(now_ms))
    .bind(rest.expiry_s)
    .bind(to_json(&rest.taken))
    .execute(&mut *db)
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query(
        "UPDATE mqtt_commands SET sent = position IN (SELECT value FROM json_each($2)) \
         WHERE device = $1",
    )
    .bind(connection.device.as_str())
    .bind(to_json(&rest.sent))
    .execute(db)
    .await?;
    Ok(())
}

async fn drop_session(db: &mut SqliteConnection, connection: &Connection) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM mqtt_sessions WHERE device = $1 AND connection = $2 AND away_at IS NULL",
    )
    .bind(connection.device.as_str())
    .bind(to_integer(connection.number))
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps a command for a device that has a session which is kept and subscribes to its commands.
pub async fn queue(
    db: &mut SqliteConnection,
    new: NewCommand<'_>,
    now_ms: u64,
) -> Result<Queued, Error> {
    let session = load(&mut *db, new.device, now_ms).await?;
    let Some(session) = session.filter(|session| session.subscription.is_some()) else {
        return Ok(Queued::NoSession);
    };
    forget_expired(&mut *db, new.device, now_ms).await?;
    let is_free = |packet: &u16| session.commands.iter().all(|other| other.packet != *packet);
    let packet = (new.packet_min..=u16::MAX).take(new.commands_max).find(is_free);
    let Some(packet) = packet else { return Ok(Queued::Full) };
    // To a connection it goes at once; if that is cut, nobody knows whether it arrived.
    let row = sqlx::query(
        "INSERT INTO mqtt_commands (device, packet, payload, expires_at, sent) \
         SELECT device, $2, $3, $4, away_at IS NULL FROM mqtt_sessions WHERE device = $1 \
         RETURNING position",
    )
    .bind(new.device.as_str())
    .bind(packet)
    .bind(new.payload)
    .bind(to_integer(new.expires_at))
    .fetch_one(db)
    .await?;
    let position = Row::new("mqtt_commands", &row).number("position")?;
    Ok(Queued::Kept { position, packet })
}

async fn forget_expired(
    db: &mut SqliteConnection,
    device: &DeviceId,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM mqtt_commands WHERE device = $1 AND expires_at <= $2")
        .bind(device.as_str())
        .bind(to_integer(now_ms))
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets a command that its device took.
pub async fn taken(db: &mut SqliteConnection, position: u64) -> Result<(), Error> {
    sqlx::query("DELETE FROM mqtt_commands WHERE position = $1")
        .bind(to_integer(position))
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets what is kept for a device.
pub async fn remove(db: &mut SqliteConnection, device: &DeviceId) -> Result<(), Error> {
    sqlx::query("DELETE FROM mqtt_sessions WHERE device = $1")
        .bind(device.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Ends the connections of a server that is no more.
pub async fn restart(db: &mut SqliteConnection, now_ms: u64) -> Result<(), Error> {
    sqlx::query("UPDATE mqtt_sessions SET away_at = $1 WHERE away_at IS NULL")
        .bind(to_integer(now_ms))
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets sessions and commands whose time is over.
pub async fn forget(db: &mut SqliteConnection, now_ms: u64) -> Result<(), Error> {
    sqlx::query("DELETE FROM mqtt_sessions WHERE away_at + expiry_s * 1000 <= $1")
        .bind(to_integer(now_ms))
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM mqtt_commands WHERE expires_at <= $1")
        .bind(to_integer(now_ms))
        .execute(db)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
