//! A data folder with a fleet in it, as it is in life: every device has tags, attributes and a
//! certificate, took part in a rollout that is finished, and half of them wait for a place in the next
//! one.
//!
//! Written through the server's own store. Not here: the server that runs on it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateDer;
use semver::Version;
use waxwing_esp_image::Chip;
use waxwing_server::config::Config;
use waxwing_server::domain::device::{Attributes, CertificateStatus, Status, Tags};
use waxwing_server::domain::document::Required;
use waxwing_server::domain::group::Members;
use waxwing_server::domain::product::{ProjectRule, SecureBoot, VersionRule};
use waxwing_server::domain::rollout::{Gate, Phase, PhasePlan, Plan, Size, State};
use waxwing_server::domain::{
    Deployment, Device, Group, Product, Release, Rollout, Running, Sighting,
};
use waxwing_server::http::admin;
use waxwing_server::pki::{DeviceKey, Peer, Validity};
use waxwing_server::random::{SystemRandom, bytes};
use waxwing_server::setup::Identity;
use waxwing_server::store::enrolment::{self, Issued};
use waxwing_server::store::{
    Change, Store, deployments, devices, groups, metadata, operators, products, releases, rollouts,
};
use waxwing_tuf::author::Ed25519Signer;
use waxwing_tuf::author::Match;
use waxwing_wire::id::InvalidName;
use waxwing_wire::report;
use waxwing_wire::{Channel, DeviceId, Digest, GroupId, Hardware, ProductId, RolloutId};

use crate::metadata::director_root;

/// Life of the certificates: longer than any benchmark.
const LIFE: Duration = Duration::from_hours(24);

/// Length of a device's certificate.
const CERTIFICATE_BYTES: usize = 450;

/// Most deployments in one statement.
const ROWS_MAX: usize = 10_000;

/// Share of the fleet that the rollout has reached, in percent.
const REACHED_PERCENT: u8 = 50;

/// What an operator shows.
pub(crate) const ADMIN_TOKEN: &str = "wxa_bench";

/// A data folder.
pub(crate) struct Prepared {
    /// The server's configuration file.
    pub(crate) config: PathBuf,
    /// The CA that signed the server's certificate.
    pub(crate) server_ca: CertificateDer<'static>,
    /// The devices that will poll.
    pub(crate) devices: Vec<Poller>,
}

/// A device with its key.
pub(crate) struct Poller {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: KeyPair,
}

/// Makes a data folder with `count` devices, `pollers` of them with keys of their own.
pub(crate) async fn prepare(
    data: &Path,
    count: usize,
    pollers: usize,
    now_ms: u64,
) -> anyhow::Result<Prepared> {
    let config = config(data);
    let file = data.with_extension("toml");
    std::fs::write(&file, config.to_toml()?)?;
    let identity = Identity::load_or_create(&config, &SystemRandom, now_ms)?;
    let store = Store::open(&data.join("waxwing.db")).await?;
    let mut change = store.begin().await?;
    let db = change.connection();
    let offline = Ed25519Signer::from_seed(&bytes(&SystemRandom))?;
    let root = director_root(&offline, &identity.director, now_ms)?;
    metadata::put(db, "director", "1.root.json", &root, now_ms).await?;
    products::add(db, &product()?).await?;
    for minor in 0..3 {
        releases::put(db, &release(minor)?).await?;
    }
    groups::add(db, &group()?).await?;
    operators::add(db, "bench", &admin::token_sha256(ADMIN_TOKEN), now_ms).await?;
    let devices = add_devices(&mut change, &identity, count, pollers, now_ms).await?;
    see_all(&mut change, count, now_ms).await?;
    add_finished(&mut change, count, now_ms).await?;
    add_running(&mut change, count, now_ms).await?;
    drop(change.commit().await?);
    store.close().await;
    let server_ca = identity.pki.server().certificate().clone();
    Ok(Prepared { config: file, server_ca, devices })
}

async fn add_devices(
    change: &mut Change,
    identity: &Identity,
    count: usize,
    pollers: usize,
    now_ms: u64,
) -> anyhow::Result<Vec<Poller>> {
    let mut polling = Vec::with_capacity(pollers);
    // The devices that will poll are spread over the fleet, as they are in life.
    let every = (count / pollers.max(1)).max(1);
    for n in 0..count {
        let device = device(n, now_ms)?;
        devices::add(change.connection(), &device).await?;
        let issued = if n % every == 0 && polling.len() < pollers {
            let poller = Poller::new(identity, &device.id, now_ms)?;
            let issued = poller.issued(now_ms)?;
            polling.push(poller);
            issued
        } else {
            placeholder(n, now_ms)
        };
        let (db, current) = (change.connection(), CertificateStatus::Current);
        enrolment::add_certificate(db, &device.id, &issued, current).await?;
    }
    Ok(polling)
}

/// Every device was seen with the first release.
async fn see_all(change: &mut Change, count: usize, now_ms: u64) -> anyhow::Result<()> {
    let (version, sha256) = (Version::new(1, 0, 0), release(0)?.sha256);
    let running = Running { version, sha256, security_version: 1, pins: None, out_s: 0 };
    let sighting = Sighting { at: now_ms, running, begins: None };
    let seen = (0..count).map(|n| Ok((device_id(n)?, sighting.clone())));
    let seen = seen.collect::<anyhow::Result<Vec<_>>>()?;
    for rows in seen.chunks(ROWS_MAX) {
        devices::see(change.connection(), rows).await?;
    }
    Ok(())
}

/// The rollout of the release that all devices run.
async fn add_finished(change: &mut Change, count: usize, now_ms: u64) -> anyhow::Result<()> {
    let mut rollout = rollout("r-0", 0, &[100], now_ms)?;
    let members = (0..count).map(device_id).collect::<Result<Vec<_>, _>>()?;
    rollout.start(members.iter(), now_ms)?;
    let rollout = Rollout { state: State::Finished, finished_at: Some(now_ms), ..rollout };
    put_rollout(change, &rollout).await?;
    let healthy = report::State::Healthy;
    let healthy =
        Deployment { state: healthy, attempt: 1, ..Deployment::waiting().offered(0, now_ms) };
    deploy(change, &rollout, &members, healthy).await
}

/// A rollout that has begun: as many devices are in flight as the plan is ready to lose, the others
/// wait.
async fn add_running(change: &mut Change, count: usize, now_ms: u64) -> anyhow::Result<()> {
    let mut rollout = rollout("r-1", 1, &[REACHED_PERCENT, 100], now_ms)?;
    let members = (0..count).map(device_id).collect::<Result<Vec<_>, _>>()?;
    rollout.start(members.iter(), now_ms)?;
    put_rollout(change, &rollout).await?;
    let reached = members.into_iter().filter(|it| rollout.phase_of(it, |_| false).is_some());
    let first: Vec<_> = reached.take(usize::try_from(rollout.plan.risk)?).collect();
    deploy(change, &rollout, &first, Deployment::waiting().offered(0, now_ms)).await
}

async fn put_rollout(change: &mut Change, rollout: &Rollout) -> anyhow::Result<()> {
    rollouts::add(change.connection(), rollout).await?;
    Ok(rollouts::update(change.connection(), rollout).await?)
}

async fn deploy(
    change: &mut Change,
    rollout: &Rollout,
    devices: &[DeviceId],
    deployment: Deployment,
) -> anyhow::Result<()> {
    for some in devices.chunks(ROWS_MAX) {
        let rows = some.iter().map(|device| (rollout.id.clone(), device.clone(), deployment));
        deployments::put_all(change.connection(), &rows.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

fn config(data: &Path) -> Config {
    let mut config = Config { data_dir: data.to_owned(), ..Config::default() };
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let listen = &mut config.listen;
    for address in [
        &mut listen.admin,
        &mut listen.device,
        &mut listen.enrol,
        &mut listen.mqtt,
        &mut listen.crl,
        &mut listen.ops,
    ] {
        *address = any;
    }
    "warn".clone_into(&mut config.log.filter);
    config
}

impl Poller {
    fn new(identity: &Identity, device: &DeviceId, now_ms: u64) -> anyhow::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let request = CertificateParams::default().serialize_request(&key)?;
        let public = DeviceKey::from_der(request.der())?;
        let validity = Validity { now_ms, life: LIFE };
        let serial = bytes(&SystemRandom);
        let certificate = identity.pki.device.issue_device(device, &public, serial, validity)?;
        Ok(Self { certificate, key })
    }

    fn issued(&self, now_ms: u64) -> anyhow::Result<Issued> {
        let peer = Peer::from_certificate(&self.certificate)?;
        Ok(Issued {
            serial: peer.serial,
            spki: peer.spki,
            der: self.certificate.to_vec(),
            issued_at: now_ms,
            expires_at: peer.not_after_ms,
        })
    }
}

/// A P-256 key as `SubjectPublicKeyInfo`, of no known private key.
pub(crate) fn key_of_nobody() -> Vec<u8> {
    let mut spki = Vec::from(*b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08");
    spki.extend(b"\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04");
    spki.extend(bytes::<64>(&SystemRandom));
    spki
}

/// What the server keeps of a device that will not poll.
fn placeholder(n: usize, now_ms: u64) -> Issued {
    let (spki, der) = (key_of_nobody(), vec![0; CERTIFICATE_BYTES]);
    let expires_at = now_ms + 90 * 24 * 3600 * 1000;
    Issued { serial: format!("{n:032x}"), spki, der, issued_at: now_ms, expires_at }
}

pub(crate) fn product_id() -> anyhow::Result<ProductId> {
    Ok(ProductId::parse("acme-th1")?)
}

pub(crate) fn product() -> anyhow::Result<Product> {
    Ok(Product {
        id: product_id()?,
        chip: Chip::Esp32c3,
        hardware: vec![Hardware::parse("r2")?],
        channels: vec![Channel::parse("stable")?],
        slot_bytes: 2_031_616,
        image_version: VersionRule::Match,
        image_project: ProjectRule::Ignore,
        secure_boot: SecureBoot::default(),
        required_documents: Required::new(),
        builders: Vec::new(),
        created_at: 0,
    })
}

pub(crate) fn device_id(n: usize) -> Result<DeviceId, InvalidName> {
    DeviceId::parse(&format!("th1-{n:06}"))
}

/// A device of a fleet of a hundred sites, with a canary in a hundred and a serial number of its own.
pub(crate) fn device(n: usize, now_ms: u64) -> anyhow::Result<Device> {
    let mut tags = Tags::from([("site".to_owned(), format!("s{}", n % 100))]);
    match n % 100 {
        17 => drop(tags.insert("canary".to_owned(), String::new())),
        18..28 => drop(tags.insert("beta".to_owned(), String::new())),
        _ => {}
    }
    let region = ["eu", "us", "jp"].get(n % 3).context("a region")?;
    let reported = BTreeMap::from([
        ("region".to_owned(), (*region).to_owned()),
        ("serial".to_owned(), format!("serial-{n:06}")),
        ("cells".to_owned(), (n % 7).to_string()),
    ]);
    Ok(Device {
        id: device_id(n)?,
        product: product_id()?,
        tags,
        attributes: Attributes { given: BTreeMap::new(), reported },
        version: None,
        status: Status::Active,
        created_at: now_ms,
        changed_at: now_ms,
        certificates: Vec::new(),
        message_secret: None,
    })
}

pub(crate) fn group() -> anyhow::Result<Group> {
    let members = Members::Tags(Tags::new());
    let (id, product, description) = (GroupId::parse("all")?, product_id()?, String::new());
    Ok(Group { id, product, description, members, created_at: 0 })
}

pub(crate) fn release(minor: u8) -> anyhow::Result<Release> {
    let version = Version::new(1, minor.into(), 0);
    Ok(Release {
        product: product_id()?,
        channel: Channel::parse("stable")?,
        path: format!("acme-th1/stable/{version}/esp32c3.bin"),
        sha256: Digest([minor; 32]),
        length: 1_000_000,
        ceiling_permille: None,
        chunks: None,
        r#match: Match {
            chip: Chip::Esp32c3.as_str().to_owned(),
            hw: vec!["r2".to_owned()],
            kind: "app".to_owned(),
            secure_version: 0,
            security_version: 1,
            version: version.clone(),
        },
        version,
        listed: true,
        changed_at: 0,
    })
}

pub(crate) fn rollout(
    id: &str,
    minor: u8,
    percents: &[u8],
    now_ms: u64,
) -> anyhow::Result<Rollout> {
    let phase = |percent: &u8| PhasePlan { size: Size::Percent(*percent), gate: Gate::default() };
    Ok(Rollout {
        id: RolloutId::parse(id)?,
        product: product_id()?,
        channel: Channel::parse("stable")?,
        version: Version::new(1, minor.into(), 0),
        group: GroupId::parse("all")?,
        plan: Plan { phases: percents.iter().map(phase).collect(), ..Plan::default() },
        seed: bytes(&SystemRandom),
        state: State::Draft,
        reason: None,
        phases: vec![Phase::default(); percents.len()],
        created_by: "bench".to_owned(),
        extended_s: 0,
        generation: 0,
        created_at: now_ms,
        started_at: None,
        finished_at: None,
        changed_at: now_ms,
    })
}
