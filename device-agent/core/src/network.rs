//! What the agent needs from the network, and from whatever tells time and draws numbers.
//!
//! Connections, TLS and their deadlines are behind these traits: every future here must end by
//! itself, for the agent waits for nothing else meanwhile.

#![expect(async_fn_in_trait, reason = "whether futures move between threads is the host's choice")]

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use waxwing_wire::topic::Kind;
use waxwing_wire::{Digest, ErrorCode, MessageId};

use crate::download::Opened;

/// The device listener of the server, over mutual TLS.
pub trait Server {
    /// Sends a poll and returns the body of the answer.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] when there was none, or one that is no bundle; for how long the server wants to be
    /// left alone is for the agent to keep.
    async fn poll(&mut self, request: &str) -> Result<Vec<u8>, NoAnswer>;

    /// Asks for an image, or for the list of an image's chunks, from byte `from` on, with `If-Range`
    /// so that another file under the same name cannot be mixed in.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] when there was none; a status is no error here.
    async fn open(&mut self, sha256: &Digest, from: u32) -> Result<Opened, NoAnswer>;

    /// Reads the next bytes of what was opened last; 0 at its end.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] when the connection broke or was slower than the minimum rate.
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer>;
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoAnswer {
    /// The server asks to be left alone for this long.
    Busy(Duration),
    /// The server answered with this HTTP status.
    Refused(u16),
    /// The answer stopped coming.
    Stalled,
    /// No connection, or it broke.
    Unreachable,
}

impl NoAnswer {
    /// Returns what a download that broke off for this is reported as.
    pub(crate) const fn broken_off(self) -> ErrorCode {
        match self {
            Self::Busy(_) | Self::Refused(_) => ErrorCode::DOWNLOAD_STATUS,
            Self::Stalled => ErrorCode::DOWNLOAD_STALLED,
            Self::Unreachable => ErrorCode::DOWNLOAD_TRUNCATED,
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(wait) => write!(f, "server asks to wait {} s", wait.as_secs()),
            Self::Refused(status) => write!(f, "server answered {status}"),
            Self::Stalled => f.write_str("answer stopped coming"),
            Self::Unreachable => f.write_str("server cannot be reached"),
        }
    }
}

impl core::error::Error for NoAnswer {}

/// The connection for messages, kept up by somebody else. A device works without one.
pub trait Messages {
    /// Returns the number of the connection, another one each time it is made; `None` while there
    /// is none. What was handed over on an earlier connection may be lost.
    fn connection(&self) -> Option<u64>;

    /// Hands a message over, to be delivered at least once on this connection. False when there is
    /// no room for it now.
    fn publish(&mut self, kind: Kind, id: &MessageId, envelope: String) -> bool;

    /// Waits for the next message, or until this uptime.
    async fn next(&mut self, until: Duration) -> Message;
}

/// What comes from the connection for messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// The server has stored the message with this id.
    Acknowledged(MessageId),
    /// A signed command; not checked.
    Command(Vec<u8>),
    /// A connection was made.
    Connected,
    /// The server did not take the message with this id: on this connection it would not either.
    Refused(MessageId),
    /// The time has come; there was no message.
    TimeUp,
}

/// Signs messages with the device's own key.
pub trait Signer {
    /// Signs the parts, one after another, and returns the signature in lower-case hexadecimal:
    /// ECDSA P-256 with SHA-256 in DER, as TUF writes signatures.
    ///
    /// # Errors
    ///
    /// [`CannotSign`] when the key is out of reach.
    fn sign(&mut self, parts: &[&[u8]]) -> Result<String, CannotSign>;
}

/// The device's key is out of reach.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CannotSign;

impl fmt::Display for CannotSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("device key cannot be used")
    }
}

impl core::error::Error for CannotSign {}

/// Uptime.
pub trait Clock {
    /// Returns the time since the device started.
    fn now(&self) -> Duration;
}

/// Numbers nobody can guess.
pub trait Entropy {
    /// Fills the bytes from a true random source: a nonce that can be guessed can be answered in
    /// advance.
    fn fill(&mut self, bytes: &mut [u8]);
}
