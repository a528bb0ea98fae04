//! TCP connections and names, as the agent's network code takes them.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use embassy_net::Stack;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::client::{TcpClient, TcpClientState, TcpConnection};
use embassy_time::{Instant, Timer};
use embedded_nal_async::TcpConnect as _;
use static_cell::ConstStaticCell;
use waxwing_agent::network::Clock;
use waxwing_agent_net::{Network, NoConnection};

use crate::clock::Uptime;
use crate::entropy::Noise;

/// Connections at one time: a request, the connection for messages, and one for a renewal.
pub(crate) const CONNECTIONS: usize = 3;
/// A record of TLS goes out in one piece.
const TX_BYTES: usize = 2048;
/// Two of the server's records: it sends the next while one is being decrypted.
const RX_BYTES: usize = 4096;

static BUFFERS: ConstStaticCell<TcpClientState<CONNECTIONS, TX_BYTES, RX_BYTES>> =
    ConstStaticCell::new(TcpClientState::new());

/// The way to the network.
pub struct Sockets {
    stack: Stack<'static>,
    tcp: TcpClient<'static, CONNECTIONS, TX_BYTES, RX_BYTES>,
    noise: Noise,
}

impl Sockets {
    /// Opens connections over this stack; `None` when somebody else does already.
    pub fn new(stack: Stack<'static>, noise: Noise) -> Option<Self> {
        let tcp = TcpClient::new(stack, BUFFERS.try_take()?);
        Some(Self { stack, tcp, noise })
    }

    async fn address_of(&self, host: &str) -> Result<IpAddr, NoConnection> {
        if let Ok(address) = host.parse() {
            return Ok(address);
        }
        let found = self.stack.dns_query(host, DnsQueryType::A).await;
        let found = found.map_err(|_| NoConnection)?;
        found.first().map(|address| IpAddr::from(*address)).ok_or(NoConnection)
    }
}

impl Clock for Sockets {
    fn now(&self) -> Duration {
        Uptime.now()
    }
}

impl Network for Sockets {
    type Stream<'a> = TcpConnection<'a, CONNECTIONS, TX_BYTES, RX_BYTES>;
    type Entropy = Noise;

    async fn connect(&self, host: &str, port: u16) -> Result<Self::Stream<'_>, NoConnection> {
        let address = self.address_of(host).await?;
        self.tcp.connect(SocketAddr::new(address, port)).await.map_err(|_| NoConnection)
    }

    fn entropy(&self) -> Noise {
        self.noise.clone()
    }

    async fn sleep_until(&self, uptime: Duration) {
        let micros = u64::try_from(uptime.as_micros()).unwrap_or(u64::MAX);
        Timer::at(Instant::from_micros(micros)).await;
    }
}
