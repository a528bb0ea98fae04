//! Everything a running server shares, put together once.
//!
//! Not here: sockets ([`crate::run`]).

use std::sync::Arc;
use std::time::Duration;

use waxwing_wire::DeviceId;
use waxwing_wire::topic::Kind;

use crate::alerts;
use crate::blobs::{BlobError, Blobs};
use crate::clock::Clock;
use crate::config::Config;
use crate::director::Director;
use crate::director::clock_guard::{self, Boot, ClockGuard};
use crate::expiries;
use crate::fleet::Fleet;
use crate::gateways::Gateways;
use crate::http::est::limiter::Limiter;
use crate::ingest::{self, Accepted, Aggregates, Ingest, Way};
use crate::jobs;
use crate::logging::Chain;
use crate::mail::{self, Mailer};
use crate::message_secrets::Vault;
use crate::metrics::{self, Metrics};
use crate::mqtt::{Hub, Ledger, Shared};
use crate::orders::Orders;
use crate::pki::Pki;
use crate::random::Random;
use crate::readiness::AuditState;
use crate::repositories::{self, Repositories};
use crate::revocation;
use crate::server_ca;
use crate::setup::{self, Identity};
use crate::sinks::{self, Sinks};
use crate::store::messages::MessageLog;
use crate::store::{self, Store};
use crate::tls::{self, Tls};
use crate::visits::Visits;
use crate::webhooks::{self, Webhooks};

/// What all listeners and jobs share.
pub struct App {
    /// The configuration, as read at start.
    pub config: Config,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The database.
    pub store: Store,
    /// What devices said.
    pub log: MessageLog,
    /// The images.
    pub blobs: Blobs,
    /// All that polls need to know, in memory.
    pub fleet: Fleet,
    /// The signed metadata, in memory.
    pub repositories: Repositories,
    /// Takes in what devices say.
    pub ingest: Ingest,
    /// The devices that are connected by MQTT.
    pub hub: Hub,
    /// Who listens to what over MQTT.
    pub mqtt: Shared,
    /// What they find again when they are back.
    pub ledger: Ledger,
    /// Who may carry what others say.
    pub gateways: Gateways,
    /// Whom commands of operators wait for.
    pub orders: Orders,
    /// Signs for each device what it should run.
    pub director: Director,
    /// The certificate authorities.
    pub pki: Pki,
    /// What the listeners show; may be replaced.
    pub tls: Tls,
    /// The files of the server CA that were last looked at.
    pub server_ca_seen: server_ca::Seen,
    /// The connections that devices have open.
    pub visits: Visits,
    /// The list of revoked device certificates.
    pub crl: revocation::List,
    /// Opens the secrets of existing devices.
    pub vault: Arc<Vault>,
    /// Sends messages about rollouts.
    pub webhooks: Box<Webhooks>,
    /// Sends what devices say to other systems.
    pub sinks: Sinks,
    /// Bounds wrong enrolment tokens.
    pub enrolment_limiter: Limiter,
    /// Numbers for Prometheus.
    pub metrics: Arc<Metrics>,
    /// What was said about what expires.
    pub expiries: expiries::Watch,
    /// What alerts remember between two looks.
    pub alerts: alerts::Watch,
    /// Sends mail about alerts, if a mail server is named.
    pub mailer: Option<Box<Mailer>>,
    /// What the last look at the audit log found.
    pub audit_state: AuditState,
}

/// What the command line may ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Believe the machine's clock, however far ahead it is (D5).
    pub confirm_clock: bool,
}

impl App {
    /// Opens everything in the data folder; makes it at first start.
    pub async fn open(
        config: Config,
        options: Options,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenError> {
        let Identity { pki, director, webhooks, vault } =
            Identity::load_or_create(&config, random.as_ref(), clock.now_ms())?;
        let tls = Tls::new(&server_ca::first(&config, &pki, &clock, random.as_ref())?)?;
        let server_ca_seen = server_ca::Seen::at_start(&config)?;
        let store = Store::open(&config.data_dir.join("waxwing.db")).await?;
        let guard = clock_guard(&config, options, &clock)?;
        jobs::renew_if_restored(&store, &guard).await?;
        let fleet = Fleet::load(&store).await?;
        let repositories = Repositories::load(&store).await?;
        let vault = Arc::new(vault);
        let log = message_log(&config).await?;
        let ingest = Ingest::new(store.clone(), log.clone(), vault.clone(), fleet.clone());
        let ingest = ingest.with(Aggregates::new(&config.messages.aggregates));
        let mqtt = Shared::load(&store).await?;
        let gateways = Gateways::load(&store, clock.now_ms().max(guard.credible_ms())).await?;
        let ledger = Ledger::open(store.clone(), clock.clone()).await?;
        let orders = Orders::load(&store, clock.now_ms()).await?;
        let blobs = Blobs::open(&config.data_dir.join("images"), config.limits.image_cache_bytes)?;
        let director = Director::new(Box::new(director), guard);
        let webhooks = Box::new(Webhooks::new(&config, webhooks)?);
        let sinks = Sinks::new(&config)?;
        let mailer = Mailer::new(&config)?.map(Box::new);
        let alerts = alerts::Watch::begin(&store, director.steady_ms()).await?;
        let enrolment_limiter = Limiter::new(config.identity.wrong_tokens_per_minute);
        let metrics = Arc::new(metrics(&ingest, &fleet, &sinks, &mqtt));
        let app = Self {
            config,
            clock,
            random,
            store,
            log,
            vault,
            blobs,
            fleet,
            repositories,
            ingest,
            hub: Hub::default(),
            mqtt,
            ledger,
            gateways,
            orders,
            director,
            pki,
            tls,
            server_ca_seen,
            visits: Visits::default(),
            crl: revocation::List::default(),
            webhooks,
            sinks,
            enrolment_limiter,
            metrics,
            expiries: expiries::Watch::default(),
            alerts,
            mailer,
            audit_state: AuditState::default(),
        };
        app.look_around().await;
        Ok(app)
    }

    /// Says what is not as it should be, and mends what it can.
    async fn look_around(&self) {
        server_ca::warn_of_unpinned(self);
        if let Err(error) = revocation::keep_current(self).await {
            // A job tries it again; devices are judged by their records, not by the list.
            tracing::error!(error = %Chain(&error), "no list of revoked certificates");
        }
    }

    /// Takes in a message from a device whose certificate was checked, and tells those who listen.
    ///
    /// # Errors
    ///
    /// [`ingest::Refused`] says why not.
    pub async fn take_in(
        &self,
        device: &DeviceId,
        kind: Kind,
        bytes: &[u8],
    ) -> Result<Accepted, ingest::Refused> {
        self.take_in_by(Way::Direct, device, kind, bytes).await
    }

    /// Takes in a message of a device that came this way, and tells those who listen.
    ///
    /// # Errors
    ///
    /// [`ingest::Refused`] says why not.
    pub async fn take_in_by(
        &self,
        way: Way<'_>,
        device: &DeviceId,
        kind: Kind,
        bytes: &[u8],
    ) -> Result<Accepted, ingest::Refused> {
        let now = self.director.now_ms();
        let taken = self.ingest.message_by(way, device, kind, bytes, now).await;
        match &taken {
            Ok(_) => self.alerts.heard.note(device, self.director.steady_ms()),
            Err(refused) => self.alerts.refusals.note(device, refused),
        }
        if taken.is_ok() && kind == Kind::Response {
            // The next one may go.
            self.orders.ended(device);
        }
        // Whoever listens has heard a duplicate before.
        if taken.as_ref().is_ok_and(|taken| *taken != Accepted::Duplicate) {
            self.mqtt.audience.tell(device, kind, bytes);
        }
        taken
    }
}

fn metrics(ingest: &Ingest, fleet: &Fleet, sinks: &Sinks, mqtt: &Shared) -> Metrics {
    let mut metrics = Metrics::new();
    ingest.counters().register(metrics.registry_mut());
    ingest.aggregates().register(metrics.registry_mut());
    fleet.register(metrics.registry_mut());
    sinks.numbers().register(metrics.registry_mut());
    metrics::mqtt::register(metrics.registry_mut(), mqtt);
    metrics
}

async fn message_log(config: &Config) -> Result<MessageLog, store::OpenError> {
    MessageLog::open(&config.data_dir.join("messages.db"), config.messages.bytes).await
}

fn clock_guard(
    config: &Config,
    options: Options,
    clock: &Arc<dyn Clock>,
) -> Result<ClockGuard, clock_guard::Error> {
    let file = config.data_dir.join("director-clock.json");
    let ahead_max = Duration::from_secs(config.director.clock_ahead_s);
    let guard = ClockGuard::open(file, clock.clone(), ahead_max, Boot::now())?;
    if options.confirm_clock {
        guard.confirm();
    }
    Ok(guard)
}

/// Why the server cannot open its data.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The image folder.
    #[error("cannot open the image folder")]
    Blobs(#[from] BlobError),
    /// The Director's clock mark.
    #[error(transparent)]
    Clock(#[from] clock_guard::Error),
    /// Certificates and keys.
    #[error(transparent)]
    Identity(#[from] setup::Error),
    /// The server's own certificate.
    #[error(transparent)]
    ServerCertificate(#[from] server_ca::Error),
    /// What is in the database.
    #[error("cannot load the fleet from the database")]
    Fleet(#[from] store::Error),
    /// Mail about alerts cannot be sent.
    #[error(transparent)]
    Mail(#[from] mail::Error),
    /// The metadata in the database.
    #[error(transparent)]
    Repositories(#[from] repositories::Error),
    /// Another system that gets messages.
    #[error(transparent)]
    Sinks(#[from] sinks::OpenError),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Messages about rollouts cannot be sent.
    #[error(transparent)]
    Webhooks(#[from] webhooks::Error),
}
