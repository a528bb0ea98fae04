//! Devices at MQTT endpoints, many at once.
//!
//! Not here: what the numbers mean.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls_pki_types::CertificateDer;
use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_rustls::TlsConnector;
use waxwing_server::clock::{Clock as _, SystemClock};
use waxwing_wire::DeviceId;

use super::line::Line;
use crate::fleet::Poller;
use crate::load::client_config;
use crate::process::Process;

/// How many work at the same time: enough that the server always has something to do, and fewer than the
/// handshakes that one source address may have open.
const AT_ONCE: usize = 32;

/// How long a server must do nothing until it is idle, and how often that is asked at most.
const IDLE_PERIOD: Duration = Duration::from_millis(500);
const IDLE_QUESTIONS_MAX: usize = 60;

/// A device with its TLS.
pub(super) struct Client {
    pub(super) id: DeviceId,
    connector: TlsConnector,
}

/// What to send on a connection: packets, and how many they are.
pub(super) type Load = (Vec<u8>, usize);

impl Client {
    pub(super) fn new(
        id: DeviceId,
        poller: &Poller,
        server_ca: &CertificateDer<'static>,
    ) -> anyhow::Result<Self> {
        let connector = TlsConnector::from(Arc::new(client_config(poller, server_ca)?));
        Ok(Self { id, connector })
    }

    async fn open(&self, server: SocketAddr) -> anyhow::Result<Line> {
        Line::open(&self.connector, server, self.id.as_str()).await
    }
}

/// Connects all of them, and leaves them connected.
pub(super) async fn connect(
    clients: &[Arc<Client>],
    server: SocketAddr,
) -> anyhow::Result<Vec<Line>> {
    let shares = shares(clients.to_vec()).into_iter().map(|share| async move {
        let mut lines = Vec::with_capacity(share.len());
        for client in share {
            lines.push(client.open(server).await?);
        }
        Ok(lines)
    });
    together(shares).await
}

/// Connects all of them and ends each connection at once; returns how long that took.
pub(super) async fn come_and_go(
    clients: &[Arc<Client>],
    server: SocketAddr,
) -> anyhow::Result<Duration> {
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let shares = shares(clients.to_vec()).into_iter().map(|share| async move {
        for client in share {
            client.open(server).await?.close().await?;
        }
        Ok(Vec::<()>::new())
    });
    together(shares).await?;
    Ok(clock.monotonic().saturating_sub(begun))
}

/// Sends everything, each on its connection, until all is acknowledged; returns the connections, and how
/// long that took.
pub(super) async fn say(
    lines: Vec<Line>,
    loads: Vec<Load>,
) -> anyhow::Result<(Vec<Line>, Duration)> {
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let pairs = lines.into_iter().zip(loads).collect();
    let shares = shares(pairs).into_iter().map(|share: Vec<(Line, Load)>| async move {
        let mut lines = Vec::with_capacity(share.len());
        for (mut line, (packets, count)) in share {
            line.publish(&packets, count).await?;
            lines.push(line);
        }
        Ok(lines)
    });
    let lines = together(shares).await?;
    Ok((lines, clock.monotonic().saturating_sub(begun)))
}

/// Waits until a server does nothing any more, so that what it has still to do is not counted for what comes.
pub(super) async fn rest(server: &Process) -> anyhow::Result<()> {
    let mut before = server.cpu()?;
    let mut ticks = interval(IDLE_PERIOD);
    ticks.tick().await;
    for _ in 0..IDLE_QUESTIONS_MAX {
        ticks.tick().await;
        let now = server.cpu()?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
    anyhow::bail!("the server does not come to rest")
}

/// Divides what is to be done among those who work at the same time, in order.
fn shares<T>(mut all: Vec<T>) -> Vec<Vec<T>> {
    let size = all.len().div_ceil(AT_ONCE).max(1);
    let mut shares = Vec::with_capacity(AT_ONCE);
    while !all.is_empty() {
        shares.push(all.split_off(all.len().saturating_sub(size)));
    }
    shares.reverse();
    shares
}

/// Does all at the same time; what comes of it is in order.
async fn together<T: Send + 'static>(
    shares: impl Iterator<Item = impl Future<Output = anyhow::Result<Vec<T>>> + Send + 'static>,
) -> anyhow::Result<Vec<T>> {
    let mut tasks = JoinSet::new();
    for (number, share) in shares.enumerate() {
        tasks.spawn(async move { Ok::<_, anyhow::Error>((number, share.await?)) });
    }
    let mut done = Vec::new();
    while let Some(share) = tasks.join_next().await {
        done.push(share?.context("a device was refused")?);
    }
    done.sort_unstable_by_key(|(number, _)| *number);
    Ok(done.into_iter().flat_map(|(_, results)| results).collect())
}
