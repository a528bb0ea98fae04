//! The server's REST API: requests with the profile's token, answers as JSON, refusals as errors.
//!
//! Not here: what an answer means.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Problem};
use crate::profile::Profile;

/// Longest wait for a connection: two lost packets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for a whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// Longest answer in bytes; a page of a list is far shorter.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The header by which the audit log learns why.
const REASON: HeaderName = HeaderName::from_static("waxwing-reason");

/// Items asked for at once.
const PAGE_ITEMS: usize = 200;

/// A server that one is logged in to.
#[derive(Debug)]
pub(crate) struct Api {
    http: Client,
    base: Url,
}

impl Api {
    /// Prepares to speak to the profile's server; the audit log will show the reason.
    pub(crate) fn new(profile: &Profile, reason: Option<&str>) -> Result<Self, Error> {
        let headers = headers(profile, reason)?;
        Ok(Self { http: client(profile, headers)?, base: base(&profile.server)? })
    }

    /// Reads one thing.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Error> {
        let url = self.url(path)?;
        self.answer(self.http.get(url).query(query)).await
    }

    /// Reads one thing into a type.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Error> {
        decode(self.get(path, query).await?)
    }

    /// Reads something that may not be there, byte for byte as it was signed.
    pub(crate) async fn text_if_any(&self, path: &str) -> Result<Option<String>, Error> {
        match self.body(self.http.get(self.url(path)?)).await {
            Ok(body) => {
                String::from_utf8(body).map(Some).map_err(|error| Error::Answer(error.to_string()))
            }
            Err(Error::Refused { problem }) if problem.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for something that needs no more words, and reads the answer into a type.
    pub(crate) async fn read_act<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        decode(self.act(path).await?)
    }

    /// Reads the page of a list that comes after another one.
    pub(crate) async fn page(&self, path: &str, after: Option<&str>) -> Result<Page, Error> {
        let count = PAGE_ITEMS.to_string();
        let mut query = vec![("limit", count.as_str())];
        query.extend(after.map(|after| ("after", after)));
        self.read(path, &query).await
    }

    /// Asks for something that needs no more words.
    pub(crate) async fn act(&self, path: &str) -> Result<Value, Error> {
        self.answer(self.http.post(self.url(path)?)).await
    }

    /// Makes something new.
    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, Error> {
        self.send(Method::POST, path, body).await
    }

    /// Makes something new, and reads the answer into a type.
    pub(crate) async fn read_post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        decode(self.post(path, body).await?)
    }

    /// Changes a part of something.
    pub(crate) async fn patch(&self, path: &str, body: &impl Serialize) -> Result<Value, Error> {
        self.send(Method::PATCH, path, body).await
    }

    /// Changes a part of something, if it is still as it was seen.
    pub(crate) async fn patch_seen(
        &self,
        path: &str,
        revision: u64,
        body: &impl Serialize,
    ) -> Result<Value, Error> {
        let request = self.http.patch(self.url(path)?).header(IF_MATCH, etag(revision));
        self.answer(request.json(body)).await
    }

    /// Removes something, if it is still as it was seen.
    pub(crate) async fn remove_seen(&self, path: &str, revision: u64) -> Result<Value, Error> {
        let request = self.http.delete(self.url(path)?).header(IF_MATCH, etag(revision));
        self.answer(request).await
    }

    /// Replaces something.
    pub(crate) async fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, Error> {
        self.send(Method::PUT, path, body).await
    }

    /// Removes something.
    pub(crate) async fn remove(&self, path: &str) -> Result<Value, Error> {
        self.answer(self.http.delete(self.url(path)?)).await
    }

    /// Replaces something whose bytes are signed and must arrive unchanged.
    pub(crate) async fn put_bytes(&self, path: &str, body: String) -> Result<Value, Error> {
        let url = self.url(path)?;
        self.answer(self.http.put(url).body(body)).await
    }

    /// Reads a list page by page, up to `limit` items, and says so when there are more.
    pub(crate) async fn list(
        &self,
        path: &str,
        query: &[(&str, &str)],
        limit: usize,
    ) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let count = PAGE_ITEMS.min(limit - items.len()).to_string();
            let mut query = [query, &[("limit", count.as_str())]].concat();
            query.extend(after.as_deref().map(|after| ("after", after)));
            let page: Page = self.read(path, &query).await?;
            items.extend(page.items);
            let Some(next) = page.next else { return Ok(items) };
            if items.len() >= limit || after.as_ref() == Some(&next) {
                eprintln!("waxwing: there are more, use --limit");
                return Ok(items);
            }
            after = Some(next);
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Value, Error> {
        let url = self.url(path)?;
        self.answer(self.http.request(method, url).json(body)).await
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        self.base.join(path).map_err(|error| Error::Usage(error.to_string()))
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, Error> {
        let body = self.body(request).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| Error::Answer(error.to_string()))
    }

    async fn body(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, Error> {
        let unreachable = |source| Error::Unreachable { server: self.base.to_string(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = body(response).await?.map_err(unreachable)?;
        if !status.is_success() {
            return Err(Error::Refused { problem: Problem::new(status.as_u16(), &body) });
        }
        Ok(body)
    }
}

fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

fn decode<T: DeserializeOwned>(answer: Value) -> Result<T, Error> {
    serde_json::from_value(answer).map_err(|error| Error::Answer(error.to_string()))
}

/// Reads the server's address; only TLS will do for a token.
fn base(server: &str) -> Result<Url, Error> {
    let base = Url::parse(server).and_then(|url| url.join("/api/v1/"));
    match base {
        Ok(base) if base.scheme() == "https" => Ok(base),
        Ok(_) => Err(Error::Usage(format!("{server}: the server's address begins with https://"))),
        Err(error) => Err(Error::Usage(format!("{server} is no address: {error}"))),
    }
}

/// Redirects are not followed: they would show the token to others.
fn client(profile: &Profile, headers: HeaderMap) -> Result<Client, Error> {
    let mut client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .default_headers(headers)
        .redirect(Policy::none())
        .timeout(ANSWER_TIMEOUT);
    if let Some(ca) = &profile.ca {
        client = client.tls_certs_only(certificates(ca)?);
    }
    client.build().map_err(|error| Error::Usage(format!("the profile is unusable: {error}")))
}

fn certificates(pem: &str) -> Result<Vec<Certificate>, Error> {
    let certificates = Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default();
    if certificates.is_empty() {
        return Err(Error::Usage("the CA file has no PEM certificate".to_owned()));
    }
    Ok(certificates)
}

fn headers(profile: &Profile, reason: Option<&str>) -> Result<HeaderMap, Error> {
    let mut token = header(&format!("Bearer {}", profile.token.expose()), "a token")?;
    token.set_sensitive(true);
    let mut headers = HeaderMap::from_iter([(AUTHORIZATION, token)]);
    if let Some(reason) = reason {
        headers.insert(REASON, header(reason, "a reason")?);
    }
    Ok(headers)
}

fn header(text: &str, what: &str) -> Result<HeaderValue, Error> {
    let refuse =
        |_| Error::Usage(format!("{what} is one line of ASCII, it goes into an HTTP header"));
    HeaderValue::from_str(text).map_err(refuse)
}

/// Collects an answer up to its limit.
async fn body(mut response: Response) -> Result<Result<Vec<u8>, reqwest::Error>, Error> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Err(error) => return Ok(Err(error)),
            Ok(None) => return Ok(Ok(body)),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
        }
        if body.len() > ANSWER_BYTES_MAX {
            return Err(Error::Answer(format!("longer than {ANSWER_BYTES_MAX} bytes")));
        }
    }
}

/// One page of a list.
#[derive(serde::Deserialize)]
pub(crate) struct Page {
    /// What is on it.
    pub(crate) items: Vec<Value>,
    /// Where the next one begins.
    pub(crate) next: Option<String>,
}
