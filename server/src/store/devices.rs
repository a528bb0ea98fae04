//! Devices with the certificates they may use.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::Arc;

use semver::Version;
use serde::Deserialize;
use sqlx::SqliteConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use waxwing_wire::report::State;
use waxwing_wire::{DeviceId, Digest, ErrorCode, ProductId, RolloutId};

use super::row::{Row, to_integer, to_json};
use super::{Error, Store, device_gateways, device_readers, sessions};
use crate::domain::device::{Attributes, Certificate, CertificateStatus, Status, Tags};
use crate::domain::{Deployment, Device, Running, Sighting};

/// A device with its part in the rollouts.
pub type Stored = (Device, Vec<(RolloutId, Deployment)>);

/// The columns of a deployment, the device aside.
type StoredDeployment = (RolloutId, State, ErrorCode, u32, u32, u8, u64, u8, u8, u64, u64);

/// A device in the list of all, in this order.
#[derive(Deserialize)]
struct Line {
    id: DeviceId,
    product: ProductId,
    tags: Tags,
    given: BTreeMap<String, String>,
    reported: BTreeMap<String, String>,
    version: Option<Version>,
    status: Status,
    created_at: u64,
    changed_at: u64,
    message_secret: Hexadecimal,
    certificates: Vec<(String, Hexadecimal, CertificateStatus, u64, u64)>,
    deployments: Vec<StoredDeployment>,
}

/// Devices that are read at once: some five hundred kilobytes.
const PAGE: u32 = 1_000;

/// Pages that are read before they are needed: enough that nobody waits.
const PAGES_AHEAD: usize = 2;

/// A page that is being taken apart.
type ReadPage = JoinHandle<Result<Vec<Line>, Error>>;

/// What was last seen of a device, up to a second ago.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// Release that ran.
    pub version: Version,
    /// Image that ran.
    pub sha256: Digest,
    /// The device's floor.
    pub security_version: u32,
    /// The pins by which it knew us, if they were not those of its firmware.
    pub pins: Option<Digest>,
}

impl Seen {
    /// Returns what it ran.
    pub fn running(&self) -> Running {
        Running {
            version: self.version.clone(),
            sha256: self.sha256,
            security_version: self.security_version,
            pins: self.pins,
            out_s: 0,
        }
    }
}

/// Adds a device.
pub async fn add(db: &mut SqliteConnection, device: &Device) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO devices \
         (id, product, tags, status, created_at, changed_at, attributes, reported_attributes, \
         message_secret) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(device.id.as_str())
    .bind(device.product.as_str())
    .bind(to_json(&device.tags))
    .bind(device.status.as_str())
    .bind(to_integer(device.created_at))
    .bind(to_integer(device.changed_at))
    .bind(to_json(&device.attributes.given))
    .bind(to_json(&device.attributes.reported))
    .bind(&device.message_secret)
    .execute(db)
    .await?;
    Ok(())
}

/// Writes tags, attributes, status, sealed secret and time of change.
pub async fn update(db: &mut SqliteConnection, device: &Device) -> Result<(), Error> {
    sqlx::query(
        "UPDATE devices SET tags = $2, status = $3, changed_at = $4, attributes = $5, \
         reported_attributes = $6, message_secret = $7 WHERE id = $1",
    )
    .bind(device.id.as_str())
    .bind(to_json(&device.tags))
    .bind(device.status.as_str())
    .bind(to_integer(device.changed_at))
    .bind(to_json(&device.attributes.given))
    .bind(to_json(&device.attributes.reported))
    .bind(&device.message_secret)
    .execute(db)
    .await?;
    Ok(())
}

/// Writes when something changed for each of these devices, as one statement.
pub async fn change_some(db: &mut SqliteConnection, devices: &[Device]) -> Result<(), Error> {
    let rows = devices.iter().map(|device| (&device.id, device.changed_at));
    sqlx::query(
        "UPDATE devices SET changed_at = changed.value ->> 1 \
         FROM json_each($1) AS changed WHERE devices.id = changed.value ->> 0",
    )
    .bind(to_json(&rows.collect::<Vec<_>>()))
    .execute(db)
    .await?;
    Ok(())
}

/// Writes that something changed for every device.
pub async fn change_all(db: &mut SqliteConnection, at: u64) -> Result<(), Error> {
    sqlx::query("UPDATE devices SET changed_at = $1 WHERE changed_at < $1")
        .bind(to_integer(at))
        .execute(db)
        .await?;
    Ok(())
}

/// Takes all certificates and unspent tokens from a device.
pub async fn shut_out(
    db: &mut SqliteConnection,
    device: &DeviceId,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query("UPDATE certificates SET status = 'revoked', revoked_at = $2 WHERE device = $1")
        .bind(device.as_str())
        .bind(to_integer(now_ms))
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM tokens WHERE device = $1")
        .bind(device.as_str())
        .execute(&mut *db)
        .await?;
    device_gateways::forget(&mut *db, device).await?;
    device_readers::forget(&mut *db, device).await?;
    sessions::remove(db, device).await
}

/// Writes what was seen of many devices, as one statement.
pub async fn see(
    db: &mut SqliteConnection,
    sightings: &[(DeviceId, Sighting)],
) -> Result<(), Error> {
    let rows = sightings.iter().map(|(device, seen)| {
        let running = &seen.running;
        let pins = running.pins;
        (device, seen.at, &running.version, running.sha256, running.security_version, pins)
    });
    sqlx::query(
        "UPDATE devices SET seen_at = seen.value ->> 1, version = seen.value ->> 2, \
         sha256 = seen.value ->> 3, security_version = seen.value ->> 4, \
         pins = seen.value ->> 5 \
         FROM json_each($1) AS seen WHERE devices.id = seen.value ->> 0",
    )
    .bind(to_json(&rows.collect::<Vec<_>>()))
    .execute(db)
    .await?;
    Ok(())
}

/// Writes when devices last said something by a message, as one statement.
pub async fn hear(db: &mut SqliteConnection, heard: &[(DeviceId, u64)]) -> Result<(), Error> {
    sqlx::query(
        "UPDATE devices SET heard_at = heard.value ->> 1 FROM json_each($1) AS heard \
         WHERE devices.id = heard.value ->> 0 AND coalesce(heard_at, 0) < heard.value ->> 1",
    )
    .bind(to_json(&heard))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns what was last seen of a device.
pub async fn seen(store: &Store, device: &DeviceId) -> Result<Option<Seen>, Error> {
    let row = sqlx::query("SELECT * FROM devices WHERE id = $1")
        .bind(device.as_str())
        .fetch_optional(store.readers())
        .await?;
    row.as_ref().map_or(Ok(None), |row| read_seen(&Row::new("devices", row)))
}

/// Returns what each device of a product was last seen with; those never seen are left out.
pub async fn running_of(
    store: &Store,
    product: &ProductId,
) -> Result<HashMap<DeviceId, Running>, Error> {
    let rows = sqlx::query(
        "SELECT id, seen_at, version, sha256, security_version, pins FROM devices \
         WHERE product = $1 AND seen_at IS NOT NULL",
    )
    .bind(product.as_str())
    .fetch_all(store.readers())
    .await?;
    let rows = rows.iter().map(|row| Row::new("devices", row));
    let seen = rows.filter_map(|row| {
        let running = read_seen(&row).transpose()?;
        Some(running.and_then(|seen| Ok((row.parse("id")?, seen.running()))))
    });
    seen.collect()
}

/// Returns a page of devices by name, each with what was last seen of it.
pub async fn page(
    store: &Store,
    product: Option<&str>,
    after: &str,
    limit: u32,
) -> Result<Vec<(DeviceId, Option<Seen>)>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM devices WHERE id > $1 AND ($2 IS NULL OR product = $2) \
         ORDER BY id LIMIT $3",
    )
    .bind(after)
    .bind(product)
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    let rows = rows.iter().map(|row| Row::new("devices", row));
    rows.map(|row| Ok((row.parse("id")?, read_seen(&row)?))).collect()
}

/// Hands over all devices by name, one after the other, each with its part in the rollouts. While they
/// are taken, the database reads the next.
///
/// # Errors
///
/// When the database fails or a row is damaged.
pub async fn for_each(store: &Store, mut take: impl FnMut(Stored)) -> Result<(), Error> {
    let (send, mut pages) = mpsc::channel(PAGES_AHEAD);
    let reader = tokio::spawn(read_all(store.clone(), send));
    while let Some(page) = pages.recv().await {
        page.await??.into_iter().map(Line::read).for_each(&mut take);
    }
    reader.await?
}

/// Reads page after page. Each is taken apart while the database reads the next.
async fn read_all(store: Store, send: mpsc::Sender<ReadPage>) -> Result<(), Error> {
    let mut after = String::new();
    while let Some((last, devices)) = read_page(&store, &after).await? {
        let before = mem::replace(&mut after, last);
        let lines = tokio::spawn(async move {
            serde_json::from_str(&devices).map_err(|error| damaged(&before, &error))
        });
        if send.send(lines).await.is_err() {
            // Whoever took them has met a damaged page.
            break;
        }
    }
    Ok(())
}

/// Returns the devices behind a name as JSON, and the name of the last; nothing if there are none. As
/// rows, each value of each of them would be handed from thread to thread by itself.
async fn read_page(store: &Store, after: &str) -> Result<Option<(String, String)>, Error> {
    let row = sqlx::query(
        "SELECT max(id) AS last, json_group_array(json_array(id, product, json(tags), \
           json(attributes), json(reported_attributes), version, status, created_at, changed_at, \
           hex(message_secret), \
           json((SELECT json_group_array(json_array(serial, hex(spki), status, expires_at, issued_at)) \
                 FROM certificates WHERE device = page.id AND status IN ('current', 'next'))), \
           json((SELECT json_group_array(json_array(rollout, state, code, attempt, tries, deferred, \
                   not_before, hop, phase, changed_at, decided_at)) \
                 FROM deployments WHERE device = page.id)))) AS devices \
         FROM (SELECT * FROM devices WHERE id > $1 ORDER BY id LIMIT $2) AS page",
    )
    .bind(after)
    .bind(PAGE)
    .fetch_one(store.readers())
    .await?;
    let row = Row::new("devices", &row);
    let Some(last) = row.text_or_null("last")? else { return Ok(None) };
    Ok(Some((last, row.text("devices")?)))
}

fn damaged(before: &str, error: &serde_json::Error) -> Error {
    let value = format!("of one of the {PAGE} after `{before}`: {error}");
    Error::Damaged { table: "devices", column: "of the list", value }
}

impl Line {
    fn read(self) -> Stored {
        let mut certificates = self.certificates;
        certificates.sort_by_key(|certificate| certificate.4);
        let certificates = certificates.into_iter().map(|(serial, spki, status, expires_at, _)| {
            Certificate { serial, spki: spki.0, status, expires_at }
        });
        let device = Device {
            id: self.id,
            product: self.product,
            tags: self.tags,
            attributes: Attributes { given: self.given, reported: self.reported },
            version: self.version.map(Arc::new),
            status: self.status,
            created_at: self.created_at,
            changed_at: self.changed_at,
            certificates: certificates.collect(),
            message_secret: Some(self.message_secret.0).filter(|sealed| !sealed.is_empty()),
        };
        (device, self.deployments.into_iter().map(deployment).collect())
    }
}

fn deployment(stored: StoredDeployment) -> (RolloutId, Deployment) {
    let (rollout, state, code, attempt, tries, deferred, not_before, hop, phase, changed, decided) =
        stored;
    let deployment = Deployment {
        state,
        code,
        attempt,
        tries,
        deferred,
        not_before,
        hop,
        phase,
        changed_at: changed,
        decided_at: decided,
    };
    (rollout, deployment)
}

/// What SQL's `hex` wrote; of nothing, nothing.
#[derive(Deserialize)]
#[serde(try_from = "&str")]
struct Hexadecimal(Vec<u8>);

impl TryFrom<&str> for Hexadecimal {
    type Error = &'static str;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
        let bytes = bytes.collect::<Option<_>>().filter(|_| rest.is_empty());
        bytes.map(Self).ok_or("not hexadecimal")
    }
}

fn read_seen(row: &Row<'_>) -> Result<Option<Seen>, Error> {
    let Some(at) = row.number_or_null("seen_at")? else { return Ok(None) };
    Ok(Some(Seen {
        at,
        version: row.parse("version")?,
        sha256: row.parse("sha256")?,
        security_version: row.number("security_version")?,
        pins: row.text_or_null("pins")?.map(|_| row.parse("pins")).transpose()?,
    }))
}
