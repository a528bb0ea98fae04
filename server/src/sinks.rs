//! Sends what devices say to other systems, each at its own pace, at least once: docs/sinks.md.
//!
//! The message log is the queue, so a message that was acknowledged waits there for every sink, however
//! long a sink is away and however the server ends. Not here: when a message is sent again
//! ([`crate::domain::sink::progress`]).

mod answers;
mod client;
mod http;
mod influxdb;
mod mqtt;
mod numbers;
mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use waxwing_wire::ProductId;

use self::answers::Answer;
use self::http::Http;
use self::influxdb::Influxdb;
use self::mqtt::Mqtt;
use self::numbers::Numbers;
use self::worker::Worker;
use crate::app::App;
use crate::config::{self, Config};
use crate::domain::sink::System;
use crate::domain::sink::progress::Outcome;
use crate::listener::Shutdown;
use crate::setup;
use crate::store::messages::Logged;

/// All sinks of the configuration.
#[derive(Debug, Default)]
pub struct Sinks {
    list: Vec<Arc<Sink>>,
    numbers: Numbers,
}

/// A sink, as its worker and the API share it.
#[derive(Debug)]
pub struct Sink {
    config: config::Sink,
    /// Until its worker takes it.
    target: Mutex<Option<Target>>,
    health: Mutex<Health>,
    /// Somebody asked to send dead letters again.
    asked: Notify,
}

/// How a sink does, as of its last answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Health {
    /// How often in a row it took nothing.
    pub failures: u32,
    /// Why it did not take what it did not take last, for people.
    pub last_error: Option<String>,
}

/// A message on its way to a sink.
#[derive(Clone, Debug)]
struct Parcel<'a> {
    logged: &'a Logged,
    /// What its device is, if the fleet knows it.
    product: Option<ProductId>,
    /// Whether it may have been sent before.
    again: bool,
}

impl Parcel<'_> {
    const fn position(&self) -> u64 {
        self.logged.position
    }
}

/// The other end.
#[derive(Debug)]
enum Target {
    Http(Box<Http>),
    Influxdb(Box<Influxdb>),
    Mqtt(Box<Mqtt>),
}

impl Target {
    fn new(sink: &config::Sink, token: Option<&str>) -> Result<Self, Error> {
        let url = sink.address().ok_or(Error::Address)?;
        match sink.kind {
            System::Influxdb => {
                Influxdb::new(sink, url, token).map(|it| Self::Influxdb(Box::new(it)))
            }
            System::Http => Http::new(sink, token).map(|it| Self::Http(Box::new(it))),
            System::Mqtt => Mqtt::new(sink, &url, token).map(|it| Self::Mqtt(Box::new(it))),
        }
    }

    /// Tells whether what a device says is to come in order.
    const fn is_in_order(&self) -> bool {
        match self {
            Self::Http(_) => true,
            // A point has its time, and a broker its own order.
            Self::Influxdb(_) | Self::Mqtt(_) => false,
        }
    }

    /// Sends messages once, and says of each what came of it, and what was answered.
    async fn send(&mut self, parcels: &[Parcel<'_>]) -> (Vec<(u64, Outcome)>, Vec<Answer>) {
        match self {
            Self::Http(http) => http.send(parcels).await,
            Self::Influxdb(influxdb) => (influxdb.send(parcels).await, Vec::new()),
            Self::Mqtt(mqtt) => (mqtt.send(parcels).await, Vec::new()),
        }
    }
}

impl Sinks {
    /// Prepares the sinks of the configuration.
    ///
    /// # Errors
    ///
    /// [`Error`] names the sink and what is wrong with it.
    pub fn new(config: &Config) -> Result<Self, OpenError> {
        let open = |sink: &config::Sink| {
            Sink::new(config, sink)
                .map(Arc::new)
                .map_err(|source| OpenError { sink: sink.name.to_string(), source })
        };
        let list = config.sinks.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { list, numbers: Numbers::default() })
    }

    /// Begins to send, until the server ends.
    pub fn spawn(app: &Arc<App>, shutdown: &Shutdown) {
        for sink in &app.sinks.list {
            if let Some(target) = lock(&sink.target).take() {
                let worker = Worker::new(Arc::clone(app), Arc::clone(sink), target);
                shutdown.tasks.spawn(worker.run(shutdown.token.clone()));
            }
        }
    }

    /// Returns the sinks, as the configuration has them.
    pub fn iter(&self) -> impl Iterator<Item = &Sink> {
        self.list.iter().map(|sink| &**sink)
    }

    /// Returns the sink of this name.
    pub fn find(&self, name: &str) -> Option<&Sink> {
        self.iter().find(|sink| sink.name() == name)
    }

    /// Returns the names of all sinks.
    pub fn names(&self) -> Vec<&str> {
        self.iter().map(Sink::name).collect()
    }

    /// Returns the numbers, for metrics.
    pub const fn numbers(&self) -> &Numbers {
        &self.numbers
    }
}

impl Sink {
    fn new(config: &Config, sink: &config::Sink) -> Result<Self, Error> {
        let token = sink.token_file.as_deref().map(|file| setup::load_token(config, file));
        let token = token.transpose()?;
        let target = Target::new(sink, token.as_ref().map(|token| token.as_str()))?;
        Ok(Self {
            config: sink.clone(),
            target: Mutex::new(Some(target)),
            health: Mutex::default(),
            asked: Notify::new(),
        })
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        self.config.name.as_str()
    }

    /// Returns its section of the configuration.
    pub const fn config(&self) -> &config::Sink {
        &self.config
    }

    /// Returns how it does.
    pub fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    /// Has it look for dead letters that are to be sent again.
    pub fn wake(&self) {
        self.asked.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever is changed under it is changed as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sink cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the sink {sink} cannot be used")]
pub struct OpenError {
    sink: String,
    source: Error,
}

/// Why a sink cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be understood.
    #[error("its address cannot be used (configuration key `sinks.url`)")]
    Address,
    /// Nobody says whose certificates are believed.
    #[error("authorities have to be named for mqtts:// (configuration key `sinks.ca_file`)")]
    Authorities,
    /// TLS cannot be set up: mostly, the system has no list of authorities.
    #[error("cannot set up TLS; name authorities in `sinks.ca_file`")]
    Client(#[source] reqwest::Error),
    /// The file of authorities cannot be used.
    #[error("{path}: holds no authorities (configuration key `sinks.ca_file`)")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate or a key cannot be used.
    #[error("a certificate or a key cannot be used")]
    Tls(#[source] rustls::Error),
    /// The token cannot be read.
    #[error("its token cannot be read (configuration key `sinks.token_file`)")]
    Token(#[from] setup::Error),
    /// The name of the user cannot be sent.
    #[error("the name of its user cannot be used (configuration key `sinks.user`)")]
    User,
}
