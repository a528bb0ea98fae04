//! A gateway: carries what devices without IP say to the server, and their firmware back.
//!
//! It has a certificate of its own, and a grant for each device; it holds no key of theirs, believes nothing
//! it carries and is believed in nothing. Devices come over links of bytes ([`waxwing_wire::frame`]): a socket
//! here, at whose other end is a radio. Not here: that radio.

mod config;
mod firmware;
mod link;
mod outbox;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};
use waxwing_agent::network::{Clock as _, NoAnswer};
use waxwing_agent_net::est::{self, EstError, KeyStore as _};
use waxwing_agent_net::http::Request;
use waxwing_agent_net::tls::Untrusted;
use waxwing_agent_net::{ServerTrust, SharedClient};
use waxwing_wire::envelope::Header;
use waxwing_wire::frame::Outcome;
use waxwing_wire::relay::{self, Answer};
use waxwing_wire::topic::Kind;

pub use self::config::{Config, ConfigError};
use self::outbox::{Batch, Outbox};
use crate::credentials::{CredentialsError, KeyFolder};
use crate::kit::BUILT_AT_S;
use crate::network::{HostNetwork, Https, https};
use crate::time::{Uptime, unix_s};

/// Most links at once: more than any radio holds.
const LINKS_MAX: usize = 64;
/// How long a device waits for the server's word about a message; the gateway goes on without it.
const WORD_MAX: Duration = Duration::from_secs(10);
/// First and longest wait while the server takes nothing.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether the certificate has to be renewed.
const RENEWAL_PAUSE: Duration = Duration::from_hours(1);
/// Longest answer to a batch: a line for each message.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// A gateway that is enrolled.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    trust: ServerTrust,
    client: SharedClient,
    outbox: RefCell<Outbox>,
    /// Something came into the outbox.
    came: Notify,
    uptime: Uptime,
}

/// What a gateway says.
#[derive(Debug)]
pub enum Said {
    /// Where devices find it.
    Listening(SocketAddr),
    /// Its certificate ends some day, and could not be renewed now.
    NotRenewed(GatewayError),
}

/// A gateway cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The server's CA cannot be used.
    #[error("the server's CA cannot be used")]
    Ca(#[source] Untrusted),
    /// Key or certificate.
    #[error("credentials cannot be used")]
    Credentials(#[from] CredentialsError),
    /// No certificate.
    #[error("enrolment failed")]
    Enrolment(#[from] EstError<CredentialsError>),
    /// Devices cannot come.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// There is neither a certificate nor a token.
    #[error("gateway is not enrolled; give it its token: --token-file")]
    NoToken,
    /// A file.
    #[error("cannot read the server's CA")]
    Read(#[source] io::Error),
}

impl Gateway {
    /// Takes up the gateway's credentials, or gets them with a token.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when there are none to be had.
    pub async fn open(config: Config, token: Option<&str>) -> Result<Self, GatewayError> {
        let pem = std::fs::read(&config.server.ca).map_err(GatewayError::Read)?;
        let trust = ServerTrust::from_pem(&pem, BUILT_AT_S).map_err(GatewayError::Ca)?;
        let mut keys = KeyFolder::open(config.work.join(config.id.as_str()))?;
        let identity = if let Some(identity) = keys.identity()? {
            identity
        } else {
            let token = token.ok_or(GatewayError::NoToken)?;
            let mut server = https(config.server.enrol.clone(), trust.client(None));
            est::enrol(&mut server, &mut keys, &config.id, token).await?
        };
        let client = Rc::new(RefCell::new(trust.client(Some(&Rc::new(identity)))));
        let (outbox, came, uptime) = (RefCell::default(), Notify::new(), Uptime::start());
        Ok(Self { config, trust, client, outbox, came, uptime })
    }

    /// Carries until something breaks; `say` is told what people may want to know.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Listen`] when devices cannot come.
    pub async fn run(self, say: fn(&Said)) -> Result<(), GatewayError> {
        let address = self.config.listen;
        let cannot = |source| GatewayError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        say(&Said::Listening(listener.local_addr().map_err(cannot)?));
        let gateway = Rc::new(self);
        let work = LocalSet::new();
        work.spawn_local(Rc::clone(&gateway).forward());
        work.spawn_local(Rc::clone(&gateway).renew(say));
        work.run_until(gateway.accept(listener)).await;
        Ok(())
    }

    /// Takes links until there is nobody left to take them.
    async fn accept(self: Rc<Self>, listener: TcpListener) {
        let links = Arc::new(Semaphore::new(LINKS_MAX));
        while let Ok(permit) = Arc::clone(&links).acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                // A device that was gone again, or no descriptor left: neither ends the other links.
                sleep(PAUSE_MIN).await;
                continue;
            };
            let gateway = Rc::clone(&self);
            tokio::task::spawn_local(async move {
                link::serve(&gateway, stream).await;
                drop(permit);
            });
        }
    }

    fn https(&self) -> Https {
        let network = Rc::new(HostNetwork::start());
        Https::new(network, self.config.server.device.clone(), Rc::clone(&self.client))
    }

    /// Takes a message of a device, and waits a while for the server's word about it.
    async fn carry(&self, kind: Kind, header: &Header, envelope: &str) -> Outcome {
        let (word, told) = oneshot::channel();
        let now = self.uptime.now();
        if self.outbox.borrow_mut().put(header, kind, envelope, now, word).is_err() {
            return Outcome::Later;
        }
        self.came.notify_one();
        timeout(WORD_MAX, told).await.map_or(Outcome::Later, |told| told.unwrap_or(Outcome::Later))
    }

    /// Hands over what devices said, for ever.
    async fn forward(self: Rc<Self>) {
        let (mut server, mut pause) = (self.https(), PAUSE_MIN);
        loop {
            let batch = self.outbox.borrow_mut().batch(self.uptime.now());
            if batch.is_empty() {
                self.came.notified().await;
                continue;
            }
            let answer = post(&mut server, &batch).await;
            let is_settled = answer
                .is_ok_and(|answer| self.outbox.borrow_mut().settle(&batch, &answer.outcomes));
            if is_settled {
                pause = PAUSE_MIN;
            } else {
                sleep(pause).await;
                pause = (2 * pause).min(PAUSE_MAX);
            }
        }
    }

    /// Renews the certificate at two thirds of its life, for ever. A failure waits for the next look.
    async fn renew(self: Rc<Self>, say: fn(&Said)) {
        loop {
            let present = Rc::clone(&self.client.borrow());
            let is_due = present.identity.as_ref().is_some_and(|it| it.is_due(unix_s()));
            if is_due && let Err(error) = self.renew_now().await {
                say(&Said::NotRenewed(error));
            }
            sleep(RENEWAL_PAUSE).await;
        }
    }

    async fn renew_now(&self) -> Result<(), GatewayError> {
        let mut keys = KeyFolder::open(self.config.work.join(self.config.id.as_str()))?;
        let renewed = est::renew(&mut self.https(), &mut keys, &self.config.id).await?;
        *self.client.borrow_mut() = self.trust.client(Some(&Rc::new(renewed)));
        Ok(())
    }
}

async fn post(server: &mut Https, batch: &Batch) -> Result<Answer, NoAnswer> {
    let messages: Vec<_> = batch.messages().collect();
    let body = relay::encode(&messages);
    let headers = &[("content-type", "application/json")];
    let path = "/v1/gateway/messages";
    let request = Request { method: "POST", path, headers, body: body.as_bytes() };
    let (status, answer) = server.exchange(&request, ANSWER_BYTES_MAX).await?;
    if status != 200 {
        return Err(NoAnswer::Refused(status));
    }
    Answer::decode(&answer, messages.len()).map_err(|_| NoAnswer::Unreachable)
}
