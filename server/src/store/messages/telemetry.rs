//! What devices measured of late, and last.

use sqlx::SqliteConnection;
use waxwing_wire::DeviceId;

use super::{Logged, MessageLog, read};
use crate::store::Error;
use crate::store::row::{Row, to_integer};

impl MessageLog {
    /// Returns telemetry of a device that came at or after a time and lies before a position, the newest
    /// first, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn telemetry(
        &self,
        device: &DeviceId,
        since_ms: u64,
        before: u64,
        limit: u32,
    ) -> Result<Vec<Logged>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM messages WHERE device = $1 AND kind = 'telemetry' AND position < $2 \
             ORDER BY position DESC LIMIT $3",
        )
        .bind(device.as_str())
        .bind(to_integer(before))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        let logged = rows.iter().map(|row| read(&Row::new("messages", row)));
        // Not a condition of the query: that would look through all that is older.
        let is_late = |it: &Result<Logged, Error>| {
            it.as_ref().map_or(true, |it| it.message.received_at >= since_ms)
        };
        logged.take_while(is_late).collect()
    }

    /// Returns the last telemetry of a device, however long ago that was.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn last_telemetry(&self, device: &DeviceId) -> Result<Option<Logged>, Error> {
        let last = self.telemetry(device, 0, u64::MAX, 1).await?.pop();
        if last.is_some() {
            return Ok(last);
        }
        let row = sqlx::query("SELECT * FROM last_telemetry WHERE device = $1")
            .bind(device.as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(|row| read(&Row::new("last_telemetry", row))).transpose()
    }
}

/// Keeps the last telemetry of each device among what is about to be forgotten.
pub(super) async fn keep_last(
    db: &mut SqliteConnection,
    before_ms: u64,
    up_to: u64,
    limit: u32,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO last_telemetry (device, position, kind, message_id, signed_by, received_at, envelope) \
         SELECT device, position, kind, message_id, signed_by, received_at, envelope FROM messages \
         WHERE position IN (SELECT position FROM messages \
         WHERE position <= $2 ORDER BY position LIMIT $3) \
         AND received_at < $1 AND kind = 'telemetry' AND NOT EXISTS (SELECT 1 FROM messages AS later \
         WHERE later.device = messages.device AND later.position > messages.position \
         AND later.kind = 'telemetry') \
         ON CONFLICT (device) DO UPDATE SET position = excluded.position, \
         message_id = excluded.message_id, signed_by = excluded.signed_by, \
         received_at = excluded.received_at, envelope = excluded.envelope",
    )
    .bind(to_integer(before_ms))
    .bind(to_integer(up_to))
    .bind(limit)
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::super::tests::message;
    use super::*;

    #[tokio::test]
    async fn what_a_device_measured_last_is_known_also_when_the_log_has_forgotten_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = MessageLog::open(&folder.path().join("messages.db"), u64::MAX).await.unwrap();
        let at = |received_at, message| Message { received_at, ..message };
        let last = at(20, message("d-1", "m-2", r#"{"t":2}"#));
        let all = [at(10, message("d-1", "m-1", r#"{"t":1}"#)), last.clone()];
        log.add(&all).await.unwrap();
        log.add(&[at(30, message("d-2", "m-1", "{}"))]).await.unwrap();
        let device = DeviceId::parse("d-1").unwrap();
        let of_late = async |since_ms| log.telemetry(&device, since_ms, u64::MAX, 9).await.unwrap();
        assert_eq!((of_late(10).await.len(), of_late(11).await.len()), (2, 1));
        assert_eq!(log.forget(25, u64::MAX, 9).await.unwrap(), 2);
        assert_eq!(of_late(0).await, []);
        let known = async || log.last_telemetry(&device).await.unwrap().unwrap().message;
        assert_eq!(known().await, last);
        let newer = at(40, message("d-1", "m-3", "{}"));
        log.add(std::slice::from_ref(&newer)).await.unwrap();
        assert_eq!(known().await, newer);
        log.forget(50, u64::MAX, 9).await.unwrap();
        assert_eq!(known().await, newer);
        let other = DeviceId::parse("d-3").unwrap();
        assert_eq!(log.last_telemetry(&other).await.unwrap(), None);
    }
}
