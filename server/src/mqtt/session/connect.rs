//! What a CONNECT may ask for, and what it gets.
//!
//! Not here: the rest of the session, nor who the device is.

use std::time::Duration;

use super::Message;
use crate::mqtt::codec::{Connect, Version, Will};
use crate::mqtt::keeper::Wish;
use crate::mqtt::reason::Reason;
use crate::mqtt::scope::Scope;

/// Longest keep-alive time in seconds, also for devices that want none (MQTT 5, 3.2.2.3.14): after
/// half as much again a connection that died without a word is cleared away.
pub(super) const KEEP_ALIVE_S_MAX: u16 = 20 * 60;

/// Longest time in seconds for which a session outlives its connection: devices that sleep for longer
/// have lost nothing that would still be good.
pub(super) const SESSION_EXPIRY_S_MAX: u32 = 7 * 24 * 60 * 60;

/// Longest name of an operator's client in bytes: more than any tool makes up.
const CLIENT_ID_BYTES_MAX: usize = 256;

/// Commands on their way to one device: what a small device surely has buffers for.
const WINDOW_MAX: u16 = 8;

/// What a connection gets.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) clean_start: bool,
    /// Empty if the client leaves its name to us.
    pub(super) client_id: String,
    pub(super) keep_alive_s: Granted<u16>,
    pub(super) session_expiry_s: Granted<u32>,
    /// Commands the device may have unacknowledged.
    pub(super) window: usize,
    /// Largest packet the device takes, in bytes.
    pub(super) packet_bytes_max: usize,
    pub(super) will: Option<Message>,
}

impl Terms {
    /// Returns what the device wants of its session, as far as it gets it.
    pub(super) const fn wish(&self) -> Wish {
        Wish { clean_start: self.clean_start, expiry_s: self.session_expiry_s.value }
    }
}

/// A number that the device asked for and the server may have lowered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted<T> {
    asked: T,
    pub(super) value: T,
}

impl<T: Copy + PartialEq> Granted<T> {
    /// Returns the number if the device must be told.
    pub(super) fn correction(&self) -> Option<T> {
        (self.value != self.asked).then_some(self.value)
    }
}

/// Checks what a CONNECT of a client asks for.
pub(super) fn admit(scope: &Scope, connect: &Connect) -> Result<Terms, Reason> {
    if connect.authentication {
        return Err(Reason::BadAuthenticationMethod);
    }
    check_client_id(scope, connect)?;
    let (keep_alive_s, expiry_s) = (connect.keep_alive_s, connect.session_expiry_s);
    let expiry_s_max = match scope {
        Scope::Device(_) => SESSION_EXPIRY_S_MAX,
        // What nobody listens to is not kept.
        Scope::Operator(_) => 0,
    };
    let keep_alive_wanted = if keep_alive_s == 0 { u16::MAX } else { keep_alive_s };
    Ok(Terms {
        clean_start: connect.clean_start,
        client_id: connect.client_id.clone(),
        keep_alive_s: Granted {
            asked: keep_alive_s,
            value: keep_alive_wanted.min(KEEP_ALIVE_S_MAX),
        },
        session_expiry_s: Granted { asked: expiry_s, value: expiry_s.min(expiry_s_max) },
        window: connect.receive_max.min(WINDOW_MAX).into(),
        packet_bytes_max: usize::try_from(connect.packet_bytes_max).unwrap_or(usize::MAX),
        will: connect.will.as_ref().map(|will| admit_will(scope, will)).transpose()?,
    })
}

/// The certificate says who it is; a name in a device's packet can only agree, or be left out. Without
/// a name a 3.1.1 session cannot be kept (MQTT 3.1.1, 3.1.3.1).
fn check_client_id(scope: &Scope, connect: &Connect) -> Result<(), Reason> {
    let agrees = match (connect.client_id.as_str(), scope) {
        ("", _) => connect.version == Version::V5 || connect.clean_start,
        (name, Scope::Device(device)) => name == device.as_str(),
        (name, Scope::Operator(_)) => name.len() <= CLIENT_ID_BYTES_MAX,
    };
    if agrees { Ok(()) } else { Err(Reason::ClientIdentifierNotValid) }
}

fn admit_will(scope: &Scope, will: &Will) -> Result<Message, Reason> {
    if will.retain {
        return Err(Reason::RetainNotSupported);
    }
    // A will is published when its connection ends, never later.
    if will.delay_s != 0 {
        return Err(Reason::ImplementationSpecific);
    }
    let kind = scope.publish(&will.topic).ok_or(Reason::NotAuthorized)?;
    Ok(Message { kind, payload: will.payload.clone() })
}

/// Returns how long a connection may be silent (MQTT 5, 3.1.2.10).
pub(super) fn silence(keep_alive_s: u16) -> Duration {
    Duration::from_secs(keep_alive_s.into()) * 3 / 2
}
