//! The only SQL: one file per aggregate, plain functions over a connection or a transaction.
//!
//! SQLite in WAL mode with `synchronous = FULL`: what was answered survives a power cut. One writer
//! connection, so that writers queue here instead of failing with "database is locked", and whoever
//! holds a [`Change`] is the only one who changes anything.
//! Not here: decisions. What a row means and whether it may change is asked of `domain`.
//!
//! SQL is static text with `$1` placeholders that PostgreSQL understands too (D30).

pub mod alerts;
pub mod audit;
pub mod carried_polls;
pub mod clock_mark;
pub mod commands;
pub mod contact;
pub mod deployments;
pub mod device_gateways;
pub mod device_readers;
pub mod devices;
pub mod documents;
pub mod effects;
pub mod enrolment;
pub mod evidence;
pub mod groups;
pub mod images;
pub mod keys;
pub mod mails;
pub mod messages;
pub mod metadata;
pub mod operator_certificates;
pub mod operators;
pub mod product_commands;
pub mod products;
pub mod relay;
pub mod releases;
pub mod reports;
pub mod rollouts;
mod row;
pub mod sessions;
pub mod silences;
pub mod webhooks;

use std::fs::{self, File, Permissions};
use std::future::ready;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, Sqlite, SqliteConnection};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinError;
use tokio::time::timeout;

/// Connections that read at once: a few more than the cores of a small machine.
const READERS_MAX: u32 = 8;

/// Mode of the database: owner only, whatever the folder allows.
const FILE_MODE: u32 = 0o600;

/// How long a writer waits for another process, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a sign of life may take. The longest change is a fifth of a second; behind a few of them
/// the server still works.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    readers: SqlitePool,
    writer: SqlitePool,
    turn: Arc<Mutex<()>>,
    snapshots: Arc<Mutex<()>>,
}

/// The database as it was at one moment, for whoever reads for long. What is written meanwhile is not in
/// it, and nobody waits for it but the next snapshot: the log of the database cannot shrink before it
/// is dropped.
#[derive(Debug)]
pub struct Snapshot {
    transaction: sqlx::Transaction<'static, Sqlite>,
    _turn: OwnedMutexGuard<()>,
}

impl Snapshot {
    /// Returns the connection, for the functions of this module that read.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

/// What the functions of this module speak to the database on: a reader, or that of a [`Change`].
pub type Connection = SqliteConnection;

/// The only transaction that may write. Dropped, it rolls back.
#[derive(Debug)]
pub struct Change {
    transaction: sqlx::Transaction<'static, Sqlite>,
    turn: Turn,
}

/// The right to be the only one who changes anything. Whoever committed a [`Change`] holds it until
/// the fleet in memory shows the same.
#[derive(Debug)]
#[must_use = "bring the fleet up to date, then drop the turn"]
pub struct Turn {
    _guard: OwnedMutexGuard<()>,
}

impl Change {
    /// Returns the connection, for the functions of this module.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    /// Makes the change durable.
    ///
    /// # Errors
    ///
    /// When the disk fails or is full; then nothing has changed.
    pub async fn commit(self) -> Result<Turn, Error> {
        self.transaction.commit().await?;
        Ok(self.turn)
    }
}

impl Store {
    /// Opens the database file, creating and migrating it as needed.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says which of opening and migrating failed, and names the file.
    pub async fn open(file: &Path) -> Result<Self, OpenError> {
        make_private(file)
            .map_err(|source| OpenError::Private { file: file.display().to_string(), source })?;
        let connect_error =
            |source| OpenError::Connect { file: file.display().to_string(), source };
        // On a full disk SQLite rolls back by itself, and the ROLLBACK that follows fails. Such a
        // connection cannot begin again: the next change gets a new one.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .before_acquire(|connection, _| Box::pin(ready(Ok(!connection.is_in_transaction()))))
            .connect_with(options(file))
            .await
            .map_err(connect_error)?;
        sqlx::migrate!("../migrations/sqlite").run(&writer).await.map_err(|source| {
            OpenError::Migrate { file: file.display().to_string(), source: Box::new(source) }
        })?;
        chain_audit(&writer)
            .await
            .map_err(|source| OpenError::Audit { file: file.display().to_string(), source })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_with(options(file).read_only(true))
            .await
            .map_err(connect_error)?;
        Ok(Self { readers, writer, turn: Arc::default(), snapshots: Arc::default() })
    }

    /// Begins a change, as soon as the one before is over.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached.
    pub async fn begin(&self) -> Result<Change, Error> {
        let turn = Turn { _guard: Arc::clone(&self.turn).lock_owned().await };
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Change { transaction, turn })
    }

    /// Returns the database as it is now, as soon as the snapshot before is dropped, and a change that
    /// is to be dropped: until then nobody writes, and the fleet in memory shows the same.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached.
    pub async fn snapshot(&self) -> Result<(Snapshot, Change), Error> {
        // In this order: writers never wait for a snapshot.
        let turn = Arc::clone(&self.snapshots).lock_owned().await;
        let nobody_writes = self.begin().await?;
        let mut transaction = self.readers.begin().await?;
        // The moment is that of the first look.
        sqlx::query("SELECT count(*) FROM products").execute(&mut *transaction).await?;
        Ok((Snapshot { transaction, _turn: turn }, nobody_writes))
    }

    /// Returns the connections for reading.
    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Returns a connection for reading what is committed.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached.
    pub async fn reader(&self) -> Result<PoolConnection<Sqlite>, Error> {
        Ok(self.readers.acquire().await?)
    }

    /// Asks the database for a sign of life: whether it can be read, and a change can begin.
    ///
    /// # Errors
    ///
    /// When it gives none in time.
    pub async fn ping(&self) -> Result<(), Error> {
        let alive = async {
            sqlx::query("SELECT 1").execute(&self.readers).await?;
            self.begin().await.map(drop)
        };
        let late = |_| Error::Database(sqlx::Error::PoolTimedOut);
        timeout(PING_TIMEOUT, alive).await.map_err(late)?
    }

    /// Closes all connections once they are idle, and writes the log back into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Makes the database for its owner only, and so what SQLite puts beside it: that gets the mode of
/// the database. What an earlier version left readable is closed.
fn make_private(file: &Path) -> io::Result<()> {
    File::options().create(true).append(true).mode(FILE_MODE).open(file)?;
    for suffix in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        match fs::set_permissions(&name, Permissions::from_mode(FILE_MODE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

async fn chain_audit(writer: &SqlitePool) -> Result<(), Error> {
    let mut connection = writer.acquire().await?;
    audit::chain_existing(&mut connection).await
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Something went wrong while reading or writing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row holds what this version of the server cannot have written.
    #[error("{table}: the column {column} holds {value:?}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
    /// The message log has grown to its limit.
    #[error("the message log is full; raise `messages.bytes`, or lower `messages.kept_hours`")]
    Full,
    /// The database failed, or the disk is full.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// Tells whether what is stored is wrong, and not the database: others can still be read.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Database(sqlx::Error::ColumnDecode { .. }))
    }

    /// Tells whether the disk is full: `SQLITE_FULL`.
    pub fn is_full(&self) -> bool {
        const SQLITE_FULL: &str = "13";
        match self {
            Self::Damaged { .. } => false,
            Self::Full => true,
            Self::Database(error) => error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code)
                .is_some_and(|code| code == SQLITE_FULL),
        }
    }
}

/// The database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The rows of the audit log that were there cannot be chained.
    #[error("cannot chain the audit log in the database {file}")]
    Audit {
        /// The database file.
        file: String,
        /// Why.
        source: Error,
    },
    /// The file cannot be opened or created.
    #[error("cannot open the database {file}")]
    Connect {
        /// The database file.
        file: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The file cannot be made, or not for its owner only.
    #[error("cannot make the database {file} private")]
    Private {
        /// The database file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The schema cannot be brought up to date; nothing was changed.
    #[error("cannot bring the schema of the database {file} up to date")]
    Migrate {
        /// The database file.
        file: String,
        /// Why.
        source: Box<sqlx::migrate::MigrateError>,
    },
}

impl From<JoinError> for Error {
    /// A change that ran in a task of its own was cut off.
    fn from(error: JoinError) -> Self {
        Self::Database(sqlx::Error::Io(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn opening_creates_migrates_and_reopens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("waxwing.db");
        for _ in 0..2 {
            let store = Store::open(&file).await.unwrap();
            store.ping().await.unwrap();
            let mode: String =
                sqlx::query_scalar("PRAGMA journal_mode").fetch_one(store.readers()).await.unwrap();
            assert_eq!(mode, "wal");
            store.close().await;
        }
    }

    #[tokio::test]
    async fn the_database_is_for_its_owner_only_even_in_an_open_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let modes = || {
            let files = fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
            files.map(|file| file.metadata().unwrap().permissions().mode() & 0o777)
        };
        let file = folder.path().join("waxwing.db");
        let store = Store::open(&file).await.unwrap();
        assert_eq!(modes().collect::<Vec<_>>(), [FILE_MODE; 3], "with log and shared memory");
        store.close().await;
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let _store = Store::open(&file).await.unwrap();
        assert!(modes().all(|mode| mode == FILE_MODE));
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("waxwing.db");
        fs::write(&file, "not a database, but long enough to look at".repeat(100)).unwrap();
        let error = Store::open(&file).await.unwrap_err();
        assert!(error.to_string().contains("waxwing.db"), "{error}");
    }
}
