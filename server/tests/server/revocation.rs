//! What a revocation brings about beyond the refusal of the next request: the published list, the
//! end of sessions and of connections.

use std::path::Path;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use waxwing_server::{revocation, server_ca};

use crate::support::{Folder, Identity, Server, openssl, tls};

/// Far more than any of these needs.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn openssl_takes_a_device_for_revoked_once_the_list_says_so_and_no_other_one() {
    let folder = Folder::new();
    let server = folder.start().await;
    let [bad, good] = [server.enrolled("d-1").await, server.enrolled("d-2").await];
    let judge = async |identity: &Identity| judged(&folder, &server, identity).await;
    assert_eq!(judge(&bad).await, Verdict::Good);
    server.revoke("d-1").await;
    assert_eq!(judge(&bad).await, Verdict::Revoked);
    assert_eq!(judge(&good).await, Verdict::Good);
}

#[tokio::test]
async fn every_certificate_of_a_revoked_device_is_listed_and_stays_so_after_a_restart() {
    let folder = Folder::new();
    let server = folder.start().await;
    let old = server.enrolled("d-1").await;
    let key = rcgen::KeyPair::generate().unwrap();
    let renewed = server.reenroll(&old, &crate::support::csr(&key)).await;
    let new = Identity { certificate: renewed.certificate(), key };
    server.revoke("d-1").await;
    server.running.stop().await;
    let server = folder.start().await;
    for identity in [&old, &new] {
        assert_eq!(judged(&folder, &server, identity).await, Verdict::Revoked);
    }
}

#[tokio::test]
async fn a_serial_number_that_cannot_be_read_is_logged_and_keeps_no_server_from_starting() {
    let folder = Folder::new();
    let server = folder.start().await;
    server.enrolled("d-1").await;
    server.revoke("d-1").await;
    let mut change = server.running.app.store.begin().await.unwrap();
    let damage = sqlx::query("UPDATE certificates SET serial = 'no serial'");
    damage.execute(change.connection()).await.unwrap();
    drop(change.commit().await.unwrap());
    server.running.stop().await;
    let (lines, written) = std::sync::mpsc::channel();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Line(lines.clone()));
    let guard = tracing::subscriber::set_default(log.finish());
    let server = folder.start().await;
    drop(guard);
    let text: String = written.try_iter().collect();
    assert!(text.contains("cannot read the serial number \"no serial\""), "{text}");
    let url = format!("http://{}/crl/device-ca.crl", server.running.addresses.crl);
    assert!(!reqwest::get(url).await.unwrap().status().is_success(), "there is no list");
    let other = server.enrolled("d-2").await;
    assert!(tls(&server.connector(Some(&other)), server.device()).await.is_ok());
}

/// Takes down what is logged.
struct Line(std::sync::mpsc::Sender<String>);

impl std::io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Nobody reads any more once the server runs.
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_list_is_made_anew_long_before_it_ends_and_its_number_rises() {
    let server = Folder::new().start().await;
    let app = &server.running.app;
    let field = async |name: &str| {
        let list = fetch(&server).await;
        openssl(&["crl", "-inform", "DER", "-noout", &format!("-{name}")], &list)
    };
    let first = (field("lastupdate").await, field("crlnumber").await);
    revocation::keep_current(app).await.unwrap();
    assert_eq!(field("lastupdate").await, first.0, "there is nothing to do");
    server.clock.advance(Duration::from_hours(24));
    revocation::keep_current(app).await.unwrap();
    let second = (field("lastupdate").await, field("crlnumber").await);
    assert_ne!(second.0, first.0);
    let number = |text: &str| {
        let digits = text.trim().trim_start_matches("crlNumber=0x").to_owned();
        u128::from_str_radix(&digits, 16).unwrap()
    };
    assert!(number(&second.1) > number(&first.1), "{second:?} after {first:?}");
}

#[tokio::test]
async fn certificates_say_where_the_list_is() {
    let mut folder = Folder::new();
    folder.config.pki.crl_url = Some("http://ca.example/device.crl".to_owned());
    let server = folder.start().await;
    let device = server.enrolled("d-1").await;
    let text = openssl(&["x509", "-inform", "DER", "-noout", "-text"], &device.certificate);
    assert!(text.contains("URI:http://ca.example/device.crl"), "{text}");
}

#[tokio::test]
async fn the_list_is_where_a_certificate_says_for_everybody() {
    let server = Folder::new().start().await;
    let device = server.enrolled("d-1").await;
    let text = openssl(&["x509", "-inform", "DER", "-noout", "-text"], &device.certificate);
    let url = text.lines().find_map(|line| line.trim().strip_prefix("URI:http")).unwrap();
    let answer = reqwest::get(format!("http{url}")).await.unwrap();
    assert_eq!(answer.status(), 200, "{url}");
    assert_eq!(answer.bytes().await.unwrap(), fetch(&server).await);
    let elsewhere = format!("http://{}/metrics", server.running.addresses.crl);
    assert_eq!(reqwest::get(elsewhere).await.unwrap().status(), 404, "nothing else is");
}

#[tokio::test]
async fn a_list_says_who_signed_it_and_openssl_agrees() {
    let folder = Folder::new();
    let server = folder.start().await;
    server.enrolled("d-1").await;
    server.revoke("d-1").await;
    let ca = folder.data().join("device-ca.pem");
    let list = fetch(&server).await;
    // Fails unless the signature is good.
    openssl(&["crl", "-inform", "DER", "-noout", "-CAfile", ca.to_str().unwrap()], &list);
    let text = openssl(&["crl", "-inform", "DER", "-noout", "-text"], &list);
    for expected in ["Waxwing device CA", "X509v3 Authority Key Identifier", "Revocation Date"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[tokio::test]
async fn no_session_outlives_a_revocation_or_a_new_server_ca() {
    let server = Folder::new().start().await;
    let own = server.enrolled("d-1").await;
    for (versions, bad) in [(&rustls::version::TLS13, "d-2"), (&rustls::version::TLS12, "d-3")] {
        server.enrolled(bad).await;
        let connector = server.connector_of(Some(&own), &[versions]);
        assert_eq!(shaken(&server, &connector).await, HandshakeKind::Full, "{versions:?}");
        assert_eq!(shaken(&server, &connector).await, HandshakeKind::Resumed, "{versions:?}");
        server.revoke(bad).await;
        assert_eq!(shaken(&server, &connector).await, HandshakeKind::Full, "{versions:?}");
        assert_eq!(shaken(&server, &connector).await, HandshakeKind::Resumed, "{versions:?}");
        server_ca::reload(&server.running.app);
        assert_eq!(shaken(&server, &connector).await, HandshakeKind::Full, "{versions:?}");
    }
}

#[tokio::test]
async fn a_revocation_ends_connections_on_which_nothing_is_asked() {
    let server = Folder::new().start().await;
    let [own, other] = [server.enrolled("d-1").await, server.enrolled("d-2").await];
    let mut ended = tls(&server.connector(Some(&own)), server.device()).await.unwrap();
    let mut kept = tls(&server.connector(Some(&other)), server.device()).await.unwrap();
    for stream in [&mut ended, &mut kept] {
        asked(stream).await;
    }
    server.revoke("d-1").await;
    let mut rest = Vec::new();
    // How it ends does not matter; that it does is what the deadline tells.
    let _ = timeout(SOON, ended.read_to_end(&mut rest)).await.unwrap();
    asked(&mut kept).await;
}

/// Asks something on a connection and reads the answer, and with it the tickets that came before.
async fn asked(stream: &mut tokio_rustls::client::TlsStream<tokio::net::TcpStream>) {
    stream.write_all(b"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        answer.push(timeout(SOON, stream.read_u8()).await.unwrap().unwrap());
    }
}

async fn shaken(server: &Server, connector: &TlsConnector) -> HandshakeKind {
    let mut stream = tls(connector, server.device()).await.unwrap();
    asked(&mut stream).await;
    stream.get_ref().1.handshake_kind().unwrap()
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Good,
    Revoked,
}

/// What openssl makes of a certificate and the list that is served now.
async fn judged(folder: &Folder, server: &Server, identity: &Identity) -> Verdict {
    let list = openssl(&["crl", "-inform", "DER"], &fetch(server).await);
    let [list_path, leaf_path] =
        ["list.pem", "leaf.pem"].map(|name| folder.temporary.path().join(name));
    std::fs::write(&list_path, list).unwrap();
    std::fs::write(&leaf_path, pem(&identity.certificate)).unwrap();
    let ca = folder.data().join("device-ca.pem");
    let output = std::process::Command::new("openssl")
        .args(["verify", "-x509_strict", "-crl_check", "-purpose", "sslclient"])
        .args([Path::new("-CAfile"), &ca, Path::new("-CRLfile"), &list_path, &leaf_path])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    match (output.status.success(), text.contains("certificate revoked")) {
        (true, false) => Verdict::Good,
        (false, true) => Verdict::Revoked,
        _ => panic!("{text}"),
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    openssl(&["x509", "-inform", "DER"], certificate)
}

async fn fetch(server: &Server) -> Vec<u8> {
    let url = format!("http://{}/crl/device-ca.crl", server.running.addresses.crl);
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/pkix-crl");
    answer.bytes().await.unwrap().to_vec()
}
