//! Reports as devices signed them (D25).

use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use waxwing_wire::{DeviceId, Digest, MessageId, RolloutId};

use super::Error;
use super::row::{Row, to_integer};

/// A report as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// Who said it.
    pub device: DeviceId,
    /// Its id.
    pub message_id: MessageId,
    /// Hash of its payload: the same id with another hash is a replay (D24).
    pub payload_sha256: Digest,
    /// What it is about.
    pub rollout: RolloutId,
    /// The certificate whose key it was checked against.
    pub serial: String,
    /// Whether it moved its deployment.
    pub applied: bool,
    /// When it came, in Unix milliseconds.
    pub received_at: u64,
    /// The envelope, byte for byte.
    pub envelope: Vec<u8>,
}

/// Adds a report.
pub async fn add(db: &mut SqliteConnection, report: &Evidence) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO reports (device, message_id, payload_sha256, rollout, serial, applied, \
         received_at, envelope) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(report.device.as_str())
    .bind(report.message_id.as_str())
    .bind(report.payload_sha256.to_string())
    .bind(report.rollout.as_str())
    .bind(&report.serial)
    .bind(i64::from(report.applied))
    .bind(to_integer(report.received_at))
    .bind(&report.envelope)
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the payload hash that an id of a device was used for.
pub async fn payload_of(
    db: &mut SqliteConnection,
    device: &DeviceId,
    message_id: &MessageId,
) -> Result<Option<Digest>, Error> {
    let row =
        sqlx::query("SELECT payload_sha256 FROM reports WHERE device = $1 AND message_id = $2")
            .bind(device.as_str())
            .bind(message_id.as_str())
            .fetch_optional(db)
            .await?;
    row.as_ref().map(|row| Row::new("reports", row).parse("payload_sha256")).transpose()
}

/// Counts the reports of a device about a rollout.
pub async fn count(
    db: &mut SqliteConnection,
    device: &DeviceId,
    rollout: &RolloutId,
) -> Result<u64, Error> {
    let row =
        sqlx::query("SELECT count(*) AS reports FROM reports WHERE rollout = $1 AND device = $2")
            .bind(rollout.as_str())
            .bind(device.as_str())
            .fetch_one(db)
            .await?;
    Row::new("reports", &row).number("reports")
}

/// The reports about a rollout, device by device.
pub struct ByDevice<'a> {
    rows: BoxStream<'a, Result<SqliteRow, sqlx::Error>>,
    /// The first report of the device that comes next, with its place in the order of all.
    next: Option<(i64, Report)>,
}

/// A report, with the key that it was checked against.
pub type Report = (Evidence, Vec<u8>);

/// Returns the reports about a rollout, device by device: no more of them are in memory than one device
/// may send.
pub fn of_rollout<'a>(db: &'a mut SqliteConnection, rollout: &'a RolloutId) -> ByDevice<'a> {
    let rows = sqlx::query(
        "SELECT reports.*, reports.rowid AS number, certificates.spki FROM reports \
         JOIN certificates USING (serial) WHERE rollout = $1 \
         ORDER BY reports.device, reports.received_at",
    );
    ByDevice { rows: rows.bind(rollout.as_str()).fetch(db), next: None }
}

impl ByDevice<'_> {
    /// Returns the next device with its reports, in the order in which they came.
    ///
    /// # Errors
    ///
    /// When the database fails or a row is damaged.
    pub async fn next_device(&mut self) -> Result<Option<(DeviceId, Vec<Report>)>, Error> {
        let first = match self.next.take() {
            Some(first) => first,
            None => match self.next_row().await? {
                Some(first) => first,
                None => return Ok(None),
            },
        };
        let device = first.1.0.device.clone();
        let mut all = vec![first];
        while let Some(next) = self.next_row().await? {
            if next.1.0.device != device {
                self.next = Some(next);
                break;
            }
            all.push(next);
        }
        all.sort_by_key(|(number, _)| *number);
        Ok(Some((device, all.into_iter().map(|(_, report)| report).collect())))
    }

    async fn next_row(&mut self) -> Result<Option<(i64, Report)>, Error> {
        let Some(row) = self.rows.try_next().await? else { return Ok(None) };
        let row = Row::new("reports", &row);
        Ok(Some((row.number("number")?, (read(&row)?, row.bytes("spki")?))))
    }
}

fn read(row: &Row<'_>) -> Result<Evidence, Error> {
    Ok(Evidence {
        device: row.parse("device")?,
        message_id: row.parse("message_id")?,
        payload_sha256: row.parse("payload_sha256")?,
        rollout: row.parse("rollout")?,
        serial: row.text("serial")?,
        applied: row.number::<u8>("applied")? != 0,
        received_at: row.number("received_at")?,
        envelope: row.bytes("envelope")?,
    })
}
