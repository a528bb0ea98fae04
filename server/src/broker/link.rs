//! The way to the broker: TLS with a certificate on either side.
//!
//! Not here: packets.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Error;
use super::packets::{Incoming, cut};
use crate::config::Broker;

/// Port of MQTT with TLS (IANA).
const PORT: u16 = 8883;

/// Longest wait for a connection and its TLS: two lost packets each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the broker may take to take what it is sent, and to let us in.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How to reach the broker, and as whom.
pub(super) struct Link {
    pub(super) config: Broker,
    host: String,
    port: u16,
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// What comes from the broker.
pub(super) struct Reader {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
}

/// What goes to the broker.
pub(super) struct Writer(Box<dyn AsyncWrite + Send + Unpin>);

impl Link {
    /// Prepares.
    pub(super) fn new(config: &Broker) -> Result<Self, Error> {
        let url = config.address().ok_or(Error::Address)?;
        let host = url.host_str().ok_or(Error::Address)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| Error::Address)?;
        let port = url.port().unwrap_or(PORT);
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&config.ca_file)? {
            roots.add(certificate)?;
        }
        let key = PrivateKeyDer::from_pem_file(&config.key_file);
        let key = key.map_err(|source| Error::Read { path: config.key_file.clone(), source })?;
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&config.cert_file)?, key)?;
        let connector = TlsConnector::from(Arc::new(tls));
        Ok(Self { config: config.clone(), host, port, connector, name })
    }

    /// Connects.
    pub(super) async fn open(&self) -> io::Result<(Reader, Writer)> {
        let opened = timeout(CONNECT_TIMEOUT, async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            self.connector.connect(self.name.clone(), stream).await
        });
        Ok(halves(opened.await.map_err(|_| timed_out())??))
    }
}

/// Takes a connection apart.
pub(super) fn halves(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> (Reader, Writer) {
    let (read, write) = split(stream);
    (Reader { stream: Box::new(read), buffer: BytesMut::new() }, Writer(Box::new(write)))
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Reader {
    /// Returns the next packet. Dropped before it has one, it has lost nothing.
    pub(super) async fn next(&mut self) -> io::Result<Incoming> {
        loop {
            if let Some(packet) = cut(&mut self.buffer)? {
                return Ok(packet);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Writer {
    /// Sends packets.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        timeout(PATIENCE, sent).await.map_err(|_| timed_out())?
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let broken = |source| Error::Read { path: file.to_owned(), source };
    let all = CertificateDer::pem_file_iter(file).map_err(broken)?;
    all.collect::<Result<Vec<_>, _>>().map_err(broken)
}

pub(super) fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the broker does not answer")
}
