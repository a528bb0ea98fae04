//! Handing a publication to a server over its admin interface.
//!
//! TLS trusts the CA that the operator names, nothing else. The server checks everything again;
//! what it refuses is shown with its reason and next step (RFC 9457).

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use reqwest::blocking::{Body, Client, RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, StatusCode, Url};
use serde::Deserialize;
use waxwing_wire::{ProductId, bundle};
use zeroize::Zeroizing;

use crate::disk;
use crate::publish::Image;
use crate::secret::Secret;

/// A server that does not answer at once is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest upload: 16 MiB at 50 KB/s with room to spare.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(10);

/// Longest error text read from a server.
const PROBLEM_BYTES_MAX: u64 = 64 * 1024;

/// A server's admin interface.
pub struct Server {
    base: Url,
    client: Client,
    authorization: HeaderValue,
}

impl Server {
    /// Prepares to talk to a server; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Error`] when the address is not `https://`, or the CA or the token cannot be used.
    pub fn new(address: &str, ca_pem: &[u8], token: &Secret) -> Result<Self, Error> {
        let base = Url::parse(address).ok().filter(|url| url.scheme() == "https");
        let base = base.ok_or_else(|| Error::Address(address.to_owned()))?;
        let ca = Certificate::from_pem(ca_pem).map_err(Error::Ca)?;
        let client = Client::builder()
            .tls_certs_only([ca])
            .https_only(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(Error::Ca)?;
        if token.reveal().trim().is_empty() {
            return Err(Error::Token);
        }
        let authorization = Zeroizing::new(format!("Bearer {}", token.reveal().trim()));
        let mut authorization = HeaderValue::from_str(&authorization).map_err(|_| Error::Token)?;
        authorization.set_sensitive(true);
        Ok(Self { base, client, authorization })
    }

    /// Asks whether the server is there, takes the token and knows the product: before anything
    /// large is sent.
    ///
    /// # Errors
    ///
    /// [`Error`] says which of these it is not.
    pub fn find(&self, product: &ProductId) -> Result<(), Error> {
        self.send(self.client.get(self.url(&format!("api/v1/products/{product}"))?))
    }

    /// Uploads one image or document; `wrap` may watch the bytes go by.
    ///
    /// # Errors
    ///
    /// [`Error`] when the file cannot be read or the server refuses it.
    pub fn put_image<R: Read + Send + 'static>(
        &self,
        product: &ProductId,
        image: &Image,
        wrap: impl FnOnce(File) -> R,
    ) -> Result<(), Error> {
        let path = &image.path;
        let file = File::open(path).map_err(|cause| disk::Error::io("read", path, cause))?;
        let kind = if image.is_document() { "documents" } else { "images" };
        let url = self.url(&format!("api/v1/products/{product}/{kind}/{}", image.sha256))?;
        let body = Body::sized(wrap(file), image.length);
        self.send(self.client.put(url).header(CONTENT_TYPE, "application/octet-stream").body(body))
    }

    /// Uploads the metadata of a repository.
    ///
    /// # Errors
    ///
    /// [`Error`] when the server refuses it.
    pub fn post_metadata(&self, product: &ProductId, metadata: Vec<u8>) -> Result<(), Error> {
        let url = self.url(&format!("api/v1/products/{product}/metadata"))?;
        self.send(self.client.post(url).header(CONTENT_TYPE, bundle::MEDIA_TYPE).body(metadata))
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        self.base.join(path).map_err(|_| Error::Address(self.base.to_string()))
    }

    fn send(&self, request: RequestBuilder) -> Result<(), Error> {
        let request = request.header(AUTHORIZATION, self.authorization.clone());
        let response = request.send().map_err(Error::Unreachable)?;
        if response.status().is_success() { Ok(()) } else { Err(refused(response)) }
    }
}

fn refused(response: Response) -> Error {
    let status = response.status();
    let mut text = Vec::new();
    // An answer that cannot be read is shown as one that says nothing.
    let _ = response.take(PROBLEM_BYTES_MAX).read_to_end(&mut text);
    Error::Refused { status, problem: serde_json::from_slice(&text).unwrap_or_default() }
}

/// What a server says when it refuses (RFC 9457).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// Stable code of the refusal.
    pub code: String,
    /// What is wrong, and what to do.
    pub detail: String,
    /// The field that is wrong.
    pub field: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
        let text = format!("{field}{} [{}]", self.detail, self.code);
        // The text came over the network and goes to a terminal.
        f.write_str(&text.replace(char::is_control, " "))
    }
}

/// The server did not take it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not the address of an admin interface.
    #[error("`{0}` is no address of the form https://host:8445")]
    Address(String),
    /// Not a certificate that can be trusted.
    #[error("the file given as --server-ca is no PEM certificate")]
    Ca(#[source] reqwest::Error),
    /// A file could not be read.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The server answered, and refused.
    #[error("the server answered {status}: {problem}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Its reason.
        problem: Problem,
    },
    /// The token cannot be sent.
    #[error("the token file does not hold a token")]
    Token,
    /// The server did not answer.
    #[error(
        "the server could not be reached; check --server and --server-ca, \
         then publish again before you change anything else"
    )]
    Unreachable(#[source] reqwest::Error),
}
