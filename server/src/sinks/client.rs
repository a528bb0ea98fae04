//! Asks systems that speak HTTP, and believes little of them: no redirects, no proxy, a deadline, and of an
//! answer no more than it takes to understand it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, RequestBuilder, Response, StatusCode};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use url::Url;
use zeroize::Zeroizing;

use super::Error;
use crate::config::Sink;
use crate::logging::Chain;

/// Longest wait for a connection: two lost packets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that are kept between two batches.
const IDLE_MAX: usize = 8;

/// What the server calls itself.
const USER_AGENT: &str = concat!("waxwing/", env!("CARGO_PKG_VERSION"));

/// Characters of what a sink answered that are shown to operators.
const EXCERPT_CHARS_MAX: usize = 200;

/// What asks one sink.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    authorization: Option<HeaderValue>,
}

/// An answer, as far as it was read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How long it asked to be left alone, in milliseconds.
    pub(super) retry_after_ms: Option<u64>,
    /// Nothing if it was longer than allowed.
    pub(super) body: Option<Vec<u8>>,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Silence {
    /// It hung up, or spoke no HTTP.
    Broken,
    /// No connection, or no TLS that can be believed.
    NotReached,
    /// A connection, and no answer in time.
    TimedOut,
}

impl Silence {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken_answer",
            Self::NotReached => "not_reached",
            Self::TimedOut => "timed_out",
        }
    }
}

impl Client {
    /// Prepares. A token goes with the scheme; with a user it is a password.
    pub(super) fn new(sink: &Sink, token: Option<(&str, &str)>) -> Result<Self, Error> {
        let user = sink.user.as_deref();
        let authorization = token.map(|(scheme, token)| authorization(user, scheme, token));
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(Duration::from_secs(sink.timeout_s))
            .pool_max_idle_per_host(IDLE_MAX)
            .user_agent(USER_AGENT);
        if let Some(file) = &sink.ca_file {
            let roots = certificates(file)?;
            let roots = roots.iter().map(|der| Certificate::from_der(der));
            let roots = roots.collect::<Result<Vec<_>, _>>().map_err(Error::Client)?;
            http = http.tls_certs_only(roots);
        }
        Ok(Self {
            http: http.build().map_err(Error::Client)?,
            authorization: authorization.transpose()?,
        })
    }

    pub(super) fn post(&self, url: Url) -> RequestBuilder {
        let request = self.http.post(url);
        match &self.authorization {
            Some(field) => request.header(AUTHORIZATION, field.clone()),
            None => request,
        }
    }
}

/// Sends a request and reads at most so many bytes of the answer.
pub(super) async fn send(request: RequestBuilder, bytes_max: usize) -> Result<Answer, Silence> {
    let response = request.send().await.map_err(silence)?;
    let status = response.status();
    let retry_after_ms = retry_after_ms(&response);
    let body = read(response, bytes_max).await?;
    Ok(Answer { status, retry_after_ms, body })
}

async fn read(mut response: Response, bytes_max: usize) -> Result<Option<Vec<u8>>, Silence> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(silence)? {
        if body.len() + chunk.len() > bytes_max {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.to_vec()))
}

fn retry_after_ms(response: &Response) -> Option<u64> {
    let seconds: u64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(seconds.saturating_mul(1000))
}

fn silence(error: reqwest::Error) -> Silence {
    // The address may hold a secret.
    let error = error.without_url();
    tracing::debug!(error = %Chain(&error), "a sink did not answer");
    if error.is_connect() {
        Silence::NotReached
    } else if error.is_timeout() {
        Silence::TimedOut
    } else {
        Silence::Broken
    }
}

/// Says what a sink answered, for people.
pub(super) fn reason(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    let body = String::from_utf8_lossy(answer.body.as_deref().unwrap_or_default());
    let printable = body.chars().map(|c| if c.is_control() { ' ' } else { c });
    let excerpt: String = printable.take(EXCERPT_CHARS_MAX).collect();
    match excerpt.trim() {
        "" => format!("http_{status}"),
        excerpt => format!("http_{status}: {excerpt}"),
    }
}

/// Makes the field of a token, which no log shows: with a user it is a password.
fn authorization(user: Option<&str>, scheme: &str, token: &str) -> Result<HeaderValue, Error> {
    let text = Zeroizing::new(match user {
        Some(user) => {
            let pair = Zeroizing::new(format!("{user}:{token}"));
            format!("Basic {}", STANDARD.encode(&*pair))
        }
        None => format!("{scheme} {token}"),
    });
    let mut field = HeaderValue::from_str(&text).map_err(|_| Error::User)?;
    field.set_sensitive(true);
    Ok(field)
}

/// Reads the certificates of authorities.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let path = || PathBuf::from(file);
    let pem = fs::read(file).map_err(|source| Error::Read { path: path(), source })?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.unwrap_or_default();
    if certificates.is_empty() {
        let source = io::Error::new(io::ErrorKind::InvalidData, "no PEM certificate");
        return Err(Error::Read { path: path(), source });
    }
    Ok(certificates)
}
