//! A server of a few lines on a real socket with real TLS.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use waxwing_agent_host::kit::BUILT_AT_S;
use waxwing_agent_host::network::{Https, https};
use waxwing_agent_net::{Address, ServerTrust};

/// Listens, and answers each connection's request with the next text, then hangs up. Returns the
/// last request.
pub(crate) async fn listen(answers: &[&str]) -> (Https, JoinHandle<String>) {
    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
    let count = answers.len();
    let mut answers = answers.into_iter();
    serve(count, move |_| answers.next().unwrap()).await
}

/// Listens for so many connections, and answers each one's request with what `answer` makes of it.
/// Returns the last request.
pub(crate) async fn serve(
    connections: usize,
    mut answer: impl FnMut(&str) -> String + Send + 'static,
) -> (Https, JoinHandle<String>) {
    let (acceptor, trust) = authority();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut request = String::new();
        for _ in 0..connections {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(tcp).await.unwrap();
            request = read_request(&mut stream).await;
            // The client may have heard enough.
            let _ = stream.write_all(answer(&request).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        request
    });
    let address = Address { host: "localhost".into(), port };
    (https(address, trust.client(None)), server)
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
    let trust = ServerTrust::from_der(ca.der(), BUILT_AT_S).unwrap();

    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let issuer = Issuer::from_ca_cert_der(ca.der(), ca_key).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    config.max_fragment_size = Some(2048);
    (TlsAcceptor::from(Arc::new(config)), trust)
}
