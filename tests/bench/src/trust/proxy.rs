//! A connection that counts: TLS ends here on both sides, so that what is counted is what HTTP says.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Bytes of HTTP that went over a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    /// From the device to the server.
    pub(crate) up: u64,
    /// From the server to the device.
    pub(crate) down: u64,
}

/// A proxy for one connection.
pub(crate) struct Proxy {
    /// Where the device connects to.
    pub(crate) address: SocketAddr,
    connection: JoinHandle<anyhow::Result<Counted>>,
}

impl Proxy {
    /// Waits for a connection, as the server to the device and as the device to the server.
    pub(crate) async fn start(
        server: SocketAddr,
        as_server: Arc<ServerConfig>,
        as_device: Arc<ClientConfig>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let connection = tokio::spawn(async move {
            let (stream, _) = listener.accept().await?;
            let mut device = TlsAcceptor::from(as_server).accept(stream).await?;
            let stream = TcpStream::connect(server).await?;
            let name = ServerName::try_from("localhost")?;
            let mut server = TlsConnector::from(as_device).connect(name, stream).await?;
            let (up, down) = copy_bidirectional(&mut device, &mut server).await?;
            Ok(Counted { up, down })
        });
        Ok(Self { address, connection })
    }

    /// Returns what was counted, once the device has closed its connection.
    pub(crate) async fn finish(self) -> anyhow::Result<Counted> {
        self.connection.await?
    }
}
