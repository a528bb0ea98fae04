//! Another MQTT broker: MQTT 5, `QoS` 1, under the topics that devices use here.
//!
//! The connection stays between batches. A message is taken once the broker has acknowledged it. Not here:
//! what packets look like ([`packets`]), and subscriptions: nothing comes back this way.

mod packets;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;
use zeroize::Zeroizing;

use self::packets::{Incoming, Login, PACKET_BYTES_MAX, Welcome};
use super::{Error, Parcel, client};
use crate::config::Sink;
use crate::domain::sink::progress::Outcome;

/// Ports of MQTT with and without TLS (IANA).
const PORT_TLS: u16 = 8883;
const PORT_PLAIN: u16 = 1883;

/// Longest wait for a connection and its TLS: two lost packets each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most messages that are on their way at once.
const WINDOW_MAX: u16 = 64;

/// Bytes of the length of a packet, at most (MQTT 5, 1.5.5).
const LENGTH_BYTES_MAX: u32 = 4;

/// A broker.
pub(super) struct Mqtt {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    login: Login,
    topic_prefix: String,
    patience: Duration,
    connection: Option<Connection>,
}

/// Whatever bytes go through.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    welcome: Welcome,
}

/// Why a broker takes nothing now, for people.
struct Away(String);

impl Mqtt {
    /// Prepares.
    pub(super) fn new(sink: &Sink, url: &Url, token: Option<&str>) -> Result<Self, Error> {
        let host = url.host_str().ok_or(Error::Address)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let has_tls = url.scheme() == "mqtts";
        let tls = has_tls.then(|| connector(sink, &host)).transpose()?;
        let port = url.port().unwrap_or(if has_tls { PORT_TLS } else { PORT_PLAIN });
        let login = Login {
            client_id: format!("waxwing-{}", sink.name),
            user: sink.user.clone(),
            password: token.map(|token| Zeroizing::new(token.to_owned())),
        };
        let patience = Duration::from_secs(sink.timeout_s);
        let topic_prefix = sink.topic_prefix.clone();
        Ok(Self { host, port, tls, login, topic_prefix, patience, connection: None })
    }

    /// Publishes messages. A connection that broke since the last batch is made anew, once; what the broker may
    /// have got before is marked on it.
    pub(super) async fn send(&mut self, parcels: &[Parcel<'_>]) -> Vec<(u64, Outcome)> {
        let mut outcomes = vec![None; parcels.len()];
        let was_open = self.connection.is_some();
        let mut sent = self.try_send(parcels, &mut outcomes).await;
        if sent.is_err() && was_open && outcomes.iter().all(Option::is_none) {
            let again = parcels.iter().map(|parcel| Parcel { again: true, ..parcel.clone() });
            sent = self.try_send(&again.collect::<Vec<_>>(), &mut outcomes).await;
        }
        let reason =
            sent.err().map_or_else(|| "not_acknowledged".to_owned(), |Away(reason)| reason);
        let away = Outcome::Unreachable { reason, retry_after_ms: None };
        let outcomes = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| away.clone()));
        parcels.iter().map(Parcel::position).zip(outcomes).collect()
    }

    async fn try_send(
        &mut self,
        parcels: &[Parcel<'_>],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), Away> {
        // Taken out, so that one that broke, or waits for an answer, is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let packets = parcels.iter().map(|parcel| packets::publish(&self.topic_prefix, parcel));
        let packets: Vec<_> = packets.collect();
        connection.publish(&packets, outcomes, self.patience).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<Connection, Away> {
        let connected = timeout(CONNECT_TIMEOUT, self.open()).await;
        let stream =
            connected.map_err(|_| away("not_reached"))?.map_err(|_| away("not_reached"))?;
        let mut stream = BufReader::new(stream);
        let packet = packets::connect(&self.login).ok_or_else(|| away("login_too_long"))?;
        let welcome = async {
            write(&mut stream, &packet).await?;
            match read(&mut stream).await? {
                Incoming::Welcome(welcome) => Ok(welcome),
                Incoming::Refused(reason) => Err(Away(reason)),
                Incoming::Acknowledged { .. } | Incoming::Other => Err(away("broken_answer")),
            }
        };
        let welcome = timeout(self.patience, welcome).await.map_err(|_| away("timed_out"))??;
        Ok(Connection { stream, welcome })
    }

    async fn open(&self) -> std::io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
            None => Box::new(stream),
        })
    }
}

impl Connection {
    /// Publishes packets under the ids 1, 2, 3 and so on, and waits for what becomes of each.
    async fn publish(
        &mut self,
        packets: &[packets::Publish],
        outcomes: &mut [Option<Outcome>],
        patience: Duration,
    ) -> Result<(), Away> {
        let window = usize::from(self.welcome.receive_max.min(WINDOW_MAX));
        let (mut next, mut waiting) = (0, 0);
        while next < packets.len() || waiting > 0 {
            while waiting < window
                && let Some(packet) = packets.get(next)
            {
                next += 1;
                if let Some(outcome) = outcomes.get_mut(next - 1).filter(|it| it.is_none()) {
                    match self.welcome.fits(packet, next) {
                        Ok(bytes) => {
                            let written = timeout(patience, write(&mut self.stream, &bytes)).await;
                            written.map_err(|_| away("timed_out"))??;
                            waiting += 1;
                        }
                        Err(reason) => *outcome = Some(Outcome::Refused(reason.to_owned())),
                    }
                }
            }
            if waiting == 0 {
                continue;
            }
            let acknowledged = timeout(patience, acknowledged(&mut self.stream)).await;
            let (id, outcome) = acknowledged.map_err(|_| away("timed_out"))??;
            let place = usize::from(id).checked_sub(1).and_then(|at| outcomes.get_mut(at));
            let place = place.filter(|outcome| outcome.is_none());
            *place.ok_or_else(|| away("broken_answer"))? = Some(outcome);
            waiting -= 1;
        }
        Ok(())
    }
}

async fn write(stream: &mut BufReader<Box<dyn Stream>>, bytes: &[u8]) -> Result<(), Away> {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    written.await.map_err(|_| away("connection_lost"))
}

/// Waits for what becomes of a message, whatever else the broker says meanwhile.
async fn acknowledged(stream: &mut BufReader<Box<dyn Stream>>) -> Result<(u16, Outcome), Away> {
    loop {
        match read(stream).await? {
            Incoming::Acknowledged { id, outcome } => return Ok((id, outcome)),
            Incoming::Refused(reason) => return Err(Away(reason)),
            Incoming::Other | Incoming::Welcome(_) => {}
        }
    }
}

/// Reads a packet, if it is not too long.
async fn read(stream: &mut BufReader<Box<dyn Stream>>) -> Result<Incoming, Away> {
    let lost = |_| away("connection_lost");
    let header = stream.read_u8().await.map_err(lost)?;
    let mut length = 0_usize;
    for place in 0..=LENGTH_BYTES_MAX {
        let byte = stream.read_u8().await.map_err(lost)?;
        length |= usize::from(byte & 0x7f) << (7 * place);
        if place == LENGTH_BYTES_MAX || length > PACKET_BYTES_MAX {
            return Err(away("broken_answer"));
        }
        if byte < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(lost)?;
    packets::decode(header, &body).ok_or_else(|| away("broken_answer"))
}

fn away(reason: &str) -> Away {
    Away(reason.to_owned())
}

fn connector(sink: &Sink, host: &str) -> Result<(TlsConnector, ServerName<'static>), Error> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Address)?;
    let file = sink.ca_file.as_deref().ok_or(Error::Authorities)?;
    let mut roots = RootCertStore::empty();
    for certificate in client::certificates(file)? {
        roots.add(certificate).map_err(Error::Tls)?;
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match (&sink.cert_file, &sink.key_file) {
        (Some(certificate), Some(key)) => {
            let chain: Vec<CertificateDer<'static>> = client::certificates(certificate)?;
            let path = || key.clone();
            let broken = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| Error::Read { path: path(), source: broken(error) })?;
            builder.with_client_auth_cert(chain, key).map_err(Error::Tls)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok((TlsConnector::from(Arc::new(config)), name))
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mqtt").field("host", &self.host).finish_non_exhaustive()
    }
}
