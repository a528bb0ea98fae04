//! The message log: what devices said, raw, with the certificate it was checked against (D25).
//!
//! A database of its own, written in batches: what is acknowledged is on the disk, and a flood of
//! telemetry keeps nothing else from being written. No id of a device stands for two messages (D24).

mod forgotten;
mod sinks;
mod telemetry;

use std::collections::HashMap;
use std::path::Path;

use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use tokio::sync::{Mutex, watch};
use waxwing_wire::envelope::Envelope;
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, MessageId};

pub use self::sinks::{DeadLetter, Which};
use super::row::{Row, to_integer, to_json};
use super::{Error, OpenError, make_private, options};

/// Connections that read at once: sinks, the API, and one to spare.
const READERS_MAX: u32 = 4;

/// A message that passed all checks but the one for replays.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Who said it.
    pub device: DeviceId,
    /// What it is about.
    pub kind: Kind,
    /// Its id.
    pub message_id: MessageId,
    /// The serial number of the certificate whose key signed it.
    pub signed_by: String,
    /// When it came, in Unix milliseconds.
    pub received_at: u64,
    /// The envelope, byte for byte; JSON, so it is text.
    pub envelope: String,
}

/// A message in the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Logged {
    /// Its place: rises from message to message, with gaps.
    pub position: u64,
    /// The message.
    pub message: Message,
}

/// What became of a message that was to be added.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Added {
    /// The very same payload came before under this id.
    Duplicate,
    /// It is in the log, at this position.
    New(u64),
    /// Its id stands for another message.
    Replay,
}

/// The message log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MessageLog {
    readers: SqlitePool,
    writer: SqlitePool,
    /// Bytes on the disk from which on nothing is added.
    bytes_max: u64,
    /// Whoever writes, so that writers queue here.
    turn: std::sync::Arc<Mutex<()>>,
    /// The position of the newest message.
    newest: watch::Sender<u64>,
    /// When the last of the forgotten messages was received.
    forgotten_ms: watch::Sender<u64>,
}

impl MessageLog {
    /// Opens the database file, creating and migrating it as needed. It grows to `bytes_max` and at most
    /// one batch more.
    ///
    /// # Errors
    ///
    /// [`OpenError`] names the file.
    pub async fn open(file: &Path, bytes_max: u64) -> Result<Self, OpenError> {
        let name = || file.display().to_string();
        make_private(file).map_err(|source| OpenError::Private { file: name(), source })?;
        let connect_error = |source| OpenError::Connect { file: name(), source };
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options(file))
            .await
            .map_err(connect_error)?;
        sqlx::migrate!("../migrations/messages")
            .run(&writer)
            .await
            .map_err(|source| OpenError::Migrate { file: name(), source: Box::new(source) })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_with(options(file).read_only(true))
            .await
            .map_err(connect_error)?;
        let newest = watch::Sender::new(newest(&readers).await.map_err(connect_error)?);
        let forgotten_ms = forgotten::load(&readers).await.map_err(connect_error)?;
        let forgotten_ms = watch::Sender::new(forgotten_ms);
        let turn = std::sync::Arc::default();
        Ok(Self { readers, writer, bytes_max, turn, newest, forgotten_ms })
    }

    /// Adds messages in one transaction, and says of each what became of it, in their order.
    ///
    /// # Errors
    ///
    /// When the disk fails or is full, or the log has grown to its limit; then none was added.
    pub async fn add(&self, messages: &[Message]) -> Result<Vec<Added>, Error> {
        let _turn = self.turn.lock().await;
        if self.bytes().await? >= self.bytes_max {
            return Err(Error::Full);
        }
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let rows = messages.iter().map(|m| {
            let names = (&m.device, m.kind.as_str(), &m.message_id, &m.signed_by);
            (names.0, names.1, names.2, names.3, m.received_at, &m.envelope)
        });
        let added = sqlx::query(
            "INSERT INTO messages (device, kind, message_id, signed_by, received_at, envelope) \
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, \
             CAST(value ->> 5 AS BLOB) FROM json_each($1) WHERE true \
             ON CONFLICT (device, message_id) DO NOTHING RETURNING position, device, message_id",
        )
        .bind(to_json(&rows.collect::<Vec<_>>()))
        .fetch_all(&mut *transaction)
        .await?;
        let mut positions = HashMap::new();
        for row in added.iter().map(|row| Row::new("messages", row)) {
            let key: (DeviceId, MessageId) = (row.parse("device")?, row.parse("message_id")?);
            positions.insert(key, row.number("position")?);
        }
        let mut outcome = Vec::with_capacity(messages.len());
        for message in messages {
            // The first of several in one batch with this id is the one that was added.
            let key = (message.device.clone(), message.message_id.clone());
            outcome.push(match positions.remove(&key) {
                Some(position) => Added::New(position),
                None => seen_before(&mut transaction, message).await?,
            });
        }
        transaction.commit().await?;
        let newest = outcome.iter().filter_map(|added| match added {
            Added::New(position) => Some(*position),
            Added::Duplicate | Added::Replay => None,
        });
        if let Some(newest) = newest.max() {
            self.newest.send_replace(newest);
        }
        Ok(outcome)
    }

    /// Returns the position of the newest message, as it changes.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Returns the messages behind a position, at most `limit`, in order.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn after(&self, position: u64, limit: u32) -> Result<Vec<Logged>, Error> {
        let rows =
            sqlx::query("SELECT * FROM messages WHERE position > $1 ORDER BY position LIMIT $2")
                .bind(to_integer(position))
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
        rows.iter().map(|row| read(&Row::new("messages", row))).collect()
    }

    /// Returns the messages of a device before a position, the newest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn of_device(
        &self,
        device: &DeviceId,
        before: u64,
        limit: u32,
    ) -> Result<Vec<Logged>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM messages WHERE device = $1 AND position < $2 \
             ORDER BY position DESC LIMIT $3",
        )
        .bind(device.as_str())
        .bind(to_integer(before))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| read(&Row::new("messages", row))).collect()
    }

    /// Returns how many bytes the messages take on the disk, indexes included.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn bytes(&self) -> Result<u64, Error> {
        let row = sqlx::query(
            "SELECT (pages.page_count - free.freelist_count) * size.page_size AS bytes \
             FROM pragma_page_count AS pages, pragma_freelist_count AS free, pragma_page_size AS size",
        )
        .fetch_one(&self.readers)
        .await?;
        Row::new("messages", &row).number("bytes")
    }

    /// Closes all connections once they are idle, and writes the log back into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

async fn newest(readers: &SqlitePool) -> Result<u64, sqlx::Error> {
    let newest: i64 = sqlx::query_scalar("SELECT COALESCE(max(position), 0) FROM messages")
        .fetch_one(readers)
        .await?;
    Ok(newest.unsigned_abs())
}

/// Tells what a message is whose id is in the log.
async fn seen_before(db: &mut sqlx::SqliteConnection, message: &Message) -> Result<Added, Error> {
    let row = sqlx::query("SELECT envelope FROM messages WHERE device = $1 AND message_id = $2")
        .bind(message.device.as_str())
        .bind(message.message_id.as_str())
        .fetch_one(db)
        .await?;
    let earlier = Row::new("messages", &row).as_stored("envelope")?;
    let same = payload(&earlier).is_some() && payload(&earlier) == payload(&message.envelope);
    Ok(if same { Added::Duplicate } else { Added::Replay })
}

fn payload(envelope: &str) -> Option<&str> {
    Envelope::parse(envelope.as_bytes()).ok().map(|envelope| envelope.payload)
}

fn read(row: &Row<'_>) -> Result<Logged, Error> {
    let kind = |text: &str| Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
    Ok(Logged {
        position: row.number("position")?,
        message: Message {
            device: row.parse("device")?,
            kind: row.word("kind", kind)?,
            message_id: row.parse("message_id")?,
            signed_by: row.text("signed_by")?,
            received_at: row.number("received_at")?,
            envelope: row.as_stored("envelope")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn message(device: &str, id: &str, payload: &str) -> Message {
        let header = waxwing_wire::envelope::Header {
            device_id: device.parse().unwrap(),
            timestamp: 0,
            message_id: id.parse().unwrap(),
        };
        Message {
            device: header.device_id.clone(),
            kind: Kind::Telemetry,
            message_id: header.message_id.clone(),
            signed_by: "00".to_owned(),
            received_at: 0,
            envelope: header.seal(payload, "00"),
        }
    }

    #[tokio::test]
    async fn each_message_of_a_batch_is_judged_by_itself_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("messages.db");
        let log = MessageLog::open(&file, u64::MAX).await.unwrap();
        let odd = message("d-1", "m-1", r#"{"a":"\u0000 \" ° \\"}"#);
        let batch = [
            odd.clone(),
            message("d-2", "m-1", "{}"),
            odd.clone(),
            message("d-1", "m-1", "{}"),
            message("d-1", "m-2", "{}"),
        ];
        let added = log.add(&batch).await.unwrap();
        let expected =
            [Added::New(1), Added::New(2), Added::Duplicate, Added::Replay, Added::New(5)];
        assert_eq!(added, expected);
        log.close().await;
        let log = MessageLog::open(&file, u64::MAX).await.unwrap();
        assert_eq!(log.add(&batch[2..4]).await.unwrap(), expected[2..4]);
        assert_eq!(log.after(0, 10).await.unwrap().len(), 3);
        assert_eq!(log.after(0, 1).await.unwrap()[0].message, odd);
    }

    #[tokio::test]
    async fn a_log_at_its_limit_takes_nothing_until_something_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("messages.db");
        let log = MessageLog::open(&file, 1 << 20).await.unwrap();
        let text = format!("{{\"a\":\"{}\"}}", "x".repeat(7000));
        let mut added = 0;
        while added < 1000 && log.add(&[message("d-1", &format!("m-{added}"), &text)]).await.is_ok()
        {
            added += 1;
        }
        assert!((50..1000).contains(&added), "{added}");
        let refused = log.add(&[message("d-1", "other", "{}")]).await.unwrap_err();
        assert!(refused.is_full(), "{refused}");
        assert_eq!(log.forget(1, u64::MAX, 20).await.unwrap(), 20);
        log.add(&[message("d-1", "other", "{}")]).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_takes_nothing_and_needs_no_restart_when_there_is_room_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("messages.db");
        let log = MessageLog::open(&file, u64::MAX).await.unwrap();
        // SQLite takes this as "no page more than there are".
        sqlx::query("PRAGMA max_page_count = 1").execute(&log.writer).await.unwrap();
        let text = format!("{{\"a\":\"{}\"}}", "x".repeat(7000));
        let mut added = 0;
        let refused = loop {
            match log.add(&[message("d-1", &format!("m-{added}"), &text)]).await {
                Ok(_) => added += 1,
                Err(error) => break error,
            }
            assert!(added < 1000, "the disk never fills");
        };
        assert!(refused.is_full(), "{refused}");
        sqlx::query("PRAGMA max_page_count = 1000000").execute(&log.writer).await.unwrap();
        let last = message("d-1", &format!("m-{added}"), &text);
        assert!(matches!(log.add(&[last]).await.unwrap()[..], [Added::New(_)]));
        assert_eq!(log.after(0, 1000).await.unwrap().len(), added + 1);
    }

    #[tokio::test]
    async fn two_processes_take_in_an_id_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("messages.db");
        let (one, other) = (
            MessageLog::open(&file, u64::MAX).await.unwrap(),
            MessageLog::open(&file, u64::MAX).await,
        );
        let batch: Vec<_> = (0..50).map(|n| message("d-1", &format!("m-{n}"), "{}")).collect();
        let other = other.unwrap();
        let (one, other) = tokio::join!(one.add(&batch), other.add(&batch));
        let (one, other) = (one.unwrap(), other.unwrap());
        let is_new = |added: &Added| matches!(added, Added::New(_));
        assert!(one.iter().zip(&other).all(|(a, b)| is_new(a) != is_new(b)));
    }
}
