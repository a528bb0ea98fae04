//! The bytes of a poll: the real server, the agent's own HTTP client, and the device's own verifier.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::{ClientConfig, ServerConfig};
use semver::Version;
use waxwing_agent::network::Server as _;
use waxwing_agent_host::kit::BUILT_AT_S;
use waxwing_agent_host::network::https;
use waxwing_agent_net::{DeviceKey, Identity, ServerTrust};
use waxwing_server::clock::{Clock as _, SystemClock};
use waxwing_server::config::Config;
use waxwing_server::store::{Store, metadata};
use waxwing_tuf::uptane::{Answer, Client, Device};
use waxwing_tuf::{Delivered, MemoryStore, Time};
use waxwing_wire::bundle::{Bundle, Kind};
use waxwing_wire::poll::Request;
use waxwing_wire::{Digest, Hardware, Nonce, ProductId};

use super::proxy::{Counted, Proxy};
use super::repository::{Image, PRODUCT, Release};
use crate::process::Process;
use crate::table::{Row, Table};
use crate::{bare, fleet, load};

/// Releases the repository lists.
const RELEASES: usize = 10;

/// What was counted.
pub(crate) struct Exchanges {
    first_contact: usize,
    new_release: usize,
    idle: usize,
    idle_exchange: Counted,
}

impl Exchanges {
    /// The answer to a device that has everything but the newest release.
    pub(crate) fn new_release(&self) -> anyhow::Result<f64> {
        bytes(self.new_release)
    }

    /// Adds the other numbers to a table.
    pub(crate) fn add_to(&self, table: &mut Table) -> anyhow::Result<()> {
        let both = usize::try_from(self.idle_exchange.up + self.idle_exchange.down)?;
        table.add(Row::new("bytes: bundle of first contact", bytes(self.first_contact)?));
        let idle = Row::new("bytes: bundle of an idle poll", bytes(self.idle)?);
        table.add(idle.at_most(650.0));
        let both = Row::new("bytes: idle poll, both ways with headers", bytes(both)?);
        table.add(both.at_most(1_250.0));
        Ok(())
    }
}

fn bytes(count: usize) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}

/// Lets one device poll a real server. The list of releases has so many signatures.
///
/// # Errors
///
/// When server and device do not agree, or not as expected.
pub(crate) async fn measure(server: &Path, signatures: usize) -> anyhow::Result<Exchanges> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let now_ms = SystemClock::new().now_ms();
    let prepared = fleet::prepare(&data, 1, 1, now_ms).await?;
    let image_root = publish(&data, signatures, now_ms).await?;
    let process = Process::waxwing(server, &prepared.config, &data).await?;
    let poller = prepared.devices.first().context("no device")?;
    let device = Arc::new(load::client_config(poller, &prepared.server_ca)?);
    let config = Config::load(Some(&prepared.config), [])?;
    let between = bare::tls(&config)?.device().borrow().clone();
    let key = DeviceKey::from_pkcs8_der(&poller.key.serialize_der())?;
    let identity = Rc::new(Identity::new(key, poller.certificate.to_vec())?);
    let trust = ServerTrust::from_der(&prepared.server_ca, BUILT_AT_S)?;
    let nonces = RefCell::new(0);
    let line = Line { server: process.address, between, device, trust, identity, nonces };
    line.life(&image_root).await
}

/// Puts the product's repository into the server's, and returns its root.
async fn publish(data: &Path, signatures: usize, now_ms: u64) -> anyhow::Result<Vec<u8>> {
    let image = Image::new(signatures)?;
    let root = image.root(now_ms)?;
    let releases: Vec<_> = (1..=RELEASES).map(Release::new).collect();
    let mut files = image.files(2, &releases, now_ms)?;
    files.push(("1.root.json".to_owned(), root.clone()));
    let store = Store::open(&data.join("waxwing.db")).await?;
    let mut change = store.begin().await?;
    for (name, bytes) in &files {
        let repository = format!("image/{PRODUCT}");
        metadata::put(change.connection(), &repository, name, bytes, now_ms).await?;
    }
    drop(change.commit().await?);
    store.close().await;
    Ok(root)
}

/// A device's way to its server.
struct Line {
    server: SocketAddr,
    between: Arc<ServerConfig>,
    device: Arc<ClientConfig>,
    trust: ServerTrust,
    identity: Rc<Identity>,
    nonces: RefCell<u8>,
}

/// The answer to a poll.
struct Answered {
    nonce: [u8; 16],
    bundle: Vec<u8>,
    counted: Counted,
}

impl Line {
    async fn life(&self, image_root: &[u8]) -> anyhow::Result<Exchanges> {
        // The Director's root came with the firmware; this device takes it from the server.
        let unrooted = self.poll(BTreeMap::new()).await?;
        let bundle = Bundle::parse(&unrooted.bundle)?;
        let director = bundle.find(Kind::Director, "1.root.json").context("no Director's root")?;
        let stores = ((MemoryStore::new(), director), (MemoryStore::new(), image_root));
        let mut client = Client::open(device(), stores.0, stores.1)?;
        let first = self.poll(have(&client)).await?;
        let installs = matches!(check(&mut client, &first)?, Answer::Install(_));
        ensure!(installs, "first contact installs nothing");
        let new_release = self.poll(one_release_ago(have(&client))).await?;
        let idle = self.poll(have(&client)).await?;
        ensure!(check(&mut client, &idle)? == Answer::Idle, "an idle poll is not idle");
        Ok(Exchanges {
            first_contact: first.bundle.len(),
            new_release: new_release.bundle.len(),
            idle: idle.bundle.len(),
            idle_exchange: idle.counted,
        })
    }

    async fn poll(&self, have: BTreeMap<String, u64>) -> anyhow::Result<Answered> {
        let number = self.nonces.replace_with(|last| *last + 1) + 1;
        let nonce = [number; 16];
        let (between, device) = (self.between.clone(), self.device.clone());
        let proxy = Proxy::start(self.server, between, device).await?;
        let address = format!("localhost:{}", proxy.address.port()).parse()?;
        let mut https = https(address, self.trust.client(Some(&self.identity)));
        let bundle = https.poll(&request(nonce, have)?.encode()).await?;
        https.close().await;
        Ok(Answered { nonce, bundle, counted: proxy.finish().await? })
    }
}

fn request(nonce: [u8; 16], have: BTreeMap<String, u64>) -> anyhow::Result<Request> {
    Ok(Request {
        nonce: Nonce(nonce),
        product: ProductId::parse(PRODUCT)?,
        hw: Hardware::parse("r2")?,
        fw: Version::new(1, 0, 0),
        fw_sha256: Digest([9; 32]),
        security_version: 1,
        have,
        pins: None,
        out_s: None,
        reports: Vec::new(),
    })
}

/// The first device of the fleet, as it describes itself.
fn device() -> Device {
    Device {
        id: "th1-000000".to_owned(),
        product: PRODUCT.to_owned(),
        channels: vec!["stable".to_owned()],
        hardware: "r2".to_owned(),
        chip: "esp32c3".to_owned(),
        slot_bytes: 2_031_616,
        security_version: 1,
        secure_versions: 0..=16,
    }
}

fn have(client: &Client<MemoryStore>) -> BTreeMap<String, u64> {
    let key = |(repository, role, version)| (format!("{repository}.{role}"), version);
    client.have().map(key).collect()
}

/// What the device had before the release was published and offered to it.
fn one_release_ago(mut have: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let changes = |file: &str| !file.ends_with("root") && file != "i.targets";
    for (_, version) in have.iter_mut().filter(|(file, _)| changes(file)) {
        *version -= 1;
    }
    have
}

fn check(client: &mut Client<MemoryStore>, answered: &Answered) -> anyhow::Result<Answer> {
    let bundle = &Bundle::parse(&answered.bundle)?;
    let files = |kind| Delivered(move |name: &str| bundle.find(kind, name));
    let (mut director, mut image) = (files(Kind::Director), files(Kind::Image));
    Ok(client.check(&answered.nonce, Time::default(), &mut director, &mut image)?)
}
