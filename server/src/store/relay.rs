//! Commands on their way through a broker of others, to devices that have no session here.
//!
//! They wait where those of sessions do, in a session that is lent to the device: that of connection 0,
//! which no connection has. Not here: sending them (`broker`).

use sqlx::SqliteConnection;
use waxwing_wire::DeviceId;

use super::row::{Row, to_integer};
use super::{Error, Store};

/// A command that waits for the broker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// Its number among all commands; rises.
    pub position: u64,
    /// The packet that it would travel in here.
    pub packet: u16,
    /// Whom it is for.
    pub device: DeviceId,
    /// What the device gets.
    pub payload: Vec<u8>,
    /// Until when it is good, in Unix milliseconds.
    pub expires_at: u64,
}

/// Lends a session to a device that has none of its own, for so many seconds from now.
pub async fn lend(
    db: &mut SqliteConnection,
    device: &DeviceId,
    for_s: u64,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO mqtt_sessions (device, connection, expiry_s, away_at, subscription, taken) \
         VALUES ($1, 0, $2, $3, 1, '[]') ON CONFLICT (device) DO UPDATE \
         SET expiry_s = excluded.expiry_s, away_at = excluded.away_at \
         WHERE mqtt_sessions.connection = 0",
    )
    .bind(device.as_str())
    .bind(to_integer(for_s))
    .bind(to_integer(now_ms))
    .execute(db)
    .await?;
    Ok(())
}

/// Takes the session back that was lent to a device, with what waits in it.
pub async fn take_back(db: &mut SqliteConnection, device: &DeviceId) -> Result<(), Error> {
    sqlx::query("DELETE FROM mqtt_sessions WHERE device = $1 AND connection = 0")
        .bind(device.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Returns the commands behind a position that wait for the broker and are still good, at most `limit`, in
/// order.
pub async fn waiting(
    store: &Store,
    after: u64,
    now_ms: u64,
    limit: u32,
) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query(
        "SELECT mqtt_commands.* FROM mqtt_commands JOIN mqtt_sessions USING (device) \
         WHERE connection = 0 AND position > $1 AND expires_at > $2 ORDER BY position LIMIT $3",
    )
    .bind(to_integer(after))
    .bind(to_integer(now_ms))
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    let command = |row: &Row<'_>| {
        Ok(Waiting {
            position: row.number("position")?,
            packet: row.number("packet")?,
            device: row.parse("device")?,
            payload: row.bytes("payload")?,
            expires_at: row.number("expires_at")?,
        })
    };
    rows.iter().map(|row| command(&Row::new("mqtt_commands", row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sessions::{self, Connection, NewCommand, Queued};

    async fn queue(store: &Store, device: &DeviceId, at: u64) -> Queued {
        let mut change = store.begin().await.unwrap();
        let new = NewCommand {
            device,
            payload: b"poll",
            expires_at: at + 300_000,
            commands_max: 16,
            packet_min: 0x8000,
        };
        let db = change.connection();
        lend(db, device, 300, at).await.unwrap();
        let queued = sessions::queue(db, new, at).await.unwrap();
        drop(change.commit().await.unwrap());
        queued
    }

    #[tokio::test]
    async fn a_command_waits_for_the_broker_until_it_is_taken_or_void_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("waxwing.db");
        let store = Store::open(&file).await.unwrap();
        let device = DeviceId::parse("d-1").unwrap();
        assert!(matches!(queue(&store, &device, 1_000).await, Queued::Kept { .. }));
        assert!(matches!(queue(&store, &device, 2_000).await, Queued::Kept { .. }));
        store.close().await;
        let store = Store::open(&file).await.unwrap();
        let all = waiting(&store, 0, 3_000, 9).await.unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((&all[0].device, &*all[0].payload), (&device, &b"poll"[..]));
        assert_eq!(waiting(&store, all[0].position, 3_000, 9).await.unwrap(), all[1..]);
        assert_eq!(waiting(&store, 0, 301_000, 9).await.unwrap(), all[1..], "one is void");
        let mut change = store.begin().await.unwrap();
        sessions::taken(change.connection(), all[0].position).await.unwrap();
        drop(change.commit().await.unwrap());
        assert_eq!(waiting(&store, 0, 3_000, 9).await.unwrap(), all[1..]);
    }

    #[tokio::test]
    async fn a_session_that_a_device_has_here_is_not_lent() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("waxwing.db")).await.unwrap();
        let device = DeviceId::parse("d-1").unwrap();
        let connection = Connection { device: device.clone(), number: 1 };
        let mut change = store.begin().await.unwrap();
        let db = change.connection();
        sessions::begin(db, &connection, false, 3600, 0).await.unwrap();
        sessions::subscribe(db, &connection, Some(1), &[]).await.unwrap();
        drop(change.commit().await.unwrap());
        assert!(matches!(queue(&store, &device, 1_000).await, Queued::Kept { .. }));
        assert_eq!(waiting(&store, 0, 1_000, 9).await.unwrap(), [], "it waits here");
        let mut change = store.begin().await.unwrap();
        take_back(change.connection(), &device).await.unwrap();
        let again = sessions::begin(change.connection(), &connection, false, 3600, 0).await;
        assert_eq!(again.unwrap().unwrap().commands.len(), 1);
    }
}
