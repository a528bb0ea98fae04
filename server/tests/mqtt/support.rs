//! A server that speaks MQTT on a real socket with real certificates, and devices to try it.

use std::collections::HashSet;
use std::future::ready;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use waxwing_server::clock::{Clock, SystemClock};
use waxwing_server::listener::{self, Limits, Listener, Shutdown, Stream};
use waxwing_server::metrics::{Metrics, Name};
use waxwing_server::mqtt::{
    self, Audience, Delivery, Endpoint, Grants, Guest, Hub, Ledger, Refusals, Refused, Scope, Sink,
    commands,
};
use waxwing_server::pki::{Authority, DeviceKey, Peer, ServerCertificate, Validity};
use waxwing_server::store::Store;
use waxwing_server::tls::{Material, Tls};
use waxwing_wire::DeviceId;
use waxwing_wire::topic::Kind;

/// For whatever must come, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

/// Life of every certificate here.
const LIFE: Duration = Duration::from_hours(1);

/// A message that reached the server.
pub(crate) type Taken = (DeviceId, Kind, Bytes);

/// Takes messages into a channel, one permit each; what some of them do is in their payload.
#[derive(Debug)]
pub(crate) struct Inbox {
    taken: mpsc::UnboundedSender<Taken>,
    permits: Semaphore,
}

impl Sink for Inbox {
    async fn accept(&self, device: &DeviceId, kind: Kind, payload: Bytes) -> Result<(), Refused> {
        match &payload[..] {
            b"malformed" => return Err(Refused::Malformed),
            b"panic" => panic!("a message that nobody thought of"),
            _ => {}
        }
        let permit = self.permits.acquire().await.map_err(|_| Refused::Unavailable)?;
        permit.forget();
        self.taken.send((device.clone(), kind, payload)).map_err(|_| Refused::Unavailable)
    }
}

/// The server.
pub(crate) struct Server {
    pub(crate) endpoint: Arc<Endpoint<Inbox, Ledger>>,
    store: Store,
    pub(crate) address: SocketAddr,
    messages: mpsc::UnboundedReceiver<Taken>,
    revoked: Arc<Mutex<HashSet<DeviceId>>>,
    ca: Authority,
    device_ca: Authority,
    serials: AtomicU8,
    folder: TempDir,
    shutdown: Shutdown,
}

impl Server {
    /// Starts a server whose sink takes as many messages as come.
    pub(crate) async fn start() -> Self {
        Self::start_with(Semaphore::MAX_PERMITS).await
    }

    /// Starts a server whose sink takes so many messages until it is given more permits.
    pub(crate) async fn start_with(permits: usize) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (server_ca, device_ca) = (authority(&clock, 1), authority(&clock, 2));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), pem(server_ca.certificate())).unwrap();
        let (taken, messages) = mpsc::unbounded_channel();
        let sink = Inbox { taken, permits: Semaphore::new(permits) };
        let store = Store::open(&folder.path().join("waxwing.db")).await.unwrap();
        let keeper = Ledger::open(store.clone(), clock.clone()).await.unwrap();
        let endpoint = Arc::new(Endpoint {
            hub: Hub::default(),
            audience: Audience::default(),
            grants: Grants::default(),
            keeper,
            refusals: Refusals::default(),
            sink,
        });
        let revoked = Arc::<Mutex<HashSet<DeviceId>>>::default();
        let shutdown = Shutdown::default();
        let listener = listener(&server_ca, &device_ca, &clock).await;
        let address = listener.socket.local_addr().unwrap();
        let serve = {
            let (endpoint, revoked) = (endpoint.clone(), revoked.clone());
            move |stream: Stream, _| {
                let (endpoint, revoked, clock) = (endpoint.clone(), revoked.clone(), clock.clone());
                async move {
                    let certificates = stream.get_ref().1.peer_certificates().unwrap();
                    let device = Peer::from_certificate(&certificates[0]).unwrap().device;
                    let is_admitted = {
                        let device = device.clone();
                        move || ready(!revoked.lock().unwrap().contains(&device))
                    };
                    let nickname = device.to_string();
                    let guest = Guest {
                        scope: Scope::Device(device),
                        nickname,
                        limits: mqtt::Limits::NONE,
                        until: Duration::MAX,
                    };
                    mqtt::serve(&endpoint, &clock, guest, stream, is_admitted).await;
                }
            }
        };
        tokio::spawn(listener.run(shutdown.clone(), serve));
        Self {
            endpoint,
            store,
            address,
            messages,
            revoked,
            ca: server_ca,
            device_ca,
            serials: AtomicU8::new(10),
            folder,
            shutdown,
        }
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.endpoint.hub
    }

    /// Lets the sink take so many more messages.
    pub(crate) fn permit(&self, messages: usize) {
        self.endpoint.sink.permits.add_permits(messages);
    }

    /// Returns the next message that the sink took.
    pub(crate) async fn message(&mut self) -> (String, Kind, String) {
        let (device, kind, payload) = patient(self.messages.recv()).await.unwrap();
        (device.to_string(), kind, String::from_utf8(payload.to_vec()).unwrap())
    }

    /// Says that nothing was taken that was not asked for.
    pub(crate) fn assert_no_message(&mut self) {
        assert!(self.messages.try_recv().is_err());
    }

    /// Revokes a device as the rest of the server does: first the record, then the hub.
    pub(crate) fn revoke(&self, device: &str) {
        let device = DeviceId::parse(device).unwrap();
        self.revoked.lock().unwrap().insert(device.clone());
        self.hub().disconnect(&device);
    }

    /// Ends the server and waits for its connections.
    pub(crate) async fn stop(&self) {
        self.shutdown.token.cancel();
        self.hub().shut_down();
        self.shutdown.tasks.close();
        patient(self.shutdown.tasks.wait()).await;
    }

    /// Sends a command to a device.
    pub(crate) async fn command(&self, device: &str, command: &'static str) -> Delivery {
        let device = DeviceId::parse(device).unwrap();
        let (payload, now_ms) =
            (Bytes::from_static(command.as_bytes()), SystemClock::new().now_ms());
        let mut change = self.store.begin().await.unwrap();
        let prepared = commands::keep(change.connection(), &device, payload, LIFE, now_ms).await;
        drop(change.commit().await.unwrap());
        prepared.unwrap().hand_over(self.hub())
    }

    /// Sends a command to a device as soon as it listens.
    pub(crate) async fn command_when_it_listens(&self, device: &str, command: &'static str) {
        patient(async { while self.command(device, command).await != Delivery::Sent {} }).await;
    }

    /// Enrols a device.
    pub(crate) fn device(&self, id: &str) -> Device {
        self.enrol(&self.device_ca, id)
    }

    /// Makes a device whose certificate another CA signed.
    pub(crate) fn stranger(&self, id: &str) -> Device {
        self.enrol(&self.ca, id)
    }

    fn enrol(&self, ca: &Authority, id: &str) -> Device {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let public = DeviceKey::from_der(request.der()).unwrap();
        assert_eq!(public.spki_der(), key.subject_public_key_info());
        let serial = [self.serials.fetch_add(1, Ordering::Relaxed); 16];
        let id = DeviceId::parse(id).unwrap();
        let certificate = ca.issue_device(&id, &public, serial, validity(&SystemClock::new()));
        let device = Device {
            address: self.address,
            server_ca: self.ca.certificate().clone(),
            certificate: certificate.unwrap(),
            key,
            folder: self.folder.path().join(format!("{id}-{}", serial[0])),
            id: id.to_string(),
        };
        device.write_files();
        device
    }
}

async fn listener(
    server_ca: &Authority,
    device_ca: &Authority,
    clock: &Arc<dyn Clock>,
) -> Listener {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let (certificate, key) =
        server_ca.issue_server(&names, [3; 16], validity(clock.as_ref())).unwrap();
    let chain = vec![certificate, server_ca.certificate().clone()];
    let tls = Tls::new(&Material {
        server: ServerCertificate { chain, key },
        device_cas: vec![device_ca.certificate().clone()],
        operator_ca: device_ca.certificate().clone(),
        expired_grace: Duration::ZERO,
        clock: clock.clone(),
    });
    Listener {
        name: Name::Mqtt,
        socket: listener::bind("listen.mqtt", (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap(),
        tls: tls.unwrap().mqtt(),
        limits: Limits {
            connections: 1000,
            connections_per_source: 1000,
            handshakes_per_source: 300,
            handshake: PATIENCE,
            connection: Duration::from_hours(1),
        },
        metrics: Arc::new(Metrics::new()),
    }
}

fn authority(clock: &Arc<dyn Clock>, serial: u8) -> Authority {
    let pair = Authority::create("CA", [serial; 16], clock.now_ms()).unwrap();
    Authority::from_pem(&pair.certificate, &pair.key).unwrap()
}

fn validity(clock: &dyn Clock) -> Validity {
    Validity { now_ms: clock.now_ms(), life: LIFE }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

/// A device with its key.
pub(crate) struct Device {
    pub(crate) id: String,
    address: SocketAddr,
    server_ca: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: KeyPair,
    folder: PathBuf,
}

impl Device {
    /// Returns the name of one of the device's topics.
    pub(crate) fn topic(&self, kind: &str) -> String {
        format!("waxwing/v1/{}/{kind}", self.id)
    }

    /// Runs `mosquitto_pub` to its end.
    pub(crate) async fn mosquitto_pub(&self, version: &str, args: &[&str]) -> Output {
        let mut command = self.mosquitto("mosquitto_pub", version, args);
        patient(command.output()).await.unwrap()
    }

    /// Runs `mosquitto_sub` to its end.
    pub(crate) async fn mosquitto_sub(&self, version: &str, args: &[&str]) -> Output {
        let mut command = self.mosquitto("mosquitto_sub", version, args);
        patient(command.output()).await.unwrap()
    }

    fn mosquitto(&self, program: &str, version: &str, args: &[&str]) -> Command {
        let file = |name: &str| self.folder.join(name).into_os_string();
        let mut command = Command::new(program);
        command.args(["-V", version, "-h", "localhost", "-p", &self.address.port().to_string()]);
        command.arg("--cafile").arg(file("../ca.pem"));
        command.arg("--cert").arg(file("cert.pem")).arg("--key").arg(file("key.pem"));
        command.args(["-i", &self.id]).args(args).kill_on_drop(true);
        command
    }

    fn write_files(&self) {
        let write = |name: &str, text: String| std::fs::write(Path::join(&self.folder, name), text);
        std::fs::create_dir(&self.folder).unwrap();
        write("cert.pem", pem(&self.certificate)).unwrap();
        write("key.pem", self.key.serialize_pem()).unwrap();
    }

    /// Opens a TLS connection on which nothing is said yet.
    pub(crate) async fn dial(&self) -> Line {
        self.dial_from(Ipv4Addr::LOCALHOST).await
    }

    /// Opens a TLS connection from another address of this machine.
    pub(crate) async fn dial_from(&self, source: Ipv4Addr) -> Line {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(self.server_ca.clone()).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![self.certificate.clone()], key)
            .unwrap();
        let tcp = dial_tcp(self.address, source).await;
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        Line { stream: patient(connector.connect(name, tcp)).await.unwrap() }
    }

    /// Connects with MQTT 5 and what is given, and checks that it is welcome.
    pub(crate) async fn connect(&self, connect: &[u8]) -> Line {
        let mut line = self.dial().await;
        line.send(connect).await;
        let (header, body) = line.packet().await.unwrap();
        assert_eq!((header, body[1]), (0x20, 0), "{body:02x?}");
        line
    }
}

/// Opens a TCP connection from one of this machine's addresses.
pub(crate) async fn dial_tcp(to: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    patient(socket.connect(to)).await.unwrap()
}

/// A device's end of a connection, byte by byte.
pub(crate) struct Line {
    stream: TlsStream<TcpStream>,
}

impl Line {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        patient(self.stream.write_all(bytes)).await.unwrap();
        patient(self.stream.flush()).await.unwrap();
    }

    /// Sends as much as the server lets through.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        patient(self.stream.write_all(bytes)).await
    }

    /// Returns the next packet: its first byte and its body; nothing once the server closed.
    pub(crate) async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        patient(self.read()).await.ok()
    }

    async fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let header = self.stream.read_u8().await?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.stream.read_u8().await?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((header, body))
    }

    /// Waits until the server closed, and returns the packets before.
    pub(crate) async fn rest(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut packets = Vec::new();
        while let Some(packet) = self.packet().await {
            packets.push(packet);
        }
        packets
    }
}

/// Waits for what must come.
#[track_caller]
pub(crate) fn patient<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let outcome = timeout(PATIENCE, future).await;
        outcome.unwrap_or_else(|_| panic!("nothing happened at {caller}"))
    }
}

/// Says how a program ended.
pub(crate) fn ended(output: &Output) -> (ExitStatus, String) {
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}
