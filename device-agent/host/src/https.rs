//! The device listener over HTTP/1.1 and mutual TLS.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use waxwing_agent::download::{ContentRange, Opened, Pace, TooSlow};
use waxwing_agent::network::{Clock as _, NoAnswer, Server};
use waxwing_wire::Digest;
use waxwing_wire::bundle::BUNDLE_BYTES_MAX;

use crate::address::Address;
use crate::time::Uptime;
use crate::tls;

/// How long a server may take to begin an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What a server calls a certificate whose time is over; it may still renew itself (D14).
const EXPIRED: &str = "certificate_expired";
/// Longest explanation of a refusal that is read, in bytes.
const PROBLEM_BYTES_MAX: usize = 4 * 1024;

/// Set when a server says that the device's certificate has expired: a device that comes back after
/// long has no other way to know, for it knows no time before its first answer.
pub type Expired = Rc<Cell<bool>>;

/// The TLS configuration of a device: another one after a renewal.
pub type SharedTls = Rc<RefCell<Arc<ClientConfig>>>;

/// Requests to one listener, one after another.
#[derive(Debug)]
pub struct Https {
    address: Address,
    tls: SharedTls,
    /// The connection of the last request, and the configuration it was made with.
    open: Option<(SendRequest<Full<Bytes>>, Arc<ClientConfig>)>,
    download: Option<(Incoming, Watch)>,
    /// What was received of the download and not read.
    piece: Bytes,
    expired: Expired,
}

impl Https {
    /// Prepares requests; connects with the first.
    pub fn new(address: Address, tls: SharedTls) -> Self {
        let expired = Expired::default();
        Self { address, tls, open: None, download: None, piece: Bytes::new(), expired }
    }

    /// Notes there when a poll is refused because the certificate has expired.
    #[must_use]
    pub fn noting(self, expired: Expired) -> Self {
        Self { expired, ..self }
    }

    /// Sends a request on the connection there is, or on a new one.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] when no answer began in time.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string());
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|_| NoAnswer::Unreachable)?;
        let exchange = async {
            let mut sender = self.sender().await?;
            let answer = sender.send_request(request).await.map_err(|_| NoAnswer::Unreachable)?;
            let tls = Arc::clone(&self.tls.borrow());
            self.open = Some((sender, tls));
            Ok(answer)
        };
        tokio::time::timeout(ANSWER_MAX, exchange).await.map_err(|_| NoAnswer::Stalled)?
    }

    async fn sender(&mut self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let tls = Arc::clone(&self.tls.borrow());
        if let Some((mut sender, with)) = self.open.take()
            && Arc::ptr_eq(&with, &tls)
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let unreachable = |_| NoAnswer::Unreachable;
        let stream = tls::connect(&self.address, &tls).await.map_err(unreachable)?;
        let io = TokioIo::new(stream);
        let (sender, connection) = http1::handshake(io).await.map_err(|_| NoAnswer::Unreachable)?;
        // Ends when the sender is dropped or the server hangs up.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// How fast a download comes, by the clock of this host.
#[derive(Debug)]
struct Watch {
    uptime: Uptime,
    pace: Pace,
}

impl Watch {
    fn begin() -> Self {
        let uptime = Uptime::start();
        Self { uptime, pace: Pace::begin(uptime.now()) }
    }

    /// Waits for the next frame of a body that keeps its pace.
    async fn frame(
        &mut self,
        body: &mut Incoming,
    ) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, TooSlow> {
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => Some(frame),
                () = self.uptime.reaches(self.pace.deadline()) => None,
            };
            let data = frame.as_ref().and_then(|frame| frame.as_ref()?.as_ref().ok()?.data_ref());
            self.pace.advance(self.uptime.now(), data.map_or(0, Bytes::len))?;
            if let Some(frame) = frame {
                return Ok(frame);
            }
        }
    }
}

/// Reads a whole body.
///
/// # Errors
///
/// [`NoAnswer::Stalled`] when it stopped coming, or is longer than `bytes_max`.
pub async fn read_all(body: Incoming, bytes_max: usize) -> Result<Bytes, NoAnswer> {
    let collecting = Limited::new(body, bytes_max).collect();
    let collected = tokio::time::timeout(ANSWER_MAX, collecting).await;
    let collected = collected.map_err(|_| NoAnswer::Stalled)?;
    collected.map(http_body_util::Collected::to_bytes).map_err(|_| NoAnswer::Stalled)
}

impl Server for Https {
    async fn poll(&mut self, request: &str) -> Result<Vec<u8>, NoAnswer> {
        self.download = None;
        let json = [(header::CONTENT_TYPE, "application/json")];
        let body = Bytes::copy_from_slice(request.as_bytes());
        let answer = self.send(Method::POST, "/v1/poll", &json, body).await?;
        let status = answer.status();
        if status != StatusCode::OK {
            let problem = read_all(answer.into_body(), PROBLEM_BYTES_MAX).await.unwrap_or_default();
            let is_expired = String::from_utf8_lossy(&problem).contains(EXPIRED);
            self.expired.set(status == StatusCode::FORBIDDEN && is_expired);
            return Err(NoAnswer::Refused(status.as_u16()));
        }
        read_all(answer.into_body(), BUNDLE_BYTES_MAX).await.map(Into::into)
    }

    async fn open(&mut self, sha256: &Digest, from: u32) -> Result<Opened, NoAnswer> {
        (self.download, self.piece) = (None, Bytes::new());
        let (path, etag) = (format!("/v1/images/{sha256}"), format!("\"{sha256}\""));
        let range = format!("bytes={from}-");
        let wanted = [(header::RANGE, range.as_str()), (header::IF_RANGE, etag.as_str())];
        let headers = if from == 0 { &[][..] } else { &wanted[..] };
        let answer = self.send(Method::GET, &path, headers, Bytes::new()).await?;
        let opened = Opened {
            status: answer.status().as_u16(),
            range: text(answer.headers(), &header::CONTENT_RANGE).and_then(ContentRange::parse),
            body_bytes: text(answer.headers(), &header::CONTENT_LENGTH)
                .and_then(|length| length.parse().ok()),
        };
        self.download = Some((answer.into_body(), Watch::begin()));
        Ok(opened)
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer> {
        while self.piece.is_empty() {
            let Some((body, watch)) = &mut self.download else { return Ok(0) };
            match watch.frame(body).await.map_err(|TooSlow| NoAnswer::Stalled)? {
                Some(Ok(frame)) => self.piece = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Err(NoAnswer::Unreachable),
                None => self.download = None,
            }
        }
        let taken = self.piece.split_to(self.piece.len().min(bytes.len()));
        if let Some(place) = bytes.get_mut(..taken.len()) {
            place.copy_from_slice(&taken);
        }
        Ok(taken.len())
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
