//! Polls and downloads over real sockets and TLS, against servers that behave and servers that do
//! not.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use waxwing_agent::download::ContentRange;
use waxwing_agent::network::{NoAnswer, Server};
use waxwing_agent_host::address::Address;
use waxwing_agent_host::https::Https;
use waxwing_agent_host::tls::ServerTrust;
use waxwing_wire::Digest;
use waxwing_wire::bundle::BUNDLE_BYTES_MAX;

const IMAGE: Digest = Digest([0xab; 32]);

#[tokio::test]
async fn a_poll_brings_back_the_body() {
    let (mut https, server) = listen(&["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nTB1\n"]).await;
    assert_eq!(https.poll("{\"nonce\":1}").await, Ok(b"TB1\n".to_vec()));
    let request = server.await.unwrap();
    assert!(request.starts_with("POST /v1/poll HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"nonce\":1}"), "{request}");
}

#[tokio::test]
async fn an_answer_that_is_no_bundle_is_no_answer() {
    let unavailable = "HTTP/1.1 503 x\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n";
    let (mut https, _server) = listen(&[unavailable]).await;
    assert_eq!(https.poll("{}").await, Err(NoAnswer::Refused(503)));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let length = BUNDLE_BYTES_MAX + 1;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let (mut https, _server) = listen(&[&(head + &"x".repeat(length))]).await;
    assert_eq!(https.poll("{}").await, Err(NoAnswer::Stalled));
}

#[tokio::test]
async fn a_resumed_download_names_the_image_and_reads_to_its_end() {
    let answer =
        "HTTP/1.1 206 x\r\ncontent-length: 3\r\ncontent-range: bytes 4096-4098/4099\r\n\r\n";
    let (mut https, server) = listen(&[&format!("{answer}xyz")]).await;
    let opened = https.open(&IMAGE, 4096).await.unwrap();
    assert_eq!((opened.status, opened.body_bytes), (206, Some(3)));
    assert_eq!(opened.range, Some(ContentRange { first: 4096, last: 4098, length: 4099 }));
    let mut bytes = [0; 2];
    assert_eq!(https.read(&mut bytes).await, Ok(2));
    assert_eq!(https.read(&mut bytes).await, Ok(1));
    assert_eq!(https.read(&mut bytes).await, Ok(0));
    let request = server.await.unwrap();
    assert!(request.starts_with(&format!("GET /v1/images/{IMAGE} HTTP/1.1\r\n")), "{request}");
    assert!(request.contains("range: bytes=4096-\r\n"), "{request}");
    assert!(request.contains(&format!("if-range: \"{IMAGE}\"\r\n")), "{request}");
}

#[tokio::test]
async fn a_download_that_breaks_off_says_so() {
    let (mut https, _server) =
        listen(&["HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this"]).await;
    https.open(&IMAGE, 0).await.unwrap();
    let mut bytes = [0; 2000];
    let mut outcome = https.read(&mut bytes).await;
    while matches!(outcome, Ok(read) if read > 0) {
        outcome = https.read(&mut bytes).await;
    }
    assert_eq!(outcome, Err(NoAnswer::Unreachable));
}

#[tokio::test]
async fn a_poll_after_a_download_does_not_read_what_is_left_of_it() {
    let image = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nnot all of it";
    let bundle = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nTB1\n";
    let (mut https, _server) = listen(&[image, bundle]).await;
    https.open(&IMAGE, 0).await.unwrap();
    assert_eq!(https.poll("{}").await, Ok(b"TB1\n".to_vec()));
}

#[tokio::test]
async fn nobody_there_is_no_answer() {
    let (mut https, server) = listen(&[]).await;
    server.await.unwrap();
    assert_eq!(https.poll("{}").await, Err(NoAnswer::Unreachable));
}

/// Listens, and answers each connection's request with the next text, then hangs up. Returns the
/// last request.
async fn listen(answers: &[&str]) -> (Https, JoinHandle<String>) {
    let (acceptor, trust) = authority();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
    let server = tokio::spawn(async move {
        let mut request = String::new();
        for answer in answers {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(tcp).await.unwrap();
            request = read_request(&mut stream).await;
            // The client may have heard enough.
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        request
    });
    let address = Address { host: "localhost".into(), port };
    let tls = Rc::new(RefCell::new(trust.client(None).unwrap()));
    (Https::new(address, tls), server)
}

async fn read_request(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut request = Vec::new();
    loop {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).await.unwrap();
        request.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if count == 0 || body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

fn authority() -> (TlsAcceptor, ServerTrust) {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca = params.self_signed(&ca_key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, ca.pem()).unwrap();
    let trust = ServerTrust::from_file(&path).unwrap();

    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let issuer = Issuer::from_ca_cert_der(ca.der(), ca_key).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), trust)
}
