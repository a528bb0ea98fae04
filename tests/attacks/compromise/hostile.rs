//! Whoever sits where devices poll: a listener with a certificate that devices believe.
//!
//! It needs the key of the server CA, which is stolen here as files. What it answers is somebody
//! else's: see [`Answers`].

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use waxwing_e2e::process::PATIENCE;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A request of a device.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Name in its certificate.
    pub(crate) device: String,
    /// What it wants.
    pub(crate) path: String,
    /// From which byte on.
    pub(crate) from: usize,
    /// What it sent along.
    pub(crate) body: Vec<u8>,
}

/// What it gets.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Length of the whole, of which the body is the end.
    pub(crate) total: usize,
}

impl Reply {
    pub(crate) fn whole(status: u16, body: Vec<u8>) -> Self {
        Self { status, total: body.len(), body }
    }
}

/// The mind of a hostile listener.
pub(crate) trait Answers: Send + Sync + 'static {
    fn answer(&self, asked: &Asked) -> Result<Reply>;
}

/// A hostile listener. Dropping it frees its port.
pub(crate) struct Hostile {
    pub(crate) address: SocketAddr,
    asked: Receiver<Asked>,
    runtime: Option<Runtime>,
}

impl Hostile {
    /// Listens with a certificate of the server CA whose key lies in `secrets`.
    pub(crate) fn listen(address: &str, secrets: &Path, answers: Arc<dyn Answers>) -> Result<Self> {
        let socket =
            TcpListener::bind(address).with_context(|| format!("cannot take {address}"))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let acceptor = TlsAcceptor::from(Arc::new(tls(secrets)?));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build()?;
        let (sender, asked) = mpsc::channel();
        runtime.spawn(async move {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            loop {
                let (stream, _) = socket.accept().await?;
                let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
                let sender = sender.clone();
                tokio::spawn(async move {
                    // Whoever hangs up has the right to.
                    let _ = serve(acceptor, stream, answers, sender).await;
                });
            }
            #[expect(unreachable_code, reason = "names the type of the error")]
            anyhow::Ok(())
        });
        Ok(Self { address, asked, runtime: Some(runtime) })
    }

    /// Waits until something was asked for that `wanted` knows.
    pub(crate) fn wait_for(&self, mut wanted: impl FnMut(&Asked) -> bool) -> Result<Asked> {
        loop {
            match self.asked.recv_timeout(PATIENCE) {
                Ok(asked) if wanted(&asked) => return Ok(asked),
                Ok(_) => {}
                Err(_) => bail!("nothing of the kind was asked for in {PATIENCE:?}"),
            }
        }
    }

    /// Waits until a device has come back `times` times: what it was told before, it has taken in.
    pub(crate) fn wait_for_polls(&self, device: &str, times: usize) -> Result<()> {
        let is_poll = |asked: &Asked| asked.device == device && asked.path == "/v1/poll";
        (0..times).try_for_each(|_| self.wait_for(is_poll).map(drop))
    }

    /// Tells that nobody asked anything since the last time somebody looked.
    pub(crate) fn is_unasked(&self) -> bool {
        self.asked.try_iter().next().is_none()
    }

    /// Forgets what was asked so far.
    pub(crate) fn forget(&self) {
        self.asked.try_iter().for_each(drop);
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: tokio::net::TcpStream,
    answers: Arc<dyn Answers>,
    seen: Sender<Asked>,
) -> Result<()> {
    let stream = acceptor.accept(stream).await?;
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let device = certificate.and_then(common_name).context("a device has a name")?;
    let service = service_fn(|request: Request<Incoming>| {
        let (answers, seen, device) = (Arc::clone(&answers), seen.clone(), device.clone());
        async move {
            let asked = read(device, request).await?;
            let _ = seen.send(asked.clone());
            let from = asked.from;
            let reply = tokio::task::spawn_blocking(move || answers.answer(&asked)).await??;
            response(reply, from)
        }
    });
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?)
}

async fn read(device: String, request: Request<Incoming>) -> Result<Asked> {
    let range = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let from = from.map_or(Ok(0), str::parse)?;
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes().to_vec();
    Ok(Asked { device, path, from, body })
}

fn response(reply: Reply, from: usize) -> Result<Response<Full<Bytes>>> {
    let mut response = Response::builder().status(reply.status);
    if reply.status == 206 {
        let range = format!("bytes {from}-{}/{}", reply.total - 1, reply.total);
        response = response.header(header::CONTENT_RANGE, range);
    }
    Ok(response.body(Full::new(reply.body.into()))?)
}

/// The server's certificate, made with the stolen key; any certificate of the device CA may call.
fn tls(secrets: &Path) -> Result<ServerConfig> {
    let pem = |name: &str| fs::read_to_string(secrets.join(name));
    let authority = KeyPair::from_pem(&pem("server-ca.key")?)?;
    let authority = Issuer::from_ca_cert_pem(&pem("server-ca.pem")?, authority)?;
    let key = KeyPair::generate()?;
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let leaf = CertificateParams::new(names)?.signed_by(&key, &authority)?;
    let mut devices = RootCertStore::empty();
    devices.add(CertificateDer::from_pem_file(secrets.join("device-ca.pem"))?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(devices.into(), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
    // Devices take no longer records.
    config.max_fragment_size = Some(2048);
    Ok(config)
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    Some(name.as_str().ok()?.to_owned())
}
