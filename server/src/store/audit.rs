//! The audit log: chained and written in the transaction of each change, read by page.
//!
//! The end of the chain is kept beside the rows and moved on with them. There is one writer at a time,
//! and a number is given once: no two rows follow the same one. Whatever somebody did to these
//! tables, new rows are still written, after the highest number there is; that the chain is broken
//! is for those who check it to say. Not here: what a hash is made of ([`waxwing_audit`]).

mod checkpoints;

use sqlx::{Connection as _, SqliteConnection};
use waxwing_audit::{Head, Link, Origin, Row as AuditRow};
use waxwing_wire::Digest;

pub use self::checkpoints::{Stored, add_checkpoint, checkpoints, last_checkpoint};
use super::row::{Row, to_integer};
use super::{Error, Store};
use crate::domain::audit::{Action, Entry};

/// Rows that are chained at a time when a database from before the chain is opened.
const CHAINED_AT_ONCE: u32 = 1000;

/// The name and the end of the log, as kept beside it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// Its name.
    pub origin: Origin,
    /// Its end.
    pub head: Head,
}

/// Adds a line.
pub async fn add(db: &mut SqliteConnection, entry: &Entry) -> Result<(), Error> {
    let head = end(&mut *db).await?;
    let row = AuditRow {
        id: head.size.saturating_add(1),
        at: to_integer(entry.at),
        actor: entry.actor.clone(),
        action: entry.action.as_str().to_owned(),
        subject: entry.subject.clone(),
        reason: entry.reason.clone(),
        detail: entry.detail.to_string(),
    };
    let head = head.after(&row);
    sqlx::query(
        "INSERT INTO audit (id, at, actor, action, subject, reason, detail, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(row.id)
    .bind(row.at)
    .bind(row.actor)
    .bind(row.action)
    .bind(row.subject)
    .bind(row.reason)
    .bind(row.detail)
    .bind(head.hash.to_string())
    .execute(&mut *db)
    .await?;
    move_end(db, &head).await
}

/// Returns the lines after a line number, oldest first, each with its number.
pub async fn page(store: &Store, after: i64, limit: u32) -> Result<Vec<(i64, Entry)>, Error> {
    let rows = sqlx::query("SELECT * FROM audit WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(limit)
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(|row| read(&Row::new("audit", row))).collect()
}

/// Returns the rows after a number, all from the first one without it, as they are stored: whatever
/// they hold, it is shown and not judged.
pub async fn links(
    db: &mut SqliteConnection,
    after: Option<i64>,
    limit: u32,
) -> Result<Vec<Link>, Error> {
    let rows = sqlx::query("SELECT * FROM audit WHERE $1 IS NULL OR id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| read_link(&Row::new("audit", row))).collect()
}

/// Returns the name and the end of the log; `None` when somebody removed or damaged them.
pub async fn log(db: &mut SqliteConnection) -> Result<Option<Log>, Error> {
    let row = sqlx::query("SELECT * FROM audit_log").fetch_optional(db).await?;
    let Some(row) = row else { return Ok(None) };
    let row = Row::new("audit_log", &row);
    let origin = Origin::parse(&row.as_stored("origin")?);
    let hash = row.as_stored("hash")?.parse();
    let (Some(origin), Ok(hash)) = (origin, hash) else { return Ok(None) };
    Ok(Some(Log { origin, head: Head { size: row.number("size")?, hash } }))
}

/// Chains the rows of a database from before the chain. Does nothing ever after.
pub(super) async fn chain_existing(db: &mut SqliteConnection) -> Result<(), Error> {
    let row = sqlx::query("SELECT * FROM audit_log WHERE hash = ''").fetch_optional(&mut *db);
    let Some(row) = row.await? else { return Ok(()) };
    let origin = Row::new("audit_log", &row).as_stored("origin")?;
    // Damaged already: for those who check the chain to say.
    let Some(origin) = Origin::parse(&origin) else { return Ok(()) };
    let mut transaction = db.begin().await?;
    let mut head = Head::genesis(&origin);
    let mut after = None;
    loop {
        let links = links(&mut transaction, after, CHAINED_AT_ONCE).await?;
        let Some(last) = links.last() else { break };
        after = Some(last.row.id);
        for Link { row, .. } in links {
            head = head.after(&row);
            set_hash(&mut transaction, &head).await?;
        }
    }
    move_end(&mut transaction, &head).await?;
    Ok(transaction.commit().await?)
}

/// Returns after what the next row comes: the kept end, but never before the highest number.
async fn end(db: &mut SqliteConnection) -> Result<Head, Error> {
    let kept = log(&mut *db).await?.map(|log| log.head);
    let row = sqlx::query("SELECT COALESCE(MAX(id), 0) AS last FROM audit").fetch_one(db).await?;
    let last = Row::new("audit", &row).number("last")?;
    let head = kept.unwrap_or(Head { size: 0, hash: Digest([0; 32]) });
    Ok(Head { size: head.size.max(last), ..head })
}

async fn move_end(db: &mut SqliteConnection, head: &Head) -> Result<(), Error> {
    sqlx::query("UPDATE audit_log SET size = $1, hash = $2")
        .bind(head.size)
        .bind(head.hash.to_string())
        .execute(db)
        .await?;
    Ok(())
}

async fn set_hash(db: &mut SqliteConnection, head: &Head) -> Result<(), Error> {
    sqlx::query("UPDATE audit SET hash = $2 WHERE id = $1")
        .bind(head.size)
        .bind(head.hash.to_string())
        .execute(db)
        .await?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<(i64, Entry), Error> {
    let entry = Entry {
        at: row.number("at")?,
        actor: row.text("actor")?,
        action: row.word("action", Action::parse)?,
        subject: row.text("subject")?,
        reason: row.text("reason")?,
        detail: row.json("detail")?,
    };
    Ok((row.number("id")?, entry))
}

fn read_link(row: &Row<'_>) -> Result<Link, Error> {
    let hash = row.text_or_null("hash")?.and_then(|hash| hash.parse().ok());
    let row = AuditRow {
        id: row.number("id")?,
        at: row.number("at")?,
        actor: row.as_stored("actor")?,
        action: row.as_stored("action")?,
        subject: row.as_stored("subject")?,
        reason: row.as_stored("reason")?,
        detail: row.as_stored("detail")?,
    };
    Ok(Link { row, hash })
}

#[cfg(test)]
mod tests;
