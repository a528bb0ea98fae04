//! A running server: binds everything, says where it listens, serves, and ends in order.
//!
//! Nothing is served before every address is bound, so a port in use is an error at start and not a
//! listener that is missing. Not here: what is answered ([`crate::http::router`], `mqtt`).

mod background;
mod first_start;
mod signals;

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::response::IntoResponse as _;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tower::Service as _;

pub use self::signals::Signals;
pub use crate::app::Options;
use crate::app::{App, OpenError};
use crate::broker;
use crate::clock::Clock;
use crate::config::Config;
use crate::descriptors;
#[cfg(feature = "development")]
use crate::development;
use crate::http::device::admission;
use crate::http::{router, serve};
use crate::listener::{self, BindError, Limits, Listener, Shutdown, Stream};
use crate::metrics::Name;
use crate::mqtt::Service;
use crate::pki::Peer;
use crate::random::Random;
use crate::setup;
use crate::sinks::Sinks;
use crate::tls::Published;

/// How long a connection of somebody without a certificate may last: enough to enrol.
const STRANGER_CONNECTION: Duration = Duration::from_mins(1);

/// Most connections for the list of revoked certificates: it is short, and few ask for it.
const CRL_CONNECTIONS_MAX: usize = 64;

/// Most of them from one source address.
const CRL_CONNECTIONS_PER_SOURCE_MAX: usize = 8;

/// Where the server listens.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Addresses {
    /// Polls, images and certificate renewal.
    pub device: SocketAddr,
    /// EST for devices without a certificate.
    pub enrol: SocketAddr,
    /// REST API.
    pub admin: SocketAddr,
    /// MQTT.
    pub mqtt: SocketAddr,
    /// The list of revoked device certificates.
    pub crl: SocketAddr,
    /// Health and metrics.
    pub ops: SocketAddr,
}

/// A running server.
pub struct Running {
    /// What it shares.
    pub app: Arc<App>,
    /// Where it listens.
    pub addresses: Addresses,
    shutdown: Shutdown,
    /// Keeps other servers off the data folder.
    _lock: File,
}

/// Starts a server: opens its data, binds its addresses, serves.
pub async fn start(
    mut config: Config,
    options: Options,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Result<Running, StartError> {
    let lock = setup::lock_folder(&config.data_dir)?;
    descriptors::fit(&mut config.limits, descriptors::raise());
    let sockets = Sockets::bind(&config).await?;
    // Certificates say it: a port that was taken at random has to be known before any is signed.
    config.listen.crl.set_port(sockets.addresses()?.crl.port());
    // In a box, as it is large, and futures that start a server are not.
    let app = Arc::new(Box::pin(App::open(config, options, clock, random)).await?);
    warn_of_crl(&app);
    first_start::prepare(&app, print).await?;
    let addresses = sockets.addresses()?;
    let shutdown = Shutdown::default();
    sockets.serve(&app, &shutdown);
    #[cfg(feature = "development")]
    development::begin(&app, &shutdown).await?;
    background::spawn(&app, &shutdown);
    Sinks::spawn(&app, &shutdown);
    broker::spawn(&app, &shutdown)?;
    announce(&app.config, &addresses)?;
    Ok(Running { app, addresses, shutdown, _lock: lock })
}

impl Running {
    /// Accepts nothing more, gives running requests `limits.drain_s`, and closes the database.
    pub async fn stop(self) {
        self.shutdown.token.cancel();
        self.app.hub.shut_down();
        self.shutdown.tasks.close();
        let drain = Duration::from_secs(self.app.config.limits.drain_s);
        if timeout(drain, self.shutdown.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.shutdown.tasks.len(), "connections cut at shutdown");
        }
        background::finish(&self.app).await;
        self.app.store.close().await;
        self.app.log.close().await;
        tracing::info!("stopped");
    }
}

/// Prints to standard output.
pub fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

struct Sockets {
    device: TcpListener,
    enrol: TcpListener,
    admin: TcpListener,
    mqtt: TcpListener,
    crl: TcpListener,
    ops: TcpListener,
}

impl Sockets {
    async fn bind(config: &Config) -> Result<Self, BindError> {
        let listen = &config.listen;
        Ok(Self {
            device: listener::bind("listen.device", listen.device).await?,
            enrol: listener::bind("listen.enrol", listen.enrol).await?,
            admin: listener::bind("listen.admin", listen.admin).await?,
            mqtt: listener::bind("listen.mqtt", listen.mqtt).await?,
            crl: listener::bind("listen.crl", listen.crl).await?,
            ops: listener::bind("listen.ops", listen.ops).await?,
        })
    }

    fn addresses(&self) -> Result<Addresses, StartError> {
        let address = |socket: &TcpListener| socket.local_addr().map_err(StartError::Address);
        Ok(Addresses {
            device: address(&self.device)?,
            enrol: address(&self.enrol)?,
            admin: address(&self.admin)?,
            mqtt: address(&self.mqtt)?,
            crl: address(&self.crl)?,
            ops: address(&self.ops)?,
        })
    }

    fn serve(self, app: &Arc<App>, shutdown: &Shutdown) {
        let tls = &app.tls;
        let listener = |name, socket, tls| listener(app, name, socket, tls);
        let open = |listener: Listener, router: Router| {
            let (app, stop) = (app.clone(), shutdown.clone());
            let task = listener.run(shutdown.clone(), move |stream, source| {
                serve_anyone(app.clone(), router.clone(), stop.clone(), stream, source)
            });
            shutdown.tasks.spawn(task);
        };
        open(listener(Name::Admin, self.admin, tls.admin()), router::admin(app.clone()));
        open(listener(Name::Enrol, self.enrol, tls.enrol()), router::enrol(app.clone()));
        let router = router::device(app.clone());
        let device = listener(Name::Device, self.device, tls.device());
        let (shared, stop) = (app.clone(), shutdown.clone());
        shutdown.tasks.spawn(device.run(shutdown.clone(), move |stream, _| {
            serve_device(shared.clone(), router.clone(), stop.clone(), stream)
        }));
        let mqtt = listener(Name::Mqtt, self.mqtt, tls.mqtt());
        let service = Arc::new(Service::new(app.clone()));
        shutdown.tasks.spawn(mqtt.run(shutdown.clone(), move |stream, _| {
            let service = service.clone();
            async move {
                if let Some(certificate) = certificate(&stream) {
                    service.serve(certificate, stream).await;
                }
            }
        }));
        shutdown.tasks.spawn(serve_crl(app, self.crl, shutdown.clone()));
        let ops = router::ops(app.clone());
        let stop = shutdown.token.clone();
        shutdown.tasks.spawn(async move {
            let served = axum::serve(self.ops, ops).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "the ops listener ended");
            }
        });
    }
}

/// Serves the list of revoked certificates to everybody.
fn serve_crl(
    app: &Arc<App>,
    socket: TcpListener,
    shutdown: Shutdown,
) -> impl Future<Output = ()> + use<> {
    let limits = &app.config.limits;
    let head = Duration::from_secs(limits.request_head_s);
    let limits = Limits {
        connections: limits.connections.min(CRL_CONNECTIONS_MAX),
        connections_per_source: limits.connections_per_source.min(CRL_CONNECTIONS_PER_SOURCE_MAX),
        handshakes_per_source: limits.handshakes_per_source,
        handshake: Duration::ZERO,
        connection: STRANGER_CONNECTION,
    };
    let (router, stop) = (router::crl(app.clone()), shutdown.token.clone());
    listener::run_plain(socket, limits, shutdown, move |stream| {
        let (router, stop) = (router.clone(), stop.clone());
        async move {
            serve::connection(stream, head, stop, |request| {
                answer(&router, request.map(Body::new))
            })
            .await;
        }
    })
}

/// Says in the log that new certificates name a list that nobody can fetch.
fn warn_of_crl(app: &App) {
    let (config, url) = (&app.config, app.pki.device.crl_url());
    if config.crl_is_out_of_reach() {
        tracing::warn!(
            url,
            "device certificates name a list of revoked ones that only this machine can fetch; put \
             a public name first in `server_names`, or set `pki.crl_url`"
        );
    } else {
        tracing::info!(url, "device certificates name this list of revoked ones");
    }
}

fn listener(app: &App, name: Name, socket: TcpListener, tls: Published) -> Listener {
    let limits = &app.config.limits;
    let connections = match name {
        Name::Admin | Name::Device | Name::Enrol => limits.connections,
        Name::Mqtt => limits.mqtt_connections,
    };
    let limits = Limits {
        connections,
        connections_per_source: match name {
            Name::Admin | Name::Enrol => limits.connections_per_source,
            // Many devices share the address of a carrier, and each has shown a certificate.
            Name::Device | Name::Mqtt => connections,
        },
        handshakes_per_source: limits.handshakes_per_source,
        handshake: Duration::from_secs(limits.handshake_s),
        connection: match name {
            Name::Admin | Name::Device => Duration::from_secs(limits.connection_s),
            Name::Enrol => STRANGER_CONNECTION,
            // HTTP clients ask and go; MQTT devices stay, until their certificate ends.
            Name::Mqtt => Duration::MAX,
        },
    };
    Listener { name, socket, tls, limits, metrics: app.metrics.clone() }
}

/// Serves a connection of somebody without a client certificate.
async fn serve_anyone(
    app: Arc<App>,
    router: Router,
    shutdown: Shutdown,
    stream: Stream,
    source: SocketAddr,
) {
    let head = Duration::from_secs(app.config.limits.request_head_s);
    serve::connection(stream, head, shutdown.token, |request| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(source);
        answer(&router, request)
    })
    .await;
}

/// Serves a connection of a device; every request is admitted anew.
async fn serve_device(app: Arc<App>, router: Router, shutdown: Shutdown, stream: Stream) {
    let Some(peer) = peer(&stream) else { return };
    let peer = Arc::new(peer);
    // Before the first request looks at the record: a revocation ends what it does not refuse.
    let visit = app.visits.begin(&peer.device);
    let head = Duration::from_secs(app.config.limits.request_head_s);
    let connection = serve::connection(stream, head, shutdown.token, |request| {
        let (app, router, peer) = (&app, &router, &peer);
        async move {
            let mut request = request.map(Body::new);
            match admission::admit(app, peer, request.uri().path()).await {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    answer(router, request).await
                }
                Err(problem) => {
                    app.metrics.unwelcome(Name::Device);
                    problem.into_response()
                }
            }
        }
    });
    visit.serve(connection).await;
}

/// Reads who is at the other end. The verifier has let only certificates of the device CA through.
fn peer(stream: &Stream) -> Option<Peer> {
    Peer::from_certificate(&certificate(stream)?).ok()
}

fn certificate(stream: &Stream) -> Option<CertificateDer<'static>> {
    let (_, connection) = stream.get_ref();
    connection.peer_certificates()?.first().cloned().map(CertificateDer::into_owned)
}

async fn answer(router: &Router, request: Request<Body>) -> Response<Body> {
    match router.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Writes `run/listeners.json`: with port 0 nobody else knows where the server listens.
fn announce(config: &Config, addresses: &Addresses) -> Result<(), StartError> {
    let folder = config.data_dir.join("run");
    setup::make_folder(&folder)?;
    let json = serde_json::to_vec_pretty(addresses).map_err(StartError::Announce)?;
    setup::write_atomically(&folder.join("listeners.json"), &json)?;
    tracing::info!(?addresses, "listening");
    Ok(())
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A bound socket does not tell its address.
    #[error("cannot read the address of a listener")]
    Address(#[source] io::Error),
    /// The addresses cannot be written down.
    #[error("cannot write run/listeners.json")]
    Announce(#[source] serde_json::Error),
    /// A port is in use, or an address is not ours.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The broker of others cannot be used.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// The data folder cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A first start cannot be completed.
    #[error(transparent)]
    FirstStart(#[from] first_start::Error),
    /// A file cannot be written.
    #[error(transparent)]
    Setup(#[from] setup::Error),
}
