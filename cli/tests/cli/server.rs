//! A TLS server with answers from a list, which remembers what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::{io, thread};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

/// An answer: status and body.
pub(crate) type Answer = (u16, Value);

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) authorization: String,
    pub(crate) if_match: String,
    pub(crate) body: Value,
    pub(crate) raw: Bytes,
    pub(crate) reason: String,
}

/// Its answers by request line, used up from the front; the last one stays.
#[derive(Default)]
struct Script {
    answers: BTreeMap<String, Vec<Answer>>,
    requests: Vec<Request>,
}

/// A certificate authority of its own and a running server.
pub(crate) struct Server {
    pub(crate) ca: String,
    pub(crate) address: SocketAddr,
    tls: TlsAcceptor,
    script: Arc<Mutex<Script>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let (ca, tls) = certificates();
        let mut server = Self {
            ca,
            address: ([127, 0, 0, 1], 0).into(),
            tls,
            script: Arc::default(),
            stop: None,
            thread: None,
        };
        server.resume();
        server
    }

    /// Adds an answer for `METHOD /path?query`, below `/api/v1`.
    pub(crate) fn on(&self, line: &str, answer: Answer) -> &Self {
        let mut script = self.script.lock().unwrap();
        script.answers.entry(line.to_owned()).or_default().push(answer);
        drop(script);
        self
    }

    /// Answers like this from now on, whatever was said before.
    pub(crate) fn replace(&self, line: &str, answer: Answer) {
        self.script.lock().unwrap().answers.insert(line.to_owned(), vec![answer]);
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.script.lock().unwrap().requests.clone()
    }

    /// Closes the listener and every connection, as a crash does.
    pub(crate) fn kill(&mut self) {
        drop(self.stop.take());
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }

    /// Listens again, on the same port after a kill.
    pub(crate) fn resume(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let (bound, address) = std::sync::mpsc::channel();
        let (wanted, tls, script) = (self.address, self.tls.clone(), Arc::clone(&self.script));
        self.thread = Some(thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let tcp = TcpListener::bind(wanted).await.unwrap();
                bound.send(tcp.local_addr().unwrap()).unwrap();
                let app = Router::new().fallback(answer).with_state(script);
                let server = axum::serve(TlsListener { tcp, tls }, app).into_future();
                tokio::select! { _ = server => {}, _ = stopped => {} }
            });
        }));
        self.address = address.recv().unwrap();
        self.stop = Some(stop);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn certificates() -> (String, TlsAcceptor) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![leaf.der().clone()], key).unwrap();
    (ca.pem(), TlsAcceptor::from(Arc::new(config)))
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let line = format!("{method} {}", uri.to_string().trim_start_matches("/api/v1"));
    let text =
        |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let mut script = script.lock().unwrap();
    script.requests.push(Request {
        line: line.clone(),
        authorization: text("authorization"),
        if_match: text("if-match"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        raw: body,
        reason: text("waxwing-reason"),
    });
    let answers = script.answers.get_mut(&line).unwrap_or_else(|| panic!("no answer to {line}"));
    let last = answers.len() == 1;
    let (status, body) = if last { answers[0].clone() } else { answers.remove(0) };
    let response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    let response = response.header(header::LOCATION, "/api/v1/elsewhere");
    response.body(Body::from(body.to_string())).unwrap()
}

struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    /// Connections whose handshake fails are dropped, as the client wants it.
    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
