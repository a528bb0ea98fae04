//! The certificate that the server shows: made of the server CA, renewed in time, and made of another
//! server CA once the files of that one lie in `secrets_dir`.
//!
//! ```text
//!  files changed, or SIGHUP ─▶ read ─▶ check ─▶ publish: new connections see it, open ones stay
//!                               │        │
//!                               └────────┴──▶ refuse: one line in the log, all stays as it was
//! ```
//!
//! Files that nobody could use are refused until they change; whatever may mend itself is tried again a
//! minute later. Devices learn of a new CA by a signed target (D15), before the files are replaced: one
//! that published pins leave out is taken up at SIGHUP or a start only. Not here: TLS configurations
//! ([`crate::tls`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls_pki_types::CertificateDer;
use waxwing_wire::Digest;

use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::logging::Chain;
use crate::metrics::Reload;
use crate::pki::shown::Unfit;
use crate::pki::{self, Authority, Pki, authority};
use crate::publish::pinned;
use crate::random::Random;
use crate::setup;
use crate::tls::{self, Material};

/// What was made of the files that were last looked at.
#[derive(Debug, Default)]
pub struct Seen {
    last: Mutex<Last>,
    /// Held from reading a CA to showing its certificate: of two reloads at once, what the later one
    /// read is what stays.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct Last {
    files: Option<Digest>,
    /// They were taken up, or refused for good.
    is_settled: bool,
    /// What was last said about them.
    said: Option<String>,
}

impl Seen {
    /// Takes note of the files as they are at the start.
    pub fn at_start(config: &Config) -> Result<Self, Error> {
        let files = Some(setup::server_ca_digest(config)?);
        let last = Last { files, is_settled: true, said: None };
        Ok(Self { last: Mutex::new(last), turn: Mutex::default() })
    }

    /// Takes note of files, and tells whether there is anything to do about them.
    fn note(&self, files: Digest) -> bool {
        let mut last = self.last();
        if last.files != Some(files) {
            *last = Last { files: Some(files), ..Last::default() };
        }
        !last.is_settled
    }

    /// Takes note of files as if nobody had looked at them before.
    fn begin(&self, files: Option<Digest>) {
        *self.last() = Last { files, ..Last::default() };
    }

    fn settle(&self) {
        self.last().is_settled = true;
    }

    /// Tells whether this was not the last thing said about the files.
    fn is_news(&self, text: &str) -> bool {
        self.last().said.replace(text.to_owned()).as_deref() != Some(text)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
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
    pki: &Pki,
    clock: &Arc<dyn Clock>,
    random: &dyn Random,
) -> Result<Material, Error> {
    let now_ms = clock.now_ms();
    let server = server_ca.server_certificate(&config.server_names, random, now_ms)?;
    server.check(server_ca.certificate(), &config.server_names, now_ms)?;
    Ok(Material {
        server,
        device_cas: pki.device_anchors(),
        operator_ca: pki.operator.certificate().clone(),
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
    material(config, &pki.server(), pki, clock, random)
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

/// Takes up the server CA in `secrets_dir` if its files changed since they were taken up or refused,
/// and if no published pins leave it out.
pub fn look(app: &App) {
    // A file that is missing for a moment is one that is just being replaced.
    let Ok(files) = setup::server_ca_digest(&app.config) else { return };
    if app.server_ca_seen.note(files) {
        tell(app, replace_if_pinned(app));
    }
}

/// Takes up the server CA in `secrets_dir`, whether its files changed or not, and whether devices know
/// it or not: somebody asked for it.
pub fn reload(app: &App) {
    app.server_ca_seen.begin(setup::server_ca_digest(&app.config).ok());
    tell(app, replace(app));
}

/// Says in the log whom the server CA of the moment cuts off.
pub fn warn_of_unpinned(app: &App) {
    if let Err(error) = check_pinned(app, app.pki.server().certificate()) {
        tracing::error!(%error, "devices will not know this server");
    }
}

fn replace_if_pinned(app: &App) -> Result<(), Error> {
    let _turn = app.server_ca_seen.turn();
    let server_ca = load(app)?;
    check_pinned(app, server_ca.certificate())?;
    // What is shown already was not yet written where tools look for it.
    if app.pki.server().certificate() == server_ca.certificate() {
        return publish(app);
    }
    take_up(app, server_ca)
}

fn replace(app: &App) -> Result<(), Error> {
    let _turn = app.server_ca_seen.turn();
    let server_ca = load(app)?;
    take_up(app, server_ca)?;
    warn_of_unpinned(app);
    Ok(())
}

fn load(app: &App) -> Result<Authority, Error> {
    let server_ca = setup::load_server_ca(&app.config)?;
    app.pki.check_server(&server_ca)?;
    Ok(server_ca)
}

fn take_up(app: &App, server_ca: Authority) -> Result<(), Error> {
    show(app, &server_ca)?;
    app.pki.replace_server(server_ca);
    publish(app)
}

fn show(app: &App, server_ca: &Authority) -> Result<(), Error> {
    let random = app.random.as_ref();
    Ok(app.tls.publish(&material(&app.config, server_ca, &app.pki, &app.clock, random)?)?)
}

fn publish(app: &App) -> Result<(), Error> {
    setup::publish_server_ca(&app.config).map_err(Error::Unpublished)
}

/// Checks that all pins that devices are told to use hold the server CA.
fn check_pinned(app: &App, server_ca: &CertificateDer<'_>) -> Result<(), Error> {
    for (repository, files) in app.repositories.all() {
        let pinned = files.pins().map(|pins| pinned(&pins.bytes));
        if pinned.is_some_and(|pinned| !pinned.iter().any(|pin| pin == server_ca)) {
            return Err(Error::Unpinned { repository });
        }
    }
    Ok(())
}

fn tell(app: &App, outcome: Result<(), Error>) {
    let Err(error) = outcome else {
        app.server_ca_seen.settle();
        app.metrics.reload(Reload::Done);
        tracing::info!("the server CA was read, and a new server certificate is shown");
        return;
    };
    if error.is_final() {
        app.server_ca_seen.settle();
    }
    let text = Chain(&error).to_string();
    if !app.server_ca_seen.is_news(&text) {
        return;
    }
    app.metrics.reload(Reload::Refused);
    let what = if matches!(error, Error::Unpublished(_)) {
        "a certificate of the new server CA is shown, and will be put where tools look for it"
    } else if error.is_final() {
        "the server CA in secrets_dir is refused; the old one stays"
    } else {
        "the server CA in secrets_dir is not taken up; the old one stays, and it is tried again"
    };
    tracing::error!(error = text, "{what}");
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
    /// Devices would not know the server.
    #[error("the pins published in {repository} leave it out; publish pins with it first")]
    Unpinned {
        /// The Image repository of the product.
        repository: String,
    },
    /// It is shown, and tools that read the file beside the database look for the one before.
    #[error("the certificate of the server CA cannot be put into data_dir")]
    Unpublished(#[source] setup::Error),
    /// No client would accept it.
    #[error("clients would refuse the server's certificate")]
    Unfit(#[from] Unfit),
}

impl Error {
    /// Tells whether the same files will be refused for ever.
    const fn is_final(&self) -> bool {
        match self {
            Self::Files(setup::Error::Authority { .. }) | Self::Shared(_) | Self::Unfit(_) => true,
            Self::Certificate(_)
            | Self::Files(_)
            | Self::Tls(_)
            | Self::Unpinned { .. }
            | Self::Unpublished(_) => false,
        }
    }
}
