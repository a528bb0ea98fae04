//! TCP connections to hosts by their names.

use core::net::{IpAddr, SocketAddr};

use embassy_net::Stack;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::client::{TcpClient, TcpClientState, TcpConnection};
use embedded_nal_async::TcpConnect as _;
use static_cell::ConstStaticCell;

/// Connections at one time: a request, the connection for messages, and one for a renewal.
const CONNECTIONS: usize = 3;
/// A record of TLS goes out in one piece.
const TX_BYTES: usize = 2048;
/// Two of the server's records: it sends the next while one is being decrypted.
const RX_BYTES: usize = 4096;

static BUFFERS: ConstStaticCell<TcpClientState<CONNECTIONS, TX_BYTES, RX_BYTES>> =
    ConstStaticCell::new(TcpClientState::new());

/// An open connection.
pub type Connection<'a> = TcpConnection<'a, CONNECTIONS, TX_BYTES, RX_BYTES>;

/// Opens connections.
pub struct Tcp {
    stack: Stack<'static>,
    client: TcpClient<'static, CONNECTIONS, TX_BYTES, RX_BYTES>,
}

/// There is no connection: no address for the name, nobody there, or all connections are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotConnected;

impl Tcp {
    /// Opens connections over this stack; `None` when somebody else does already.
    pub fn new(stack: Stack<'static>) -> Option<Self> {
        Some(Self { stack, client: TcpClient::new(stack, BUFFERS.try_take()?) })
    }

    /// Connects. Waits for as long as the device has no address of its own, which may be for ever:
    /// how long is up to who asks.
    ///
    /// # Errors
    ///
    /// [`NotConnected`] when there is no connection.
    pub async fn connect(&self, host: &str, port: u16) -> Result<Connection<'_>, NotConnected> {
        self.stack.wait_config_up().await;
        let address = self.address_of(host).await?;
        self.client.connect(SocketAddr::new(address, port)).await.map_err(|_| NotConnected)
    }

    async fn address_of(&self, host: &str) -> Result<IpAddr, NotConnected> {
        if let Ok(address) = host.parse() {
            return Ok(address);
        }
        let found = self.stack.dns_query(host, DnsQueryType::A).await;
        let found = found.map_err(|_| NotConnected)?;
        found.first().map(|address| IpAddr::from(*address)).ok_or(NotConnected)
    }
}
