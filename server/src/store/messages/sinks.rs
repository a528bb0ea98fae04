//! Where sinks are in the message log, and what they did not take.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::{Logged, MessageLog, read};
use crate::domain::sink::DEAD_LETTERS_MAX;
use crate::domain::sink::progress::{Cursor, Dead};
use crate::store::Error;
use crate::store::row::{Row, to_integer, to_json};

/// A message that a sink did not take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeadLetter {
    /// The message, at its place in the log.
    pub logged: Logged,
    /// Why it was not taken, for people.
    pub reason: String,
    /// How often it was sent.
    pub tries: u32,
    /// When it was given up, in Unix milliseconds.
    pub died_at: u64,
    /// Whether somebody asked to send it again.
    pub asked: bool,
}

/// Which dead letters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Which {
    /// All of a sink.
    All,
    /// That of one message.
    One(u64),
}

impl Which {
    /// Returns the first and the last position that may be meant.
    const fn range(self) -> (u64, u64) {
        match self {
            Self::All => (0, u64::MAX),
            Self::One(position) => (position, position),
        }
    }
}

impl MessageLog {
    /// Returns where a sink is. One that is new begins with the next message, or with the first one.
    ///
    /// # Errors
    ///
    /// When the disk fails or is full.
    pub async fn cursor(&self, sink: &str, from_the_first: bool) -> Result<Cursor, Error> {
        let _turn = self.turn.lock().await;
        let row = sqlx::query(
            "INSERT INTO sinks (name, taken, sent) SELECT $1, position, position FROM \
             (SELECT CASE WHEN $2 THEN 0 ELSE COALESCE(max(position), 0) END AS position FROM messages) \
             WHERE true ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING taken, sent",
        )
        .bind(sink)
        .bind(from_the_first)
        .fetch_one(&self.writer)
        .await?;
        let row = Row::new("sinks", &row);
        Ok(Cursor { taken: row.number("taken")?, sent: row.number("sent")? })
    }

    /// Writes where a sink is, and what it did not take, in one transaction; returns how many dead letters
    /// there was no room for any more, the oldest.
    ///
    /// # Errors
    ///
    /// When the disk fails or is full; then nothing has changed.
    pub async fn move_sink(
        &self,
        sink: &str,
        cursor: Cursor,
        dead: &[(Logged, Dead)],
        now_ms: u64,
    ) -> Result<u64, Error> {
        let _turn = self.turn.lock().await;
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("UPDATE sinks SET taken = $2, sent = $3 WHERE name = $1")
            .bind(sink)
            .bind(to_integer(cursor.taken))
            .bind(to_integer(cursor.sent))
            .execute(&mut *transaction)
            .await?;
        let mut dropped = 0;
        if !dead.is_empty() {
            bury(&mut transaction, sink, dead, now_ms).await?;
            dropped = drop_oldest(&mut transaction, sink).await?;
        }
        transaction.commit().await?;
        Ok(dropped)
    }

    /// Returns up to where all of these sinks are: what lies behind may still be needed.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn taken_by_all(&self, sinks: &[&str]) -> Result<u64, Error> {
        let row = sqlx::query(
            "SELECT min(taken) AS taken FROM sinks \
             WHERE name IN (SELECT value FROM json_each($1))",
        )
        .bind(to_json(&sinks))
        .fetch_one(&self.readers)
        .await?;
        Ok(Row::new("sinks", &row).number_or_null("taken")?.unwrap_or(u64::MAX))
    }

    /// Returns dead letters of a sink behind a position, in order.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn dead_letters(
        &self,
        sink: &str,
        after: u64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM dead_letters WHERE sink = $1 AND position > $2 \
             ORDER BY position LIMIT $3",
        )
        .bind(sink)
        .bind(to_integer(after))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(dead_letter).collect()
    }

    /// Returns the dead letters of a sink that somebody asked to send again, in order.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn asked_for(&self, sink: &str, limit: u32) -> Result<Vec<DeadLetter>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM dead_letters WHERE sink = $1 AND asked = 1 ORDER BY position LIMIT $2",
        )
        .bind(sink)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(dead_letter).collect()
    }

    /// Returns how many dead letters a sink has.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn count_dead(&self, sink: &str) -> Result<u64, Error> {
        let row = sqlx::query("SELECT count(*) AS letters FROM dead_letters WHERE sink = $1")
            .bind(sink)
            .fetch_one(&self.readers)
            .await?;
        Row::new("dead_letters", &row).number("letters")
    }

    /// Asks to send dead letters of a sink again; returns how many.
    ///
    /// # Errors
    ///
    /// When the disk fails or is full.
    pub async fn ask_for(&self, sink: &str, which: Which) -> Result<u64, Error> {
        let _turn = self.turn.lock().await;
        let (first, last) = which.range();
        let done = sqlx::query(
            "UPDATE dead_letters SET asked = 1 WHERE sink = $1 AND position BETWEEN $2 AND $3",
        )
        .bind(sink)
        .bind(to_integer(first))
        .bind(to_integer(last))
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }

    /// Writes that a dead letter was not taken again.
    ///
    /// # Errors
    ///
    /// When the disk fails or is full.
    pub async fn rebury(&self, sink: &str, position: u64, reason: &str) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        sqlx::query(
            "UPDATE dead_letters SET asked = 0, tries = tries + 1, reason = $3 \
             WHERE sink = $1 AND position = $2",
        )
        .bind(sink)
        .bind(to_integer(position))
        .bind(reason)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Removes dead letters of a sink; returns how many.
    ///
    /// # Errors
    ///
    /// When the disk fails or is full.
    pub async fn discard(&self, sink: &str, which: Which) -> Result<u64, Error> {
        let _turn = self.turn.lock().await;
        let (first, last) = which.range();
        let done =
            sqlx::query("DELETE FROM dead_letters WHERE sink = $1 AND position BETWEEN $2 AND $3")
                .bind(sink)
                .bind(to_integer(first))
                .bind(to_integer(last))
                .execute(&self.writer)
                .await?;
        Ok(done.rows_affected())
    }
}

async fn bury(
    db: &mut SqliteConnection,
    sink: &str,
    dead: &[(Logged, Dead)],
    now_ms: u64,
) -> Result<(), Error> {
    for (Logged { position, message }, Dead { reason, tries, .. }) in dead {
        // It may have been buried before a crash that the cursor did not survive.
        sqlx::query(
            "INSERT INTO dead_letters (sink, position, device, kind, message_id, signed_by, \
             received_at, envelope, reason, tries, died_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (sink, position) DO NOTHING",
        )
        .bind(sink)
        .bind(to_integer(*position))
        .bind(message.device.as_str())
        .bind(message.kind.as_str())
        .bind(message.message_id.as_str())
        .bind(&message.signed_by)
        .bind(to_integer(message.received_at))
        .bind(message.envelope.as_bytes())
        .bind(reason)
        .bind(i64::from(*tries))
        .bind(to_integer(now_ms))
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

async fn drop_oldest(db: &mut SqliteConnection, sink: &str) -> Result<u64, Error> {
    let done = sqlx::query(
        "DELETE FROM dead_letters WHERE sink = $1 AND position IN (SELECT position FROM dead_letters \
         WHERE sink = $1 ORDER BY position DESC LIMIT -1 OFFSET $2)",
    )
    .bind(sink)
    .bind(DEAD_LETTERS_MAX)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

fn dead_letter(row: &SqliteRow) -> Result<DeadLetter, Error> {
    let row = Row::new("dead_letters", row);
    Ok(DeadLetter {
        logged: read(&row)?,
        reason: row.text("reason")?,
        tries: row.number("tries")?,
        died_at: row.number("died_at")?,
        asked: row.number::<u8>("asked")? == 1,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::message;
    use super::*;

    async fn log() -> (MessageLog, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let log = MessageLog::open(&folder.path().join("messages.db"), u64::MAX).await.unwrap();
        log.add(&[message("d-1", "m-1", "{}"), message("d-1", "m-2", "{}")]).await.unwrap();
        (log, folder)
    }

    fn dead(logged: Logged) -> (Logged, Dead) {
        let dead = Dead { position: logged.position, reason: "http_400".to_owned(), tries: 1 };
        (logged, dead)
    }

    #[tokio::test]
    async fn a_new_sink_begins_with_the_next_message_or_with_the_first_one_and_stays_where_it_is() {
        let (log, _folder) = log().await;
        let at = |taken| Cursor { taken, sent: taken };
        assert_eq!(log.cursor("now", false).await.unwrap(), at(2));
        assert_eq!(log.cursor("all", true).await.unwrap(), at(0));
        let moved = Cursor { taken: 1, sent: 2 };
        log.move_sink("all", moved, &[], 0).await.unwrap();
        assert_eq!(log.cursor("all", true).await.unwrap(), moved);
        assert_eq!(log.taken_by_all(&["now", "all"]).await.unwrap(), 1);
        assert_eq!(log.taken_by_all(&["now"]).await.unwrap(), 2);
        assert_eq!(log.taken_by_all(&[]).await.unwrap(), u64::MAX);
    }

    #[tokio::test]
    async fn dead_letters_outlive_the_log_and_are_sent_again_when_somebody_asks() {
        let (log, _folder) = log().await;
        let cursor = log.cursor("a", true).await.unwrap();
        let all = log.after(0, 9).await.unwrap();
        let letters: Vec<_> = all.iter().cloned().map(dead).collect();
        log.move_sink("a", cursor, &letters, 7).await.unwrap();
        log.move_sink("a", cursor, &letters, 8).await.unwrap();
        log.forget(u64::MAX, u64::MAX, 9).await.unwrap();
        let kept = log.dead_letters("a", 0, 9).await.unwrap();
        assert_eq!(kept.iter().map(|it| it.logged.clone()).collect::<Vec<_>>(), all);
        assert_eq!((kept[0].died_at, kept[0].tries, kept[0].asked), (7, 1, false));
        assert_eq!(log.asked_for("a", 9).await.unwrap(), []);
        assert_eq!(log.ask_for("a", Which::One(2)).await.unwrap(), 1);
        assert_eq!(log.asked_for("a", 9).await.unwrap()[0].logged, all[1]);
        log.rebury("a", 2, "http_422").await.unwrap();
        let again = log.dead_letters("a", 1, 9).await.unwrap();
        assert_eq!((again[0].tries, again[0].asked, &*again[0].reason), (2, false, "http_422"));
        assert_eq!(log.discard("b", Which::All).await.unwrap(), 0);
        assert_eq!(log.discard("a", Which::All).await.unwrap(), 2);
        assert_eq!(log.count_dead("a").await.unwrap(), 0);
    }

    #[tokio::test]
    async fn of_too_many_dead_letters_the_oldest_go() {
        let (log, _folder) = log().await;
        let cursor = log.cursor("a", true).await.unwrap();
        let one = log.after(0, 1).await.unwrap().remove(0);
        let letters = 1..=u64::from(DEAD_LETTERS_MAX) + 3;
        let letters = letters.map(|position| dead(Logged { position, ..one.clone() }));
        let dropped = log.move_sink("a", cursor, &letters.collect::<Vec<_>>(), 0).await.unwrap();
        assert_eq!(dropped, 3);
        assert_eq!(log.dead_letters("a", 0, 1).await.unwrap()[0].logged.position, 4);
    }
}
