//! The least a server can do: the TLS of the device listener, axum, and `204 No Content`.
//!
//! Not here: anything of ours but the TLS configuration.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use waxwing_server::clock::{Clock, SystemClock};
use waxwing_server::config::Config;
use waxwing_server::random::SystemRandom;
use waxwing_server::setup::Identity;
use waxwing_server::tls::{Material, Tls};

/// Where the certificates are.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server's configuration file.
    #[arg(long)]
    config: PathBuf,
}

/// Serves until the process is ended, and prints the address first.
pub(crate) async fn serve(args: &Args) -> anyhow::Result<()> {
    let config = Config::load(Some(&args.config), [])?;
    let tls = tls(&config)?.device();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let router = Router::new().route("/v1/poll", post(async || StatusCode::NO_CONTENT));
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = TlsAcceptor::from(tls.borrow().clone());
        // A connection that fails is the business of the load generator.
        tokio::spawn(connection(acceptor, stream, router.clone()));
    }
}

async fn connection(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    router: Router,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = TokioIo::new(acceptor.accept(stream).await?);
    let service = TowerToHyperService::new(router);
    Ok(http1::Builder::new().serve_connection(stream, service).await?)
}

/// The TLS of the server with this configuration.
pub(crate) fn tls(config: &Config) -> anyhow::Result<Tls> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let identity = Identity::load_or_create(config, &SystemRandom, clock.now_ms())?;
    let names = &config.server_names;
    let server = identity.pki.server().server_certificate(names, &SystemRandom, clock.now_ms())?;
    let device_cas = identity.pki.device_anchors();
    let expired_grace = config.identity.expired_grace();
    let operator_ca = identity.pki.operator.certificate().clone();
    Ok(Tls::new(&Material { server, device_cas, operator_ca, expired_grace, clock })?)
}
