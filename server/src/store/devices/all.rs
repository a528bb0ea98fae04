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
use waxwing_wire::report::State;
use waxwing_wire::{DeviceId, ErrorCode, ProductId, RolloutId};

use crate::domain::device::{Attributes, Certificate, CertificateStatus, Status, Tags};
use crate::domain::{Deployment, Device};
use crate::store::{Error, Store};

/// A device with its part in the rollouts.
pub type Stored = (Device, Vec<(RolloutId, Deployment)>);

/// Devices that are read at once: some five hundred kilobytes.
const PAGE: u32 = 1_000;

/// Pages that are read before they are needed: enough that nobody waits.
const PAGES_AHEAD: usize = 4;

const LAST_OF_PAGE: &str = "SELECT coalesce((SELECT id FROM devices WHERE id > $1 ORDER BY id \
    LIMIT 1 OFFSET $2 - 1), (SELECT max(id) FROM devices WHERE id > $1))";

const DEVICES: &str = "SELECT json_group_array(json_array(id, product, json(tags), json(attributes), \
    json(reported_attributes), version, status, created_at, changed_at, hex(message_secret))) \
    FROM (SELECT * FROM devices WHERE id > $1 AND id <= $2 ORDER BY id)";

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
    let pages = stream::try_unfold(String::new(), |after| page_after(store, after));
    let made = pages.map_ok(|names| {
        let (store, make) = (store.clone(), make.clone());
        let page = async move {
            let page = read_page(&store, names).await?;
            Ok(page.into_iter().map(make).collect::<Vec<_>>())
        };
        tokio::spawn(page).map(|page| page?)
    });
    let mut made = pin!(made.try_buffered(PAGES_AHEAD));
    while let Some(page) = made.try_next().await? {
        page.into_iter().for_each(&mut take);
    }
    Ok(())
}

/// Returns which devices are on the page behind a name, if there is any, and what the next one is behind.
async fn page_after(store: &Store, after: String) -> Result<Option<(Names, String)>, Error> {
    let last: Option<String> =
        sqlx::query_scalar(LAST_OF_PAGE).bind(&after).bind(PAGE).fetch_one(store.readers()).await?;
    Ok(last.map(|last| ((after, last.clone()), last)))
}

async fn read_page(store: &Store, names: Names) -> Result<Vec<Stored>, Error> {
    let devices = read_list(store, &names, DEVICES).await?;
    let certificates = read_list(store, &names, CERTIFICATES).await?;
    let deployments = read_list(store, &names, DEPLOYMENTS).await?;
    let devices: Vec<DeviceRow> = parse(&devices, "devices", &names)?;
    let certificates = parse(&certificates, "certificates", &names)?;
    let mut certificates = by_device(certificates, |row: &CertificateRow<'_>| row.device);
    let deployments = parse(&deployments, "deployments", &names)?;
    let mut deployments = by_device(deployments, |row: &DeploymentRow<'_>| row.device);
    let stored = devices.into_iter().map(|device| {
        let certificates = certificates.remove(device.id.as_str()).unwrap_or_default();
        let deployments = deployments.remove(device.id.as_str()).unwrap_or_default();
        (device.with(certificates), deployments.into_iter().map(deployment).collect())
    });
    Ok(stored.collect())
}

async fn read_list(store: &Store, names: &Names, query: &'static str) -> Result<String, Error> {
    let list = sqlx::query_scalar(query).bind(&names.0).bind(&names.1);
    Ok(list.fetch_one(store.readers()).await?)
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
