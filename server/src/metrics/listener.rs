//! Words for listeners, and for how handshakes end.
//!
//! Not here: counting them.

use std::fmt;
use std::io;

use tokio::time::error::Elapsed;

/// Which listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Name {
    /// REST API.
    Admin,
    /// Polls and images.
    Device,
    /// EST without a client certificate.
    Enrol,
    /// MQTT.
    Mqtt,
}

impl Name {
    /// Every listener.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Device, Self::Enrol, Self::Mqtt];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Device => "device",
            Self::Enrol => "enrol",
            Self::Mqtt => "mqtt",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Handshake {
    /// With a connection.
    Done,
    /// With an error: no certificate, a foreign one, no TLS at all.
    Failed,
    /// At its deadline.
    TimedOut,
    /// Before it began: too many connections; or for a newer handshake from the same source.
    TooMany,
}

impl Handshake {
    /// Reads the outcome of a handshake under a deadline.
    pub const fn of<T>(outcome: &Result<io::Result<T>, Elapsed>) -> Self {
        match outcome {
            Ok(Ok(_)) => Self::Done,
            Ok(Err(_)) => Self::Failed,
            Err(_) => Self::TimedOut,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::TooMany => "too_many",
        }
    }
}
