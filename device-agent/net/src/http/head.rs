//! The head of an answer: what of it means something to a device, and nothing else.

use alloc::string::{String, ToString as _};
use core::time::Duration;

use httparse::{EMPTY_HEADER, Header, Response, Status};
use waxwing_agent::download::ContentRange;

use super::body::{Body, Malformed};

/// Longest head, in bytes: the server's own have a few hundred; what proxies add fits.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most headers in it.
const HEADERS_MAX: usize = 64;

/// The head of an answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// Length of the body in bytes, if it was sent.
    pub length: Option<u64>,
    /// Whether the body comes in chunks.
    pub is_chunked: bool,
    /// `Content-Range`, if it was sent and is well-formed.
    pub range: Option<ContentRange>,
    /// `ETag`, as sent.
    pub etag: Option<String>,
    /// For how long the server wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether the server closes the connection after this answer.
    pub is_last: bool,
}

impl Head {
    /// Takes a head off the front of what came, and returns it with its length in bytes; `None`
    /// when more must come.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when this is no head, it is too long, or says two things about the body.
    pub fn parse(received: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        let looked_at = received.get(..HEAD_BYTES_MAX).unwrap_or(received);
        let bytes = match response.parse(looked_at).map_err(|_| Malformed)? {
            Status::Complete(bytes) => bytes,
            Status::Partial if received.len() < HEAD_BYTES_MAX => return Ok(None),
            Status::Partial => return Err(Malformed),
        };
        let status = response.code.ok_or(Malformed)?;
        // HTTP/1.0 has no other way to end a body than to hang up.
        let is_last = response.version != Some(1);
        let mut head = Self { status, is_last, ..Self::default() };
        for header in response.headers {
            head.take(header)?;
        }
        Ok(Some((head, bytes)))
    }

    fn take(&mut self, header: &Header<'_>) -> Result<(), Malformed> {
        let name = |name: &str| header.name.eq_ignore_ascii_case(name);
        let value = || core::str::from_utf8(header.value).map(str::trim).map_err(|_| Malformed);
        if name("content-length") {
            let length = digits(value()?).ok_or(Malformed)?;
            // RFC 9112, 6.3: two lengths are an attack or a fault.
            if self.length.replace(length).is_some_and(|other| other != length) {
                return Err(Malformed);
            }
        } else if name("transfer-encoding") {
            let is_chunked = value()?.eq_ignore_ascii_case("chunked") && !self.is_chunked;
            self.is_chunked = is_chunked;
            if !is_chunked {
                return Err(Malformed);
            }
        } else if name("content-range") {
            self.range = ContentRange::parse(value()?);
        } else if name("etag") {
            self.etag = Some(value()?.to_string());
        } else if name("retry-after") {
            // A date means nothing to who has no clock.
            self.retry_after = digits(value()?).map(Duration::from_secs);
        } else if name("connection") {
            let mut options = value()?.split(',');
            self.is_last |= options.any(|option| option.trim().eq_ignore_ascii_case("close"));
        }
        Ok(())
    }

    /// Tells whether the real answer is still to come (RFC 9110, 15.2).
    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status)
    }

    /// Returns how the body ends.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it cannot be told, or not clearly.
    pub fn body(&self) -> Result<Body, Malformed> {
        match (self.length, self.is_chunked) {
            // RFC 9112, 6.3: whatever the head says.
            _ if matches!(self.status, 100..=199 | 204 | 304) => Ok(Body::NONE),
            (None, true) => Ok(Body::CHUNKED),
            (Some(length), false) => Ok(Body::of_length(length)),
            (Some(_), true) | (None, false) => Err(Malformed),
        }
    }
}

/// A number without sign or space.
fn digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}
