//! The network of this machine, as the port that devices have.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, lookup_host};
use waxwing_agent::network::Clock;
use waxwing_agent_net::{Address, Client, Network, NoConnection};

use crate::line::Line;
use crate::random::SystemEntropy;
use crate::time::Uptime;
use crate::trouble::Trouble;

/// Devices that share a local address: each may have two connections, and a server with its usual
/// limits lets 64 handshakes from one address run at once, enrolment included.
const DEVICES_PER_ADDRESS: u32 = 20;

/// The device listener, or that for enrolment.
pub type Https = waxwing_agent_net::Https<HostNetwork>;

/// The sockets of one device, from when it was last switched on.
#[derive(Clone, Debug)]
pub struct HostNetwork {
    uptime: Uptime,
    source: Option<Ipv4Addr>,
    trouble: Trouble,
}

impl HostNetwork {
    /// Starts its time from zero.
    pub fn start() -> Self {
        Self { uptime: Uptime::start(), source: None, trouble: Trouble::default() }
    }

    /// Starts the network of one device of thousands, with its trouble. Those of high numbers speak
    /// from another local address, if the server is on this machine: it limits connections from each.
    pub fn of_device(number: u32, trouble: &Trouble) -> Self {
        let source = match number / DEVICES_PER_ADDRESS {
            0 => None,
            address => Some(Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + address)),
        };
        Self { uptime: trouble.uptime(), source, trouble: trouble.clone() }
    }

    /// Returns the time of this device.
    pub const fn uptime(&self) -> Uptime {
        self.uptime
    }
}

/// Prepares requests to a listener, on a network of their own.
pub fn https(address: Address, client: Rc<Client>) -> Https {
    https_over(HostNetwork::start(), address, client)
}

/// Prepares requests to a listener.
pub(crate) fn https_over(network: HostNetwork, address: Address, client: Rc<Client>) -> Https {
    Https::new(Rc::new(network), address, Rc::new(RefCell::new(client)))
}

impl Clock for HostNetwork {
    fn now(&self) -> Duration {
        self.uptime.now()
    }
}

impl Network for HostNetwork {
    type Stream<'a> = Line;
    type Entropy = SystemEntropy;

    async fn connect(&self, host: &str, port: u16) -> Result<Line, NoConnection> {
        if self.trouble.strikes(self.trouble.link().refused_permille) {
            return Err(NoConnection);
        }
        let stream = match self.source {
            None => TcpStream::connect((host, port)).await,
            Some(source) => connect_from(source, host, port).await,
        };
        let stream = stream.map_err(|_| NoConnection)?;
        stream.set_nodelay(true).map_err(|_| NoConnection)?;
        Ok(Line::new(stream, self.trouble.clone()))
    }

    fn entropy(&self) -> SystemEntropy {
        SystemEntropy
    }

    async fn sleep_until(&self, uptime: Duration) {
        self.uptime.reaches(uptime).await;
    }
}

async fn connect_from(source: Ipv4Addr, host: &str, port: u16) -> std::io::Result<TcpStream> {
    let addresses = lookup_host((host, port)).await?;
    let address = addresses.into_iter().find(SocketAddr::is_ipv4);
    let address = address.ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let socket = TcpSocket::new_v4()?;
    if address.ip().is_loopback() {
        socket.bind((source, 0).into())?;
    }
    socket.connect(address).await
}
