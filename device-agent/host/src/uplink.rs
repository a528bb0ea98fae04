//! How a device of this host reaches its server: itself, or through a gateway.

use std::rc::Rc;

use embedded_io_async::{Read as _, Write as _};
use waxwing_agent::download::Opened;
use waxwing_agent::network::{NoAnswer, Server};
use waxwing_agent_net::identity::MessageSigner;
use waxwing_agent_net::relay::{self, Link};
use waxwing_agent_net::{Address, Network as _, NoConnection};
use waxwing_wire::Digest;

use crate::line::Line;
use crate::network::{HostNetwork, Https};

/// The server behind a gateway.
pub type Relay = relay::Relay<HostNetwork, Socket, MessageSigner>;

/// The way to the server.
#[derive(Debug)]
pub enum Uplink {
    /// By TLS of its own.
    Direct(Https),
    /// Through a gateway.
    Relayed(Box<Relay>),
}

// The way through a gateway has a place of its own: devices without one have no memory for it.
impl Server for Uplink {
    async fn poll(&mut self, request: &str) -> Result<Vec<u8>, NoAnswer> {
        match self {
            Self::Direct(server) => server.poll(request).await,
            Self::Relayed(server) => Box::pin(server.poll(request)).await,
        }
    }

    async fn open(&mut self, sha256: &Digest, from: u32) -> Result<Opened, NoAnswer> {
        match self {
            Self::Direct(server) => server.open(sha256, from).await,
            Self::Relayed(server) => Box::pin(server.open(sha256, from)).await,
        }
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer> {
        match self {
            Self::Direct(server) => server.read(bytes).await,
            Self::Relayed(server) => Box::pin(server.read(bytes)).await,
        }
    }
}

/// A link over a socket, at whose other end is the gateway, or a radio.
#[derive(Debug)]
pub struct Socket {
    network: Rc<HostNetwork>,
    address: Address,
    line: Option<Line>,
}

impl Socket {
    /// Prepares a link.
    pub const fn new(network: Rc<HostNetwork>, address: Address) -> Self {
        Self { network, address, line: None }
    }
}

impl Link for Socket {
    async fn open(&mut self) -> Result<(), NoConnection> {
        self.line = None;
        self.line = Some(self.network.connect(&self.address.host, self.address.port).await?);
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), NoConnection> {
        let line = self.line.as_mut().ok_or(NoConnection)?;
        line.write_all(bytes).await.map_err(|_| NoConnection)?;
        line.flush().await.map_err(|_| NoConnection)
    }

    async fn receive(&mut self, bytes: &mut [u8]) -> Result<usize, NoConnection> {
        let line = self.line.as_mut().ok_or(NoConnection)?;
        match line.read(bytes).await {
            Ok(0) | Err(_) => Err(NoConnection),
            Ok(count) => Ok(count),
        }
    }

    fn close(&mut self) {
        self.line = None;
    }
}
