//! A data folder with a fleet in it: a hundred thousand registered devices, a group of all of them,
//! and a rollout that has begun.
//!
//! Written through the server's own store. Not here: the server that runs on it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
use waxwing_server::domain::{Deployment, Device, Group, Product, Release, Rollout};
use waxwing_server::pki::{DeviceKey, Peer, Validity};
use waxwing_server::random::{SystemRandom, bytes};
use waxwing_server::setup::Identity;
use waxwing_server::store::enrolment::{self, Issued};
use waxwing_server::store::{
    Change, Store, deployments, devices, groups, metadata, products, releases, rollouts,
};
use waxwing_tuf::author::Ed25519Signer;
use waxwing_tuf::author::Match;
use waxwing_wire::id::InvalidName;
use waxwing_wire::{Channel, DeviceId, Digest, GroupId, Hardware, ProductId, RolloutId};

use crate::metadata::director_root;

/// Life of the certificates: longer than any benchmark.
const LIFE: Duration = Duration::from_hours(24);

/// Most deployments in one statement.
const ROWS_MAX: usize = 10_000;

/// Share of the fleet that is offered the release, in percent.
const OFFERED_PERCENT: u8 = 50;

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
    releases::put(db, &release()?).await?;
    groups::add(db, &group()?).await?;
    let devices = add_devices(&mut change, &identity, count, pollers, now_ms).await?;
    add_rollout(&mut change, count, now_ms).await?;
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

async fn add_rollout(change: &mut Change, count: usize, now_ms: u64) -> anyhow::Result<()> {
    let members = (0..count).map(device_id).collect::<Result<Vec<_>, _>>()?;
    let mut rollout = rollout(now_ms)?;
    rollout.start(members.iter(), now_ms)?;
    rollouts::add(change.connection(), &rollout).await?;
    rollouts::update(change.connection(), &rollout).await?;
    let reached = members.iter().filter(|device| rollout.phase_of(device, |_| false).is_some());
    let offered = Deployment::waiting().offered(0, now_ms);
    let offered = reached.map(|device| (rollout.id.clone(), device.clone(), offered));
    for rows in offered.collect::<Vec<_>>().chunks(ROWS_MAX) {
        deployments::put_all(change.connection(), rows).await?;
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

/// What the server keeps of a device that will not poll.
fn placeholder(n: usize, now_ms: u64) -> Issued {
    // A P-256 key has 91 bytes as SubjectPublicKeyInfo.
    let (spki, der) = (vec![0; 91], Vec::new());
    let expires_at = now_ms + 90 * 24 * 3600 * 1000;
    Issued { serial: format!("{n:032x}"), spki, der, issued_at: now_ms, expires_at }
}

fn product_id() -> anyhow::Result<ProductId> {
    Ok(ProductId::parse("acme-th1")?)
}

fn product() -> anyhow::Result<Product> {
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

fn device_id(n: usize) -> Result<DeviceId, InvalidName> {
    DeviceId::parse(&format!("th1-{n:06}"))
}

fn device(n: usize, now_ms: u64) -> anyhow::Result<Device> {
    Ok(Device {
        id: device_id(n)?,
        product: product_id()?,
        tags: BTreeMap::from([("site".to_owned(), format!("s{}", n % 100))]),
        attributes: Attributes::default(),
        version: None,
        status: Status::Active,
        created_at: now_ms,
        changed_at: now_ms,
        certificates: Vec::new(),
    })
}

fn group() -> anyhow::Result<Group> {
    let members = Members::Tags(Tags::new());
    let (id, product, description) = (GroupId::parse("all")?, product_id()?, String::new());
    Ok(Group { id, product, description, members, created_at: 0 })
}

fn release() -> anyhow::Result<Release> {
    Ok(Release {
        product: product_id()?,
        channel: Channel::parse("stable")?,
        version: Version::new(1, 1, 0),
        path: "acme-th1/stable/1.1.0/esp32c3.bin".to_owned(),
        sha256: Digest([1; 32]),
        length: 1_000_000,
        ceiling_permille: None,
        chunks: None,
        r#match: Match {
            chip: Chip::Esp32c3.as_str().to_owned(),
            hw: vec!["r2".to_owned()],
            kind: "app".to_owned(),
            secure_version: 0,
            security_version: 1,
            version: Version::new(1, 1, 0),
        },
        listed: true,
        changed_at: 0,
    })
}

fn rollout(now_ms: u64) -> anyhow::Result<Rollout> {
    let phase = |percent| PhasePlan { size: Size::Percent(percent), gate: Gate::default() };
    Ok(Rollout {
        id: RolloutId::parse("r-1")?,
        product: product_id()?,
        channel: Channel::parse("stable")?,
        version: Version::new(1, 1, 0),
        group: GroupId::parse("all")?,
        plan: Plan { phases: vec![phase(OFFERED_PERCENT), phase(100)], ..Plan::default() },
        seed: bytes(&SystemRandom),
        state: State::Draft,
        reason: None,
        phases: vec![Phase::default(); 2],
        created_by: "bench".to_owned(),
        extended_s: 0,
        generation: 0,
        created_at: now_ms,
        started_at: None,
        finished_at: None,
        changed_at: now_ms,
    })
}
