//! Messages about rollouts, of a server that is killed while they are on their way.

use std::convert::Infallible;
use std::fs;
use std::future::pending;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::{Certificate, Client};
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use waxwing_server::run::Addresses;

use crate::program::{folder, start, stop};

/// Far longer than a message takes, and the start of a server before it.
const SOON: Duration = Duration::from_secs(30);

/// A message as it came.
type Message = (HeaderMap, Bytes);

#[tokio::test]
async fn a_message_that_was_in_flight_when_the_server_was_killed_is_sent_again() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", socket.local_addr().unwrap().port());
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (into, mut came) = unbounded_channel();
    tokio::spawn(listen(socket, acceptor(&identity), into));
    let certificate = tempfile::NamedTempFile::new().unwrap();
    fs::write(&certificate, identity.cert.pem()).unwrap();
    let folder = folder(&format!(
        "[webhooks]\nallow_networks = ['127.0.0.0/8']\nca_file = '{}'",
        certificate.path().display()
    ));

    let mut child = start(&folder);
    let admin = Admin::of(&mut child, folder.path());
    let webhook = admin.post("webhooks", &json!({ "url": url })).await;
    let id = webhook["id"].as_str().unwrap();
    admin.post(&format!("webhooks/{id}/test"), &json!({})).await;
    let (first, body) = next(&mut came).await;
    // Nobody has answered: SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    let child = start(&folder);
    let (second, again) = next(&mut came).await;
    stop(child);
    assert_eq!(first["webhook-id"], second["webhook-id"]);
    assert_eq!(body, again);
    assert!(first.contains_key("webhook-signature") && second.contains_key("webhook-signature"));
}

/// An operator with the token of the first start.
pub(crate) struct Admin {
    http: Client,
    address: SocketAddr,
    token: String,
}

impl Admin {
    pub(crate) fn of(child: &mut Child, folder: &Path) -> Self {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let token = lines.find_map(|line| Some(line.split_once("admin token: ")?.1.to_owned()));
        let data = folder.join("data");
        let addresses = fs::read(data.join("run/listeners.json")).unwrap();
        let addresses: Addresses = serde_json::from_slice(&addresses).unwrap();
        let ca = fs::read(data.join("server-ca.pem")).unwrap();
        let http = Client::builder().tls_certs_only(Certificate::from_pem_bundle(&ca).unwrap());
        Self { http: http.build().unwrap(), address: addresses.admin, token: token.unwrap() }
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("https://localhost:{}/api/v1/{path}", self.address.port());
        let request = self.http.post(url).bearer_auth(self.token.trim()).json(body);
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }
}

async fn next(came: &mut UnboundedReceiver<Message>) -> Message {
    timeout(SOON, came.recv()).await.expect("no message came").unwrap()
}

fn acceptor(identity: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![identity.cert.der().clone()], key.into());
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// Takes messages, and answers none.
async fn listen(socket: TcpListener, tls: TlsAcceptor, into: UnboundedSender<Message>) {
    while let Ok((stream, _)) = socket.accept().await {
        let Ok(stream) = tls.accept(stream).await else { continue };
        let into = into.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let into = into.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                into.send((parts.headers, body)).unwrap();
                pending::<Result<Response<Empty<Bytes>>, Infallible>>().await
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
