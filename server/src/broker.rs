//! A broker of others between devices and this server (docs/external-broker.md): Mosquitto, EMQX, NATS.
//!
//! It is not believed. Each message passes the same checks as one that a device brings itself, but for the
//! certificate that nobody shows here: whose it is, the signature says alone. A message is acknowledged
//! once it is durable, so that whatever a process had when it died comes again.
//!
//! ```text
//!  devices ─▶ broker ─▶ server ───────────▶ message log
//!                   └─▶ intake ─▶ server ─┘    (one log, one place where ids are known)
//! ```
//!
//! Not here: the broker, and what a message means ([`crate::ingest`]).

mod connection;
pub mod files;
mod intake;
mod link;
mod numbers;
mod packets;
mod worker;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use waxwing_wire::DeviceId;
use waxwing_wire::topic::Kind;

use self::link::Link;
use self::worker::Worker;
use crate::app::App;
use crate::config;
use crate::ingest::{Refused, Way};
use crate::listener::Shutdown;

pub use self::intake::{Error as IntakeError, run as run_intake};
pub use self::numbers::Numbers;

/// Begins to take messages from the broker of the configuration, if there is one, and from other processes
/// that do.
///
/// # Errors
///
/// [`Error`] says what cannot be used.
pub fn spawn(app: &Arc<App>, shutdown: &Shutdown) -> Result<(), Error> {
    let Some(config) = &app.config.broker else { return Ok(()) };
    app.metrics.broker().connected(false);
    let socket = intake::bind(&app.config)?;
    shutdown.tasks.spawn(intake::serve(Arc::clone(app), socket, shutdown.token.clone()));
    let worker = Worker::new(Link::new(config)?, Arc::new(Here(Arc::clone(app))));
    let worker = worker.with_commands(Arc::clone(app));
    shutdown.tasks.spawn(worker.run(shutdown.token.clone()));
    Ok(())
}

/// What is to become of a message at the broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It is stored, or refused for good.
    Done,
    /// It is to come again.
    Again,
}

type Taking = Pin<Box<dyn Future<Output = Fate> + Send>>;

/// Where messages go.
trait Taker: Send + Sync {
    /// Takes in a message that the broker says is of this device.
    fn take(self: Arc<Self>, device: DeviceId, kind: Kind, payload: Bytes) -> Taking;
}

/// This process stores them.
struct Here(Arc<App>);

impl Taker for Here {
    fn take(self: Arc<Self>, device: DeviceId, kind: Kind, payload: Bytes) -> Taking {
        Box::pin(async move {
            self.0.metrics.broker().taken_here();
            let way = Way::Broker { kept_s: kept_s(&self.0) };
            fate(&self.0.take_in_by(way, &device, kind, &payload).await)
        })
    }
}

fn kept_s(app: &App) -> u64 {
    app.config.broker.as_ref().map_or(0, |broker| broker.kept_s)
}

/// A message is refused for good, unless nothing is wrong with it but the moment.
fn fate<T>(taken: &Result<T, Refused>) -> Fate {
    match taken {
        Ok(_)
        | Err(
            Refused::Kind(_)
            | Refused::Malformed(_)
            | Refused::NotInRollout
            | Refused::Replay
            | Refused::Signature
            | Refused::Stale
            | Refused::TooMany
            | Refused::WrongSender,
        ) => Fate::Done,
        Err(Refused::Clock(_) | Refused::ShuttingDown | Refused::Unavailable(_)) => Fate::Again,
    }
}

/// The broker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be understood.
    #[error("the address of the broker cannot be used (configuration key `broker.url`)")]
    Address,
    /// A file cannot be used.
    #[error("{path}: holds no certificate or key (section `[broker]`)")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// The section is missing.
    #[error("there is no section `[broker]` in the configuration")]
    Section,
    /// The socket for other processes cannot be opened.
    #[error("{path}: cannot listen for intakes")]
    Socket {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Certificates or keys do not fit.
    #[error("the certificates of the section `[broker]` cannot be used")]
    Tls(#[from] rustls::Error),
}

fn section(config: &config::Config) -> Result<&config::Broker, Error> {
    config.broker.as_ref().ok_or(Error::Section)
}
