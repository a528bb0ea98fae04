//! A back end: a real HTTP server under TLS, which does with messages as it is told.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use waxwing_e2e::process::PATIENCE;

/// What the server says to be let in.
pub(crate) const TOKEN: &str = "wax-4711-wing";

/// What it does with a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// It never answers.
    Hang,
    /// It wants no such message.
    Refuse,
    /// It takes it, and has something to say to the device.
    Take,
}

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) body: String,
    headers: HeaderMap,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Tells whether it says that it may have come before.
    pub(crate) fn is_marked(&self) -> bool {
        self.header("waxwing-redelivered") == "true"
    }
}

/// A back end.
pub(crate) struct Backend {
    folder: PathBuf,
    tls: Arc<ServerConfig>,
    address: SocketAddr,
    reply: Arc<Mutex<Reply>>,
    came: Receiver<Received>,
    into: Sender<Received>,
    /// Gone while it is away.
    runtime: Option<Runtime>,
}

impl Backend {
    /// Opens a back end, which takes messages.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let identity = rcgen::generate_simple_self_signed(names)?;
        fs::write(folder.join("ca.pem"), identity.cert.pem())?;
        let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![identity.cert.der().clone()], key.into())?;
        let (into, came) = channel();
        let mut backend = Self {
            folder: folder.to_owned(),
            tls: Arc::new(tls),
            address: "127.0.0.1:0".parse()?,
            reply: Arc::new(Mutex::new(Reply::Take)),
            came,
            into,
            runtime: None,
        };
        backend.open()?;
        Ok(backend)
    }

    /// Opens it again, where it was.
    pub(crate) fn open(&mut self) -> Result<()> {
        let runtime = Runtime::new()?;
        let socket = runtime.block_on(TcpListener::bind(self.address))?;
        self.address = socket.local_addr()?;
        let (tls, reply) = (TlsAcceptor::from(Arc::clone(&self.tls)), Arc::clone(&self.reply));
        runtime.spawn(listen(socket, tls, reply, self.into.clone()));
        self.runtime = Some(runtime);
        Ok(())
    }

    /// Closes it, with all its connections.
    pub(crate) fn close(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Does so with messages from now on.
    pub(crate) fn reply(&self, reply: Reply) {
        if let Ok(mut now) = self.reply.lock() {
            *now = reply;
        }
    }

    /// Waits for the next message.
    pub(crate) fn next(&self) -> Result<Received> {
        self.came.recv_timeout(PATIENCE).context("no message came")
    }

    /// Returns the section of the configuration by which a server sends to it.
    pub(crate) fn section(&self) -> Result<String> {
        let token = self.folder.join("token");
        fs::write(&token, TOKEN)?;
        fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(format!(
            "[[sinks]]\nname = \"backend\"\nkind = \"http\"\nca_file = \"{}\"\ntoken_file = \"{}\"\n\
             url = \"https://localhost:{}/device/{{device}}/data\"\n",
            self.folder.join("ca.pem").display(),
            token.display(),
            self.address.port(),
        ))
    }
}

async fn listen(
    socket: TcpListener,
    tls: TlsAcceptor,
    reply: Arc<Mutex<Reply>>,
    into: Sender<Received>,
) {
    while let Ok((stream, _)) = socket.accept().await {
        let (tls, reply, into) = (tls.clone(), Arc::clone(&reply), into.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                let (reply, into) = (Arc::clone(&reply), into.clone());
                async move { Ok::<_, Infallible>(serve(request, &reply, &into).await) }
            });
            // A client may hang up.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn serve(
    request: Request<Incoming>,
    reply: &Mutex<Reply>,
    into: &Sender<Received>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    let reply = reply.lock().map_or(Reply::Hang, |reply| *reply);
    let received = Received { path: parts.uri.path().to_owned(), body, headers: parts.headers };
    // The test may be over.
    let _ = into.send(received);
    let (status, body) = match reply {
        Reply::Hang => std::future::pending().await,
        Reply::Refuse => (422, "no such unit"),
        Reply::Take => (200, "{\"status\": \"ok\",\n \"next_s\": 30}"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
}
