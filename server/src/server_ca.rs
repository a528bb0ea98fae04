//! The certificate that the server shows: made of the server CA, renewed in time, and made of another
//! server CA once the files of that one lie in `secrets_dir`.
//!
//! ```text
//!  files changed, or SIGHUP ─▶ read ─▶ check ─▶ publish: new connections see it, open ones stay
//!                               │        │
//!                               └────────┴──▶ refuse: one line in the log, all stays as it was
//! ```
//!
//! Whether devices trust the new CA is not asked here: they learn of it by a signed target (D15),
//! before the files are replaced. Not here: TLS configurations ([`crate::tls`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use waxwing_wire::Digest;

use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::logging::Chain;
use crate::metrics::Reload;
use crate::pki::shown::Unfit;
use crate::pki::{self, Authority, Pki, authority};
use crate::random::Random;
use crate::setup;
use crate::tls::{self, Material};

/// The files that were last looked at, taken up or refused: each is looked at once.
#[derive(Debug, Default)]
pub struct Seen {
    files: Mutex<Option<Digest>>,
    /// Held from reading a CA to showing its certificate: of two reloads at once, what the later one
    /// read is what stays.
    turn: Mutex<()>,
}

impl Seen {
    /// Takes note of the files as they are at the start.
    pub fn at_start(config: &Config) -> Result<Self, Error> {
        let files = Mutex::new(Some(setup::server_ca_digest(config)?));
        Ok(Self { files, turn: Mutex::default() })
    }

    /// Takes note of files, and tells whether they are others than before.
    fn note(&self, files: Option<Digest>) -> bool {
        let mut seen = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, files) != files
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes what the listeners show, with a fresh certificate of a server CA.
///
/// # Errors
///
/// [`Error`] when no client would accept it.
pub fn material(
    config: &Config,
    server_ca: &Authority,
    device_ca: &Authority,
    clock: &Arc<dyn Clock>,
    random: &dyn Random,
) -> Result<Material, Error> {
    let now_ms = clock.now_ms();
    let server = server_ca.server_certificate(&config.server_names, random, now_ms)?;
    server.check(server_ca.certificate(), &config.server_names, now_ms)?;
    Ok(Material {
        server,
        device_ca: device_ca.certificate().clone(),
        expired_grace: config.identity.expired_grace(),
        clock: Arc::clone(clock),
    })
}

/// Makes what the listeners show at the start.
///
/// # Errors
///
/// [`Error`] when no client would accept it.
pub fn first(
    config: &Config,
    pki: &Pki,
    clock: &Arc<dyn Clock>,
    random: &dyn Random,
) -> Result<Material, Error> {
    material(config, &pki.server(), &pki.device, clock, random)
}

/// Replaces the server's certificate in time, for servers that run for years.
///
/// # Errors
///
/// [`Error`] when no new one can be made; the present one stays.
pub fn keep_current(app: &App) -> Result<(), Error> {
    let _turn = app.server_ca_seen.turn();
    if app.tls.is_due(app.clock.now_ms()) { show(app, &app.pki.server()) } else { Ok(()) }
}

/// Takes up the server CA in `secrets_dir` if its files changed since they were last looked at.
pub fn look(app: &App) {
    // A file that is missing for a moment is one that is just being replaced.
    let Ok(files) = setup::server_ca_digest(&app.config) else { return };
    if app.server_ca_seen.note(Some(files)) {
        tell(app, replace(app));
    }
}

/// Takes up the server CA in `secrets_dir`, whether its files changed or not.
pub fn reload(app: &App) {
    app.server_ca_seen.note(setup::server_ca_digest(&app.config).ok());
    tell(app, replace(app));
}

fn replace(app: &App) -> Result<(), Error> {
    let _turn = app.server_ca_seen.turn();
    let server_ca = setup::load_server_ca(&app.config)?;
    app.pki.check_server(&server_ca)?;
    show(app, &server_ca)?;
    app.pki.replace_server(server_ca);
    Ok(setup::publish_server_ca(&app.config)?)
}

fn show(app: &App, server_ca: &Authority) -> Result<(), Error> {
    let (device_ca, random) = (&app.pki.device, app.random.as_ref());
    Ok(app.tls.publish(&material(&app.config, server_ca, device_ca, &app.clock, random)?)?)
}

fn tell(app: &App, outcome: Result<(), Error>) {
    match outcome {
        Ok(()) => {
            app.metrics.reload(Reload::Done);
            tracing::info!("the server CA was read, and a new server certificate is shown");
        }
        Err(error) => {
            app.metrics.reload(Reload::Refused);
            let error = Chain(&error);
            tracing::error!(%error, "the server CA in secrets_dir is refused; the old one stays");
        }
    }
}

/// Why a certificate is not shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No certificate can be made.
    #[error("cannot make the server's certificate (configuration key `server_names`)")]
    Certificate(#[from] authority::Error),
    /// The files cannot be used.
    #[error(transparent)]
    Files(#[from] setup::Error),
    /// It is another root's.
    #[error(transparent)]
    Shared(#[from] pki::Shared),
    /// TLS cannot be set up with it.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// No client would accept it.
    #[error("clients would refuse the server's certificate")]
    Unfit(#[from] Unfit),
}
