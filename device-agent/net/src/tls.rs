//! TLS 1.3 to the server, and nobody else: which server a device talks to, and as whom.
//!
//! The protocol is `embedded-tls`. What that library leaves open is closed around it:
//! [`records`] lets no record through that has no place in the protocol, `cipher` none with a
//! content that the library would stumble over, and `verifier` insists that the server has shown a
//! certificate and proven that it is its own. Small records save a device 14 KB: the server keeps
//! to 2 KB.

mod cipher;
mod connection;
mod pipe;
mod records;
mod trust;
mod verifier;

use alloc::rc::Rc;
use core::cell::RefCell;
use core::fmt;

pub use connection::Connection;
pub use trust::{ServerTrust, Untrusted};

use crate::identity::Identity;

/// Whom a device believes, and as whom it comes.
#[derive(Debug)]
pub struct Client {
    /// By what it knows its server.
    pub trust: ServerTrust,
    /// Its key and certificate; none before it is enrolled.
    pub identity: Option<Rc<Identity>>,
}

/// What the next connection is made with: another one after a renewal or with new pins.
pub type SharedClient = Rc<RefCell<Rc<Client>>>;

/// Why a connection was not made, or ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Broken {
    /// There is nobody, or the connection broke.
    Network,
    /// Who answers did not prove to be the server.
    Stranger,
    /// It took too long until both sides had shown their certificates.
    TimeUp,
    /// The other side does not speak the protocol, or said why it does not want to.
    Tls(embedded_tls::TlsError),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => f.write_str("no connection"),
            Self::Stranger => f.write_str("who answers is not the server"),
            Self::TimeUp => f.write_str("no secure connection in time"),
            Self::Tls(error) => write!(f, "no secure connection: {error}"),
        }
    }
}

impl core::error::Error for Broken {}

impl embedded_io_async::Error for Broken {
    fn kind(&self) -> embedded_io_async::ErrorKind {
        match self {
            Self::Network => embedded_io_async::ErrorKind::ConnectionReset,
            Self::Stranger => embedded_io_async::ErrorKind::PermissionDenied,
            Self::TimeUp => embedded_io_async::ErrorKind::TimedOut,
            Self::Tls(_) => embedded_io_async::ErrorKind::InvalidData,
        }
    }
}
