//! The load generator: devices that poll, each with its certificate.
//!
//! HTTP is written and read by hand, so that as little of the machine as possible is busy with
//! anything but the server. Not here: what the numbers mean.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use semver::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use waxwing_wire::bundle::{Bundle, Kind};
use waxwing_wire::poll::Request;
use waxwing_wire::{Hardware, Nonce, ProductId};

use crate::fleet::{self, Poller};

/// Longest answer that is read: nothing here is larger than a few files of metadata.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How a device connects.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// All polls of a device on one connection.
    KeepAlive,
    /// A new connection with a full handshake for each poll: how a sleeping device does it.
    NewConnection,
}

/// Bounds of a measurement: whichever is reached first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) time: Duration,
    pub(crate) polls: u32,
}

/// What a measurement saw.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// How long each poll took.
    pub(crate) latencies: Vec<Duration>,
    /// How long all of them took together.
    pub(crate) time: Duration,
}

/// A device, ready to poll.
pub(crate) struct Device {
    connector: TlsConnector,
    /// What it has already, by the names of the poll.
    have: BTreeMap<String, u64>,
    nonces: AtomicU64,
}

impl Device {
    pub(crate) fn new(
        poller: &Poller,
        server_ca: &CertificateDer<'static>,
        number: u32,
    ) -> anyhow::Result<Self> {
        let connector = TlsConnector::from(Arc::new(client_config(poller, server_ca)?));
        let nonces = AtomicU64::new(u64::from(number) << 32);
        Ok(Self { connector, have: BTreeMap::new(), nonces })
    }

    /// Polls until there is nothing new, so that every later poll is an idle one.
    pub(crate) async fn catch_up(&mut self, server: SocketAddr) -> anyhow::Result<()> {
        let mut line = self.dial(server).await?;
        for _ in 0..3 {
            let answer = line.exchange(&self.request()?).await?;
            let bundle = Bundle::parse(&answer).ok().context("no bundle")?;
            let mut news = 0;
            for name in bundle.names(Kind::Director) {
                // `7.snapshot.json`; the timestamp has no number and is always new.
                let Some((version, role)) = name.trim_end_matches(".json").split_once('.') else {
                    continue;
                };
                self.have.insert(format!("d.{role}"), version.parse()?);
                news += 1;
            }
            if news == 0 {
                return Ok(());
            }
        }
        anyhow::bail!("the server has something new with every poll")
    }

    async fn dial(&self, server: SocketAddr) -> anyhow::Result<Line> {
        Line::open(&self.connector, server).await
    }

    fn request(&self) -> anyhow::Result<Vec<u8>> {
        let number = self.nonces.fetch_add(1, Ordering::Relaxed);
        let request = Request {
            nonce: Nonce(u128::from(number).to_be_bytes()),
            product: ProductId::parse("acme-th1")?,
            hw: Hardware::parse("r2")?,
            fw: Version::new(1, 0, 0),
            fw_sha256: fleet::release(0)?.sha256,
            security_version: 1,
            have: self.have.clone(),
            pins: None,
            out_s: None,
            reports: Vec::new(),
        };
        let body = request.encode();
        let head = format!(
            "POST /v1/poll HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        Ok((head + &body).into_bytes())
    }
}

/// The TLS of a device.
pub(crate) fn client_config(
    poller: &Poller,
    server_ca: &CertificateDer<'static>,
) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(server_ca.clone())?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(poller.key.serialize_der()));
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![poller.certificate.clone()], key)?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A device, and its connection if it has one open.
pub(crate) struct Caller {
    device: Arc<Device>,
    line: Option<Line>,
}

/// Gets devices ready: those that keep their connections open open them now.
pub(crate) async fn callers(
    devices: &[Arc<Device>],
    server: SocketAddr,
    mode: Mode,
) -> anyhow::Result<Vec<Caller>> {
    let mut callers = Vec::with_capacity(devices.len());
    for device in devices {
        let line = match mode {
            Mode::KeepAlive => Some(device.dial(server).await?),
            Mode::NewConnection => None,
        };
        callers.push(Caller { device: Arc::clone(device), line });
    }
    Ok(callers)
}

/// Lets devices poll for as long as the bounds allow, so many of them at once, in turns.
pub(crate) async fn run(
    mut callers: Vec<Caller>,
    server: SocketAddr,
    at_once: usize,
    bounds: Bounds,
) -> anyhow::Result<Observed> {
    let start = now();
    let end = start + bounds.time;
    let left = Arc::new(AtomicU32::new(bounds.polls));
    let share = callers.len().div_ceil(at_once.max(1)).max(1);
    let mut tasks = JoinSet::new();
    while !callers.is_empty() {
        let some = callers.split_off(callers.len().saturating_sub(share));
        let left = Arc::clone(&left);
        tasks.spawn(async move { take_turns(some, server, end, &left).await });
    }
    let mut observed = Observed::default();
    while let Some(latencies) = tasks.join_next().await {
        observed.latencies.extend(latencies??);
    }
    observed.time = start.elapsed();
    Ok(observed)
}

async fn take_turns(
    mut callers: Vec<Caller>,
    server: SocketAddr,
    end: Instant,
    left: &AtomicU32,
) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let take = |left: u32| left.checked_sub(1);
    loop {
        for Caller { device, line } in &mut callers {
            let is_taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
            if now() >= end || !is_taken {
                return Ok(latencies);
            }
            let request = device.request()?;
            let start = now();
            match line {
                Some(line) => drop(line.exchange(&request).await?),
                None => drop(device.dial(server).await?.exchange(&request).await?),
            }
            latencies.push(start.elapsed());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// An HTTP connection.
pub(crate) struct Line {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Line {
    pub(crate) async fn open(connector: &TlsConnector, server: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        Ok(Self { stream: connector.connect(name, stream).await?, buffer: Vec::new() })
    }

    /// Sends a request and returns the body of the answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            self.read().await?;
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = std::str::from_utf8(self.buffer.get(..head).unwrap_or_default())?;
        ensure!(text.starts_with("HTTP/1.1 20"), "refused: {text}");
        let length = length(text)?;
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        Ok(self.buffer.split_off(head))
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the server closed the connection");
        ensure!(self.buffer.len() <= ANSWER_BYTES_MAX, "the answer does not end");
        Ok(())
    }
}

/// Returns the length of the body: zero where none is announced, as with `204`.
fn length(head: &str) -> anyhow::Result<usize> {
    let header = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    Ok(header.map(str::parse).transpose()?.unwrap_or(0))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
