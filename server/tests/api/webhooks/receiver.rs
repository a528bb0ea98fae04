//! A receiver of messages, under TLS on a socket, that answers as it is told.

use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Frame};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Far longer than a message takes on one machine.
const SOON: Duration = Duration::from_secs(20);

/// What the receiver does with a message.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Hangs up.
    Close,
    /// Answers with a body without end.
    Endless,
    /// Never answers.
    Hang,
    /// Sends it elsewhere.
    Redirect(String),
    /// Answers with this status.
    Status(u16),
}

/// A message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Listens for messages, until it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) ca_file: PathBuf,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    came: UnboundedReceiver<Received>,
    _folder: TempDir,
}

impl Receiver {
    pub(crate) async fn open() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let identity = rcgen::generate_simple_self_signed(names).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, identity.cert.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![identity.cert.der().clone()], key.into())
            .unwrap();
        let (address, replies) = (socket.local_addr().unwrap(), Arc::default());
        let (into, came) = unbounded_channel();
        tokio::spawn(listen(
            socket,
            TlsAcceptor::from(Arc::new(config)),
            Arc::clone(&replies),
            into,
        ));
        Self { address, ca_file, replies, came, _folder: folder }
    }

    /// Returns an address at which messages come here.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/hook?key=k1", self.address.port())
    }

    /// Answers so next time; what nobody said an answer for gets 204.
    pub(crate) fn reply(&self, reply: Reply) {
        self.replies.lock().unwrap().push_back(reply);
    }

    /// Answers with 204 from now on.
    pub(crate) fn forget_replies(&self) {
        self.replies.lock().unwrap().clear();
    }

    /// Waits for the next message.
    pub(crate) async fn next(&mut self) -> Received {
        timeout(SOON, self.came.recv()).await.expect("no message came").unwrap()
    }

    /// Expects that nothing else has come.
    #[track_caller]
    pub(crate) fn nothing_more(&mut self) {
        assert!(self.came.try_recv().is_err());
    }
}

async fn listen(
    socket: TcpListener,
    tls: TlsAcceptor,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    into: UnboundedSender<Received>,
) {
    while let Ok((stream, _)) = socket.accept().await {
        let Ok(stream) = tls.accept(stream).await else { continue };
        let (replies, into) = (Arc::clone(&replies), into.clone());
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (replies, into) = (Arc::clone(&replies), into.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let path = parts.uri.to_string();
                let reply = replies.lock().unwrap().pop_front().unwrap_or(Reply::Status(204));
                into.send(Received { path, headers: parts.headers, body }).unwrap();
                answer(reply).await
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

async fn answer(reply: Reply) -> Result<Answer, std::io::Error> {
    let empty = || Empty::new().map_err(|never| match never {}).boxed();
    let status = |status: u16| Response::builder().status(status);
    Ok(match reply {
        Reply::Close => return Err(std::io::Error::other("hung up")),
        Reply::Endless => status(200).body(BodyExt::boxed(Endless)).unwrap(),
        Reply::Hang => std::future::pending().await,
        Reply::Redirect(to) => status(307).header("location", to).body(empty()).unwrap(),
        Reply::Status(code) => status(code).body(empty()).unwrap(),
    })
}

/// A body that never ends.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 4096])))))
    }
}
