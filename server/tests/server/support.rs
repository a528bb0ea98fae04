//! A server in a temporary folder, and clients for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use waxwing_esp_image::Chip;
use waxwing_server::clock::FakeClock;
use waxwing_server::config::Config;
use waxwing_server::domain::device::{Attributes, Status};
use waxwing_server::domain::document::Required;
use waxwing_server::domain::product::{ProjectRule, SecureBoot, VersionRule};
use waxwing_server::domain::{Device, Product};
use waxwing_server::random::{self, SystemRandom};
use waxwing_server::revocation;
use waxwing_server::run::{self, Options, Running};
use waxwing_server::store::{Change, devices, enrolment, products};
use waxwing_wire::{Channel, DeviceId, Digest, Hardware, ProductId};

/// The folder of a server, which outlives its process.
pub(crate) struct Folder {
    pub(crate) temporary: Arc<TempDir>,
    pub(crate) config: Config,
    pub(crate) clock: Arc<FakeClock>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let temporary = Arc::new(tempfile::tempdir().unwrap());
        let mut config = Config { data_dir: temporary.path().join("data"), ..Config::default() };
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        config.listen.device = any;
        config.listen.enrol = any;
        config.listen.admin = any;
        config.listen.mqtt = any;
        config.listen.crl = any;
        config.listen.ops = any;
        config.limits.drain_s = 1;
        // Clients judge the server's certificate by the real time.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let clock = Arc::new(FakeClock::new(u64::try_from(now.as_millis()).unwrap()));
        Self { temporary, config, clock }
    }

    pub(crate) async fn start(&self) -> Server {
        // Shown when the test fails.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let options = Options::default();
        let random = Arc::new(SystemRandom);
        let running =
            run::start(self.config.clone(), options, self.clock.clone(), random).await.unwrap();
        Server { running, clock: self.clock.clone(), _folder: self.temporary.clone() }
    }

    /// Starts a server that should not start, and returns why it did not.
    pub(crate) async fn try_start(&self) -> Result<(), String> {
        let random = Arc::new(SystemRandom);
        let options = Options::default();
        let started = run::start(self.config.clone(), options, self.clock.clone(), random).await;
        started.map(drop).map_err(|error| error.to_string())
    }

    pub(crate) fn data(&self) -> &Path {
        &self.config.data_dir
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) clock: Arc<FakeClock>,
    _folder: Arc<TempDir>,
}

impl Server {
    pub(crate) fn device(&self) -> SocketAddr {
        self.running.addresses.device
    }

    pub(crate) fn enrol(&self) -> SocketAddr {
        self.running.addresses.enrol
    }

    /// Registers a product and a device of it, and returns a token for the device.
    pub(crate) async fn register(&self, device: &str) -> String {
        let app = &self.running.app;
        let mut change = app.store.begin().await.unwrap();
        if app.fleet.product(&product().id).is_none() {
            products::add(change.connection(), &product()).await.unwrap();
        }
        let device = Device {
            id: id(device),
            product: product().id,
            tags: BTreeMap::new(),
            attributes: Attributes::default(),
            version: None,
            status: Status::Registered,
            created_at: 0,
            changed_at: 0,
            certificates: Vec::new(),
            message_secret: None,
        };
        devices::add(change.connection(), &device).await.unwrap();
        let turn = change.commit().await.unwrap();
        app.fleet.put_product(product());
        app.fleet.put_device(device.clone());
        drop(turn);
        self.token(device.id.as_str(), Duration::from_hours(1)).await
    }

    /// Makes a token for a device.
    pub(crate) async fn token(&self, device: &str, life: Duration) -> String {
        let app = &self.running.app;
        let token = Digest(random::bytes(app.random.as_ref())).to_string();
        let sha256 = Digest(Sha256::digest(&token).into());
        let now_ms = app.clock.now_ms();
        let expires_at = now_ms + u64::try_from(life.as_millis()).unwrap();
        let mut change = app.store.begin().await.unwrap();
        let db = change.connection();
        enrolment::add_token(db, &sha256, &id(device), now_ms, expires_at).await.unwrap();
        drop(change.commit().await.unwrap());
        token
    }

    /// Shuts a device out.
    pub(crate) async fn revoke(&self, device: &str) {
        self.revoke_within(self.running.app.store.begin().await.unwrap(), device).await;
    }

    /// Shuts a device out, as whoever already holds the only change.
    pub(crate) async fn revoke_within(&self, mut change: Change, device: &str) {
        let app = &self.running.app;
        let device = Device {
            status: Status::Revoked,
            ..Device::clone(&app.fleet.device(&id(device)).unwrap())
        };
        devices::update(change.connection(), &device).await.unwrap();
        let now_ms = app.clock.now_ms();
        devices::shut_out(change.connection(), &device.id, now_ms).await.unwrap();
        let turn = change.commit().await.unwrap();
        let id = device.id.clone();
        app.fleet.put_device(device);
        revocation::follow_up(app, &id).await;
        drop(turn);
    }

    /// Registers and enrols a device.
    pub(crate) async fn enrolled(&self, device: &str) -> Identity {
        let token = self.register(device).await;
        let key = KeyPair::generate().unwrap();
        let answer = self.enroll(device, &token, &csr(&key)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        Identity { certificate: answer.certificate(), key }
    }

    /// Asks for a certificate with a token.
    pub(crate) async fn enroll(&self, device: &str, token: &str, csr: &str) -> Answer {
        let credentials = STANDARD.encode(format!("{device}:{token}"));
        let headers = [("authorization", format!("Basic {credentials}"))];
        let mut client = self.connect(self.enrol(), None).await.unwrap();
        client.send(Method::POST, "/.well-known/est/simpleenroll", &headers, csr.to_owned()).await
    }

    /// Asks for the next certificate with the present one.
    pub(crate) async fn reenroll(&self, identity: &Identity, csr: &str) -> Answer {
        let mut client = self.connect(self.device(), Some(identity)).await.unwrap();
        client.send(Method::POST, "/.well-known/est/simplereenroll", &[], csr.to_owned()).await
    }

    /// Connects with TLS and, if given, a client certificate.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        identity: Option<&Identity>,
    ) -> std::io::Result<Client> {
        Client::open(self.connector(identity), address).await
    }

    /// Returns a TLS client that trusts the server's CA. Clones share session tickets.
    pub(crate) fn connector(&self, identity: Option<&Identity>) -> TlsConnector {
        self.connector_of(identity, rustls::ALL_VERSIONS)
    }

    /// Returns such a client that speaks only these versions of TLS.
    pub(crate) fn connector_of(
        &self,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.running.app.pki.server().certificate().clone()).unwrap();
        let builder = ClientConfig::builder_with_protocol_versions(versions);
        let builder = builder.with_root_certificates(roots);
        let config = match identity {
            Some(identity) => builder
                .with_client_auth_cert(vec![identity.certificate.clone()], identity.private())
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// A certificate with its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: KeyPair,
}

impl Identity {
    fn private(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

/// An HTTP connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn open(
        connector: TlsConnector,
        address: SocketAddr,
    ) -> std::io::Result<Self> {
        let stream = tls(&connector, address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    /// Sends a request; a TLS alert of the server shows here, because TLS 1.3 clients are done
    /// before the server has judged their certificate.
    pub(crate) async fn try_send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, hyper::Error> {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

/// Opens a TLS connection.
pub(crate) async fn tls(
    connector: &TlsConnector,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Returns the stable code of a problem.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        problem["code"].as_str().unwrap().to_owned()
    }

    /// Takes the certificate out of a PKCS#7 answer, with openssl.
    #[track_caller]
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        use rustls_pki_types::pem::PemObject as _;

        let der = STANDARD.decode(self.body.split(|b| *b == b'\n').collect::<Vec<_>>().concat());
        let pem = openssl(&["pkcs7", "-inform", "DER", "-print_certs"], &der.unwrap());
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }
}

/// Runs openssl on an input and returns its output.
#[track_caller]
pub(crate) fn openssl(arguments: &[&str], input: &[u8]) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a certificate request for a key, in the base64 of EST.
pub(crate) fn csr(key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    STANDARD.encode(params.serialize_request(key).unwrap().der())
}

/// Returns a device id.
pub(crate) fn id(device: &str) -> DeviceId {
    DeviceId::parse(device).unwrap()
}

/// Returns the one product of these tests.
pub(crate) fn product() -> Product {
    Product {
        id: ProductId::parse("th1").unwrap(),
        chip: Chip::Esp32c3,
        hardware: vec![Hardware::parse("r1").unwrap()],
        channels: vec![Channel::parse("stable").unwrap()],
        slot_bytes: 1 << 20,
        image_version: VersionRule::Match,
        image_project: ProjectRule::Ignore,
        secure_boot: SecureBoot::default(),
        required_documents: Required::new(),
        builders: Vec::new(),
        created_at: 0,
    }
}
