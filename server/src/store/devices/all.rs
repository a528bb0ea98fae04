//! All devices with their certificates and deployments, for the start of the server.
//!
//! Read page by page, and each page as three lists in JSON: as rows, each value would be handed from
//! thread to thread by itself; and asked for device by device, the database would search a million times.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;

use futures_util::{FutureExt as _, TryStreamExt as _, stream};
use semver::Version;
use serde::Deserialize;
use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqliteConnection};
use tokio::sync::Mutex;
use waxwing_wire::report::State;
use waxwing_wire::{DeviceId, ErrorCode, ProductId, RolloutId};

use crate::domain::device::{Attributes, Certificate, CertificateStatus, Status, Tags};
use crate::domain::{Deployment, Device};
use crate::store::{Error, Store};

/// A device with its part in the rollouts.
pub type Stored = (Device, Vec<(RolloutId, Deployment)>);

/// Devices that are read at once: some two hundred kilobytes. Of larger pages the allocator keeps more.
const PAGE: u32 = 500;

/// Pages that are read before they are needed: enough that nobody waits.
const PAGES_AHEAD: usize = 4;

const DEVICES: &str = "SELECT json_group_array(json_array(id, product, json(tags), json(attributes), \
    json(reported_attributes), version, status, created_at, changed_at, hex(message_secret))), max(id) \
    FROM (SELECT * FROM devices WHERE id > $1 ORDER BY id LIMIT $2)";

const CERTIFICATES: &str = "SELECT json_group_array(json_array(device, serial, hex(spki), status, \
    expires_at, issued_at)) \
    FROM certificates WHERE device > $1 AND device <= $2 AND status IN ('current', 'next')";

const DEPLOYMENTS: &str = "SELECT json_group_array(json_array(device, rollout, state, code, attempt, \
    tries, deferred, not_before, hop, phase, changed_at, decided_at)) \
    FROM deployments WHERE device > $1 AND device <= $2";

/// Names: those behind the first, up to the second.
type Names = (String, String);

/// A device in the list, its columns in this order.
#[derive(Deserialize)]
struct DeviceRow {
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
}

/// A certificate that may be used.
#[derive(Deserialize)]
struct CertificateRow<'a> {
    device: &'a str,
    serial: String,
    spki: Hexadecimal,
    status: CertificateStatus,
    expires_at: u64,
    issued_at: u64,
}

/// The part of a device in a rollout.
#[derive(Deserialize)]
struct DeploymentRow<'a> {
    device: &'a str,
    rollout: RolloutId,
    state: State,
    code: ErrorCode,
    attempt: u32,
    tries: u32,
    deferred: u8,
    not_before: u64,
    hop: u8,
    phase: u8,
    changed_at: u64,
    decided_at: u64,
}

/// What SQL's `hex` wrote; of nothing, nothing.
#[derive(Deserialize)]
#[serde(try_from = "&str")]
struct Hexadecimal(Vec<u8>);

/// A connection that reads page after page. There are two, and no more: of the others the database and the
/// allocator would keep some megabytes each.
type Reader = PoolConnection<Sqlite>;

/// Makes something of each device and its part in the rollouts, and hands it over, by name and one after
/// the other. While they are taken, the next pages are read, taken apart and made into it on other cores.
///
/// # Errors
///
/// When the database fails or a row is damaged.
pub async fn for_each<T: Send + 'static>(
    store: &Store,
    make: impl Fn(Stored) -> T + Clone + Send + 'static,
    mut take: impl FnMut(T),
) -> Result<(), Error> {
    let begin = (store.reader().await?, String::new());
    let others = Arc::new(Mutex::new(store.reader().await?));
    let pages = stream::try_unfold(begin, |(reader, after)| read_devices(reader, after));
    let pages = pages.map_ok(|(names, devices)| {
        let (others, make) = (others.clone(), make.clone());
        tokio::spawn(async move { complete(&others, &names, &devices, make).await })
            .map(|page| page?)
    });
    let mut pages = pin!(pages.try_buffered(PAGES_AHEAD));
    while let Some(page) = pages.try_next().await? {
        page.into_iter().for_each(&mut take);
    }
    Ok(())
}

/// Reads the devices of the page behind a name, if there is any, and returns how to go on.
async fn read_devices(
    mut reader: Reader,
    after: String,
) -> Result<Option<((Names, String), (Reader, String))>, Error> {
    let devices = sqlx::query_as(DEVICES).bind(&after).bind(PAGE);
    let (devices, last): (String, Option<String>) = devices.fetch_one(&mut *reader).await?;
    Ok(last.map(|last| (((after, last.clone()), devices), (reader, last))))
}

/// Reads what belongs to the devices of a page, and makes something of each.
async fn complete<T>(
    reader: &Mutex<Reader>,
    names: &Names,
    devices: &str,
    make: impl Fn(Stored) -> T,
) -> Result<Vec<T>, Error> {
    let (certificates, deployments) = {
        let mut reader = reader.lock().await;
        let certificates = read_list(&mut reader, names, CERTIFICATES).await?;
        (certificates, read_list(&mut reader, names, DEPLOYMENTS).await?)
    };
    let devices: Vec<DeviceRow> = parse(devices, "devices", names)?;
    let certificates = parse(&certificates, "certificates", names)?;
    let mut certificates = by_device(certificates, |row: &CertificateRow<'_>| row.device);
    let deployments = parse(&deployments, "deployments", names)?;
    let mut deployments = by_device(deployments, |row: &DeploymentRow<'_>| row.device);
    let all = devices.into_iter().map(|device| {
        let certificates = certificates.remove(device.id.as_str()).unwrap_or_default();
        let deployments = deployments.remove(device.id.as_str()).unwrap_or_default();
        make((device.with(certificates), deployments.into_iter().map(deployment).collect()))
    });
    Ok(all.collect())
}

async fn read_list(
    reader: &mut SqliteConnection,
    names: &Names,
    query: &'static str,
) -> Result<String, Error> {
    Ok(sqlx::query_scalar(query).bind(&names.0).bind(&names.1).fetch_one(reader).await?)
}

fn parse<'a, T: Deserialize<'a>>(
    list: &'a str,
    table: &'static str,
    (after, up_to): &Names,
) -> Result<Vec<T>, Error> {
    serde_json::from_str(list).map_err(|error| {
        let value = format!("of a device after `{after}`, up to `{up_to}`: {error}");
        Error::Damaged { table, column: "of the list", value }
    })
}

fn by_device<'a, T>(rows: Vec<T>, device: impl Fn(&T) -> &'a str) -> HashMap<&'a str, Vec<T>> {
    rows.into_iter().fold(HashMap::new(), |mut all, row| {
        all.entry(device(&row)).or_insert_with(Vec::new).push(row);
        all
    })
}

impl DeviceRow {
    fn with(self, mut certificates: Vec<CertificateRow<'_>>) -> Device {
        certificates.sort_by_key(|row| row.issued_at);
        Device {
            id: self.id,
            product: self.product,
            tags: self.tags,
            attributes: Attributes { given: self.given, reported: self.reported },
            version: self.version.map(Arc::new),
            status: self.status,
            created_at: self.created_at,
            changed_at: self.changed_at,
            certificates: certificates.into_iter().map(certificate).collect(),
            message_secret: Some(self.message_secret.0).filter(|sealed| !sealed.is_empty()),
        }
    }
}

fn certificate(row: CertificateRow<'_>) -> Certificate {
    let CertificateRow { serial, spki, status, expires_at, .. } = row;
    Certificate { serial, spki: spki.0, status, expires_at }
}

fn deployment(row: DeploymentRow<'_>) -> (RolloutId, Deployment) {
    let deployment = Deployment {
        state: row.state,
        code: row.code,
        attempt: row.attempt,
        tries: row.tries,
        deferred: row.deferred,
        not_before: row.not_before,
        hop: row.hop,
        phase: row.phase,
        changed_at: row.changed_at,
        decided_at: row.decided_at,
    };
    (row.rollout, deployment)
}

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
