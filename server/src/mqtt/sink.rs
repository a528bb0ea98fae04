//! Where messages of devices go, and why one is not taken.
//!
//! Not here: what the rest of the server does with them.

use bytes::Bytes;
use waxwing_wire::DeviceId;
use waxwing_wire::topic::Kind;

use super::reason::Reason;

/// Where messages of devices go.
pub trait Sink: Send + Sync + 'static {
    /// Takes a message of a device whose certificate was checked. `Ok` is a promise that the
    /// message survives a power cut, as far as its kind demands: the device is told so.
    ///
    /// # Errors
    ///
    /// [`Refused`], with what the device can do about it.
    fn accept(
        &self,
        device: &DeviceId,
        kind: Kind,
        payload: Bytes,
    ) -> impl Future<Output = Result<(), Refused>> + Send;
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// It is not genuine, or not the device's to send.
    #[error("the message is not the device's to send")]
    Forbidden,
    /// It is not what its topic is for.
    #[error("the message is malformed")]
    Malformed,
    /// Its time of sending is too far from now: the device is to send it again with the present
    /// time.
    #[error("the message is stale")]
    Stale,
    /// The device sends too much.
    #[error("the device sends too much")]
    TooMany,
    /// Not now: the device is to send it again.
    #[error("the message cannot be stored now")]
    Unavailable,
}

impl Refused {
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Forbidden => Reason::NotAuthorized,
            Self::Malformed => Reason::PayloadFormatInvalid,
            Self::Stale => Reason::ImplementationSpecific,
            Self::TooMany => Reason::QuotaExceeded,
            Self::Unavailable => Reason::ServerBusy,
        }
    }
}
