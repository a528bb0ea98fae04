//! Asks other machines, and believes little of them: TLS only, no redirects, no proxy, no cookies, a
//! deadline, no address that is not allowed, and of the answer only its status.

use std::error::Error as StdError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Request};
use tokio::net::lookup_host;
use url::Url;

use super::reach::Reach;
use crate::config::Webhooks;
use crate::domain::webhook::delivery::{Failure, Outcome};
use crate::logging::Chain;

/// Longest wait for a connection: two lost packets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the server calls itself.
const USER_AGENT: &str = concat!("waxwing/", env!("CARGO_PKG_VERSION"));

/// The media type of all messages.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Names of the headers (Standard Webhooks, "Webhook metadata").
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// A message as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) id: String,
    pub(super) timestamp_s: u64,
    pub(super) signature: String,
    pub(super) body: String,
}

/// What asks other machines.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    reach: Arc<Reach>,
}

impl Sender {
    /// Prepares, with the authorities of a file, or else those of the system.
    pub(super) fn new(reach: Reach, config: &Webhooks) -> Result<Self, Error> {
        let reach = Arc::new(reach);
        let mut client = Client::builder()
            .https_only(true)
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(Duration::from_secs(config.timeout_s))
            .pool_max_idle_per_host(0)
            .user_agent(USER_AGENT)
            .dns_resolver(Guarded(Arc::clone(&reach)));
        if let Some(file) = &config.ca_file {
            client = client.tls_certs_only(certificates(file)?);
        }
        Ok(Self { client: client.build().map_err(Error::Client)?, reach })
    }

    /// Sends a message once.
    pub(super) async fn send(&self, url: &Url, message: Signed) -> Outcome {
        if !self.reach.allows_url(url) {
            return Outcome::Failed(Failure::AddressRefused);
        }
        let request = match self.request(url, message) {
            Ok(request) => request,
            Err(error) => return failed(error),
        };
        match self.client.execute(request).await {
            // The body is not read: nobody has a use for it, and it may be endless.
            Ok(response) => Outcome::Answered(response.status().as_u16()),
            Err(error) => failed(error),
        }
    }

    fn request(&self, url: &Url, message: Signed) -> Result<Request, reqwest::Error> {
        let request = self.client.post(url.clone()).header(CONTENT_TYPE, JSON);
        request
            .header(ID, message.id)
            .header(TIMESTAMP, message.timestamp_s)
            .header(SIGNATURE, message.signature)
            .body(message.body)
            .build()
    }
}

fn failed(error: reqwest::Error) -> Outcome {
    // The address may hold a secret.
    let error = error.without_url();
    tracing::warn!(error = %Chain(&error), "a webhook did not answer");
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let failure = if causes.any(<dyn StdError>::is::<AddressRefused>) {
        Failure::AddressRefused
    } else if error.is_timeout() {
        Failure::TimedOut
    } else {
        Failure::NotReached
    };
    Outcome::Failed(failure)
}

/// Looks names up, and keeps the addresses that are allowed.
#[derive(Debug)]
struct Guarded(Arc<Reach>);

/// A name leads to no machine that may be asked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the name leads to no address that messages may go to (`webhooks.allow_networks`)")]
struct AddressRefused;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = Arc::clone(&self.0);
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found.filter(|address| reach.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(AddressRefused.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, Error> {
    let pem = fs::read(file).map_err(|source| Error::Read { path: file.to_owned(), source })?;
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(Error::NoCertificates { path: file.to_owned() });
    }
    Ok(certificates)
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS cannot be set up: mostly, the system has no list of authorities.
    #[error("cannot set up TLS for webhooks; name authorities in `webhooks.ca_file`")]
    Client(#[source] reqwest::Error),
    /// The file holds no certificate.
    #[error("{path}: no PEM certificate (configuration key `webhooks.ca_file`)")]
    NoCertificates {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("{path}: cannot be read (configuration key `webhooks.ca_file`)")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
