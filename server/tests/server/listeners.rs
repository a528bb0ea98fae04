//! Who gets through TLS, and that nobody keeps others waiting.

use std::time::Duration;

use axum::http::Method;
use rcgen::KeyPair;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use waxwing_server::pki::{Authority, DeviceKey, Validity};

use crate::support::{Folder, Identity, Server, csr, id};

/// Far more than any of these needs, far less than a handshake may take.
const SOON: Duration = Duration::from_secs(5);

async fn is_let_in(server: &Server, identity: Option<&Identity>) -> bool {
    let Ok(mut client) = server.connect(server.device(), identity).await else { return false };
    client.try_send(Method::GET, "/", &[], "").await.is_ok()
}

#[tokio::test]
async fn the_device_listener_admits_nobody_without_a_certificate_of_its_ca() {
    let server = Folder::new().start().await;
    let own = server.enrolled("d-1").await;
    assert!(is_let_in(&server, Some(&own)).await);
    assert!(!is_let_in(&server, None).await);
    let now_ms = server.running.app.clock.now_ms();
    let foreign = Authority::create("Waxwing device CA", [7; 16], now_ms).unwrap();
    let foreign = Authority::from_pem(&foreign.certificate, &foreign.key).unwrap();
    let validity = Validity { now_ms, life: Duration::from_hours(24) };
    for authority in [&foreign, &server.running.app.pki.server(), &server.running.app.pki.operator]
    {
        let key = KeyPair::generate().unwrap();
        let public = DeviceKey::from_est(csr(&key).as_bytes()).unwrap();
        let certificate = authority.issue_device(&id("d-1"), &public, [9; 16], validity).unwrap();
        assert!(!is_let_in(&server, Some(&Identity { certificate, key })).await);
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_on_record_is_refused_whatever_its_name() {
    let server = Folder::new().start().await;
    server.enrolled("d-1").await;
    let validity =
        Validity { now_ms: server.running.app.clock.now_ms(), life: Duration::from_hours(24) };
    let key = KeyPair::generate().unwrap();
    let public = DeviceKey::from_est(csr(&key).as_bytes()).unwrap();
    let ca = &server.running.app.pki.device;
    let certificate = ca.issue_device(&id("d-1"), &public, [9; 16], validity).unwrap();
    let stray = Identity { certificate, key };
    let mut client = server.connect(server.device(), Some(&stray)).await.unwrap();
    assert_eq!(client.get("/").await.code(), "certificate_unknown");
}

#[tokio::test]
async fn two_hundred_silent_connections_keep_nobody_waiting() {
    let mut folder = Folder::new();
    folder.config.limits.handshakes_per_source = 300;
    let server = folder.start().await;
    let identity = server.enrolled("d-1").await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(server.device()).await.unwrap());
    }
    assert!(timeout(SOON, is_let_in(&server, Some(&identity))).await.unwrap());
    drop(silent);
}

#[tokio::test]
async fn silent_connections_do_not_keep_a_device_behind_the_same_address_out() {
    let mut folder = Folder::new();
    folder.config.limits.handshakes_per_source = 2;
    let server = folder.start().await;
    let identity = server.enrolled("d-1").await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(server.device()).await.unwrap());
    }
    assert_closed(&mut silent[0]).await;
    assert!(timeout(SOON, is_let_in(&server, Some(&identity))).await.unwrap());
}

#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let mut folder = Folder::new();
    folder.config.limits.handshake_s = 1;
    let server = folder.start().await;
    let mut silent = TcpStream::connect(server.device()).await.unwrap();
    assert_closed(&mut silent).await;
}

#[tokio::test]
async fn a_request_head_has_a_deadline() {
    let mut folder = Folder::new();
    folder.config.limits.request_head_s = 1;
    let server = folder.start().await;
    let connector = server.connector(None);
    let mut silent = crate::support::tls(&connector, server.enrol()).await.unwrap();
    let read = timeout(SOON, silent.read(&mut [0; 1])).await.unwrap();
    assert!(read.is_err() || read.is_ok_and(|len| len == 0));
}

#[tokio::test]
async fn one_source_opens_only_so_many_connections_where_no_certificate_is_asked_for() {
    let mut folder = Folder::new();
    folder.config.limits.connections_per_source = 2;
    let server = folder.start().await;
    let identity = server.enrolled("d-1").await;
    for address in [server.enrol(), server.running.addresses.admin] {
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(server.connect(address, None).await.unwrap());
        }
        assert!(server.connect(address, None).await.is_err());
    }
    let mut devices = Vec::new();
    for _ in 0..5 {
        devices.push(server.connect(server.device(), Some(&identity)).await.unwrap());
    }
}

#[tokio::test]
async fn a_stranger_on_the_admin_listener_gets_one_answer_and_no_more() {
    let server = Folder::new().start().await;
    let mut client = server.connect(server.running.addresses.admin, None).await.unwrap();
    let answer = client.get("/api/v1/products").await;
    assert_eq!(answer.code(), "unauthorized");
    assert_eq!(answer.headers["connection"], "close");
    assert!(client.try_send(Method::GET, "/api/v1/products", &[], "").await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_ends_old_tickets() {
    let server = Folder::new().start().await;
    let (app, tls) = (&server.running.app, &server.running.app.tls);
    assert!(!tls.is_due(server.running.app.clock.now_ms()));
    let connector = server.connector(None);
    let shown = async || {
        let mut stream = crate::support::tls(&connector, server.enrol()).await.unwrap();
        // One answer, so that the tickets that come with it are read.
        let request = b"GET /.well-known/est/cacerts HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().unwrap()[0].clone();
        (session.handshake_kind().unwrap(), certificate)
    };
    let (_, first) = shown().await;
    assert_eq!(shown().await, (HandshakeKind::Resumed, first.clone()));
    waxwing_server::server_ca::reload(app);
    let (kind, second) = shown().await;
    assert_ne!(kind, HandshakeKind::Resumed);
    assert_ne!(second, first);
    assert!(tls.is_due(app.clock.now_ms() + 300 * 24 * 3600 * 1000));
}

#[tokio::test]
async fn health_is_told_in_plain_http() {
    let server = Folder::new().start().await;
    let url = |path| format!("http://{}{path}", server.running.addresses.ops);
    assert_eq!(reqwest::get(url("/healthz")).await.unwrap().status(), 200);
    let metrics = reqwest::get(url("/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("waxwing_polls_total"), "{metrics}");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_key() {
    let taken = TcpStreamListener::bind();
    let mut folder = Folder::new();
    folder.config.listen.mqtt = taken.address;
    let error = folder.try_start().await.unwrap_err();
    assert!(error.contains("listen.mqtt"), "{error}");
    assert!(error.contains(&taken.address.to_string()), "{error}");
}

#[tokio::test]
async fn a_restart_keeps_the_identity_and_frees_the_ports() {
    let mut folder = Folder::new();
    let server = folder.start().await;
    let identity = server.enrolled("d-1").await;
    folder.config.listen.device = server.device();
    server.running.stop().await;
    let server = folder.start().await;
    assert!(is_let_in(&server, Some(&identity)).await);
}

#[tokio::test]
async fn a_data_folder_has_one_server_at_a_time() {
    let folder = Folder::new();
    let server = folder.start().await;
    let error = folder.try_start().await.unwrap_err();
    assert!(error.contains(folder.data().to_str().unwrap()), "{error}");
    assert!(error.contains("another server"), "{error}");
    server.running.stop().await;
    folder.start().await;
}

#[tokio::test]
async fn where_the_server_listens_is_written_down() {
    let folder = Folder::new();
    let server = folder.start().await;
    let json = std::fs::read(folder.data().join("run/listeners.json")).unwrap();
    let written: waxwing_server::run::Addresses = serde_json::from_slice(&json).unwrap();
    assert_eq!(written, server.running.addresses);
}

/// A port that somebody else has.
struct TcpStreamListener {
    address: std::net::SocketAddr,
    _socket: std::net::TcpListener,
}

impl TcpStreamListener {
    fn bind() -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { address: socket.local_addr().unwrap(), _socket: socket }
    }
}

async fn assert_closed(stream: &mut TcpStream) {
    let read = timeout(SOON, stream.read(&mut [0; 1])).await.unwrap();
    assert!(read.is_err() || read.is_ok_and(|len| len == 0));
}
