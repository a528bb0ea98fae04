//! The device listener over HTTP/1.1: polls, downloads in ranges, and whatever else is asked there,
//! one request after another.
//!
//! Every byte of an answer is foreign: heads, bodies, waiting times and paces have limits, and an
//! answer whose end cannot be told is none. Not here: what an answer means.

mod body;
mod head;
mod received;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt::{self, Write as _};
use core::pin::pin;
use core::time::Duration;

use embedded_io_async::Write as _;
use waxwing_agent::download::{Opened, Pace, TooSlow};
use waxwing_agent::network::{NoAnswer, Server};
use waxwing_wire::Digest;
use waxwing_wire::bundle::BUNDLE_BYTES_MAX;

pub use body::{Body, Malformed, Piece};
pub use head::{HEAD_BYTES_MAX, Head};

use crate::address::Address;
use crate::network::{Network, until, within};
use crate::tls::{Broken, Client, Connection, SharedClient};
use received::Received;

/// How long a server may take to begin an answer, and again to finish it unless it is an image.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Longest that a busy server is believed when it asks to be left alone.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
/// What a server calls a certificate whose time is over; it may still renew itself (D14).
const EXPIRED: &str = "certificate_expired";
/// Longest explanation of a refusal that is read, in bytes.
const PROBLEM_BYTES_MAX: usize = 4 * 1024;
/// Interim answers that are passed over before the real one.
const INTERIM_MAX: usize = 2;

/// Set when a server says that the device's certificate has expired: a device that comes back after
/// long has no other way to know, for it knows no time before its first answer.
pub type Expired = Rc<Cell<bool>>;

/// A request. What it prints is not what a header says: there may be a token in it.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    /// `GET` or `POST`.
    pub method: &'r str,
    /// Path and query, as sent.
    pub path: &'r str,
    /// Further headers: names and values without line breaks.
    pub headers: &'r [(&'r str, &'r str)],
    /// The body; its length is sent along.
    pub body: &'r [u8],
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.headers.iter().map(|(name, _)| name);
        write!(f, "{} {} ", self.method, self.path)?;
        f.debug_list().entries(names).finish()?;
        write!(f, " {} bytes", self.body.len())
    }
}

/// Requests to one listener, one after another.
#[derive(Debug)]
pub struct Https<N> {
    network: Rc<N>,
    address: Address,
    client: SharedClient,
    /// The connection of the last request, if it can be used again.
    open: Option<Open>,
    download: Option<Pace>,
    expired: Expired,
    answer_bytes_max: usize,
}

/// A connection and what is left of the present answer.
#[derive(Debug)]
struct Open {
    connection: Connection,
    /// What it was made with.
    client: Rc<Client>,
    received: Received,
    body: Body,
    is_last: bool,
}

impl<N: Network + 'static> Https<N> {
    /// Prepares requests; connects with the first.
    pub fn new(network: Rc<N>, address: Address, client: SharedClient) -> Self {
        let (expired, answer_bytes_max) = (Expired::default(), BUNDLE_BYTES_MAX);
        Self { network, address, client, open: None, download: None, expired, answer_bytes_max }
    }

    /// Takes answers to polls of at most so many bytes: for a device that has no room for the
    /// longest there are.
    #[must_use]
    pub fn taking_at_most(self, bytes: usize) -> Self {
        Self { answer_bytes_max: bytes.min(BUNDLE_BYTES_MAX), ..self }
    }

    /// Notes there when a poll is refused because the certificate has expired.
    #[must_use]
    pub fn noting(self, expired: Expired) -> Self {
        Self { expired, ..self }
    }

    /// Says goodbye on the connection that is kept, if any.
    pub async fn close(&mut self) {
        self.download = None;
        if let Some(open) = self.open.take() {
            // Whether it is heard changes nothing.
            let closing = pin!(open.connection.close());
            let _ = within(&*self.network, ANSWER_MAX, closing).await;
        }
    }

    /// Returns what lies below.
    pub(crate) fn network(&self) -> &N {
        &self.network
    }

    /// Sends a request and reads the whole answer: its status and at most so many bytes.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] when there was none, in time, of that length, or it asks to wait.
    pub async fn exchange(
        &mut self,
        request: &Request<'_>,
        bytes_max: usize,
    ) -> Result<(u16, Vec<u8>), NoAnswer> {
        let head = self.send(request).await?;
        let network = Rc::clone(&self.network);
        let body = within(&*network, ANSWER_MAX, pin!(self.read_all(bytes_max))).await;
        let body = body.unwrap_or(Err(NoAnswer::Stalled)).inspect_err(|_| self.open = None)?;
        match wait(&head).filter(|_| matches!(head.status, 429 | 503)) {
            Some(wait) => Err(NoAnswer::Busy(wait)),
            None => Ok((head.status, body)),
        }
    }

    /// Asks for the image at a path, from byte `from` on; [`Server::read`] reads on.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] when there was none; a status is no error here.
    pub async fn download(
        &mut self,
        path: &str,
        sha256: &Digest,
        from: u32,
    ) -> Result<Opened, NoAnswer> {
        let etag = format!("\"{sha256}\"");
        let range = format!("bytes={from}-");
        let wanted = [("range", range.as_str()), ("if-range", etag.as_str())];
        let headers = if from == 0 { &[][..] } else { &wanted[..] };
        let head = self.send(&Request { method: "GET", path, headers, body: &[] }).await?;
        self.download = Some(Pace::begin(self.network.now()));
        // A part of another image is no part of this one, whatever its range.
        let range = head.range.filter(|_| head.etag.as_ref().is_none_or(|tag| *tag == etag));
        let (status, retry_after) = (head.status, wait(&head));
        Ok(Opened { status, range, body_bytes: head.length, retry_after })
    }

    /// Sends a request on the connection there is, or on a new one, and reads the answer's head.
    async fn send(&mut self, request: &Request<'_>) -> Result<Head, NoAnswer> {
        self.download = None;
        let kept = self.open.take();
        let text = self.text(request)?;
        let network = Rc::clone(&self.network);
        let asking = within(&*network, ANSWER_MAX, pin!(self.ask(kept, &text, request.body))).await;
        asking.unwrap_or(Err(NoAnswer::Stalled))
    }

    /// A server may have closed a connection that was idle: then once more, on a new one. All our
    /// requests may come twice.
    async fn ask(&mut self, kept: Option<Open>, text: &str, body: &[u8]) -> Result<Head, NoAnswer> {
        let client = Rc::clone(&self.client.borrow());
        if let Some(open) = kept
            && open.is_reusable(&client)
            && let Ok(head) = self.ask_on(open, text, body).await
        {
            return Ok(head);
        }
        let opening = Connection::open(&self.network, &self.address, &client).await;
        let connection = opening.map_err(|broken| match broken {
            Broken::TimeUp => NoAnswer::Stalled,
            Broken::Network | Broken::Stranger | Broken::Tls(_) => NoAnswer::Unreachable,
        })?;
        let (received, body_kind) = (Received::default(), Body::NONE);
        let open = Open { connection, client, received, body: body_kind, is_last: false };
        self.ask_on(open, text, body).await
    }

    async fn ask_on(&mut self, mut open: Open, text: &str, body: &[u8]) -> Result<Head, NoAnswer> {
        open.write(text.as_bytes(), body).await.map_err(|_| NoAnswer::Unreachable)?;
        let mut head = open.head().await?;
        for _ in 0..INTERIM_MAX {
            if head.is_interim() {
                head = open.head().await?;
            }
        }
        if head.is_interim() {
            return Err(NoAnswer::Unreachable);
        }
        open.body = head.body().map_err(|Malformed| NoAnswer::Unreachable)?;
        open.is_last = head.is_last;
        self.open = Some(open);
        Ok(head)
    }

    fn text(&self, request: &Request<'_>) -> Result<String, NoAnswer> {
        let Request { method, path, headers, body } = request;
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        let length = body.len();
        let written = match *method {
            "POST" => write!(text, "content-length: {length}\r\n"),
            _ => Ok(()),
        };
        let written = headers.iter().fold(written, |written, (name, value)| {
            written.and_then(|()| write!(text, "{name}: {value}\r\n"))
        });
        written.map_err(|_| NoAnswer::Unreachable)?;
        text.push_str("\r\n");
        Ok(text)
    }

    async fn read_all(&mut self, bytes_max: usize) -> Result<Vec<u8>, NoAnswer> {
        let open = self.open.as_mut().ok_or(NoAnswer::Unreachable)?;
        if open.body.length().is_some_and(|length| exceeds(length, bytes_max)) {
            return Err(NoAnswer::Stalled);
        }
        let mut whole = Vec::new();
        // All at once: growing by doubling, an answer would be in memory up to three times.
        let length = open.body.length().and_then(|length| usize::try_from(length).ok());
        // What there is no room for is no answer, and no reason to restart.
        whole.try_reserve_exact(length.unwrap_or(0)).map_err(|_| NoAnswer::Stalled)?;
        loop {
            let piece = open.piece(usize::MAX).await?;
            if piece.is_empty() {
                return Ok(whole);
            }
            if piece.len() > bytes_max.saturating_sub(whole.len()) {
                return Err(NoAnswer::Stalled);
            }
            whole.try_reserve(piece.len()).map_err(|_| NoAnswer::Stalled)?;
            whole.extend_from_slice(piece);
        }
    }

    async fn read_piece(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer> {
        let Some(open) = &mut self.open else { return Ok(0) };
        let piece = open.piece(bytes.len()).await?;
        for (to, from) in bytes.iter_mut().zip(piece) {
            *to = *from;
        }
        Ok(piece.len())
    }

    /// Reads as long as the body keeps its pace.
    async fn read_in_pace(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer> {
        let network = Rc::clone(&self.network);
        loop {
            let Some(pace) = self.download else { return Ok(0) };
            let read = until(&*network, pace.deadline(), pin!(self.read_piece(bytes))).await;
            let count = read.ok().and_then(Result::ok).unwrap_or(0);
            if let Some(pace) = &mut self.download {
                let advanced = pace.advance(network.now(), count);
                advanced.map_err(|TooSlow| NoAnswer::Stalled)?;
            }
            if let Ok(read) = read {
                return read;
            }
        }
    }
}

/// For how long the server wants to be left alone.
fn wait(head: &Head) -> Option<Duration> {
    head.retry_after.map(|wait| wait.min(RETRY_AFTER_MAX))
}

fn exceeds(length: u64, bytes_max: usize) -> bool {
    usize::try_from(length).map_or(true, |length| length > bytes_max)
}

impl Open {
    /// Tells whether another request may follow: nothing is left of the answer before, and the
    /// device is still who it was then.
    fn is_reusable(&self, client: &Rc<Client>) -> bool {
        let is_read = self.body.length() == Some(0) && self.received.is_empty();
        is_read && !self.is_last && Rc::ptr_eq(&self.client, client)
    }

    async fn write(&mut self, head: &[u8], body: &[u8]) -> Result<(), Broken> {
        self.connection.write_all(head).await?;
        self.connection.write_all(body).await?;
        self.connection.flush().await
    }

    async fn head(&mut self) -> Result<Head, NoAnswer> {
        loop {
            let parsed = Head::parse(self.received.rest());
            if let Some((head, bytes)) = parsed.map_err(|Malformed| NoAnswer::Unreachable)? {
                self.received.take(bytes);
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    /// Returns the next bytes of the body, at most so many; none at its end.
    async fn piece(&mut self, bytes_max: usize) -> Result<&[u8], NoAnswer> {
        loop {
            let piece = self.body.next(self.received.rest());
            match piece.map_err(|Malformed| NoAnswer::Unreachable)? {
                Piece::Data(bytes) => {
                    let bytes = bytes.min(bytes_max);
                    self.body.took(bytes);
                    return Ok(self.received.take(bytes));
                }
                Piece::End => {
                    self.received.give_back();
                    return Ok(&[]);
                }
                Piece::Framing(bytes) => {
                    self.received.take(bytes);
                }
                Piece::More => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> Result<(), NoAnswer> {
        match self.received.fill(&mut self.connection).await {
            Ok(0) | Err(_) => Err(NoAnswer::Unreachable),
            Ok(_) => Ok(()),
        }
    }
}

impl<N: Network + 'static> Server for Https<N> {
    async fn poll(&mut self, request: &str) -> Result<Vec<u8>, NoAnswer> {
        let headers = &[("content-type", "application/json")];
        let body = request.as_bytes();
        let request = Request { method: "POST", path: "/v1/poll", headers, body };
        let (status, answer) = self.exchange(&request, self.answer_bytes_max).await?;
        if status == 200 {
            return Ok(answer);
        }
        let problem = answer.get(..PROBLEM_BYTES_MAX.min(answer.len())).unwrap_or_default();
        let is_expired = String::from_utf8_lossy(problem).contains(EXPIRED);
        self.expired.set(status == 403 && is_expired);
        Err(NoAnswer::Refused(status))
    }

    async fn open(&mut self, sha256: &Digest, from: u32) -> Result<Opened, NoAnswer> {
        self.download(&format!("/v1/images/{sha256}"), sha256, from).await
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer> {
        let read = self.read_in_pace(bytes).await;
        if read.is_err() {
            (self.open, self.download) = (None, None);
        }
        read
    }
}
