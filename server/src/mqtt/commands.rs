//! Sends what is signed by the Director, numbered, and kept for a device that will be back.
//!
//! A device with a session that outlives its connection finds its commands there, also after a restart
//! of the server; for others they are on their way at once or not at all. Not here: commands of operators,
//! which are kept for every device and answered ([`crate::orders`]).

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use waxwing_tuf::author;
use waxwing_wire::DeviceId;

use super::keeper::{COMMANDS_MAX, KEPT_PACKET_MIN};
use super::{Delivery, Hub, Letter, Place};
use crate::app::App;
use crate::director::clock_guard::ClockAhead;
use crate::store::sessions::{NewCommand, Queued};
use crate::store::{self, relay, sessions};

/// Something for a device that is kept, if the device has a session which is. It is handed over once the
/// change is committed, and before its turn is over: numbers must not overtake each other.
#[derive(Debug)]
#[must_use = "commit the change, then hand it over"]
pub struct Prepared {
    device: DeviceId,
    payload: Bytes,
    queued: Queued,
}

/// Keeps whatever a device is to get as [`keep`] does. For a device that is neither connected here nor has a
/// session here, it is kept until the broker has it, if there is one: the device may be behind it.
///
/// # Errors
///
/// When it cannot be written.
pub async fn keep_or_relay(
    app: &App,
    db: &mut store::Connection,
    device: &DeviceId,
    payload: Bytes,
    life: Duration,
) -> Result<Prepared, store::Error> {
    let now_ms = app.clock.now_ms();
    if app.config.broker.is_some() && !app.hub.is_connected(device) {
        relay::lend(db, device, life.as_secs(), now_ms).await?;
    }
    keep(db, device, payload, life, now_ms).await
}

/// Keeps whatever a device is to get on its topic for commands, for as long as it is good.
///
/// # Errors
///
/// When it cannot be written.
pub async fn keep(
    db: &mut store::Connection,
    device: &DeviceId,
    payload: Bytes,
    life: Duration,
    now_ms: u64,
) -> Result<Prepared, store::Error> {
    let life_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    let new = NewCommand {
        device,
        payload: &payload,
        expires_at: now_ms.saturating_add(life_ms),
        commands_max: COMMANDS_MAX,
        packet_min: KEPT_PACKET_MIN,
    };
    let queued = sessions::queue(db, new, now_ms).await?;
    Ok(Prepared { device: device.clone(), payload, queued })
}

impl Prepared {
    /// Sends it to the device, if it is there. The answer says whether it is on its way, not whether the
    /// device obeys.
    pub fn hand_over(self, hub: &Hub) -> Delivery {
        let Self { device, payload, queued } = self;
        hub.tell_relay();
        let place = match queued {
            Queued::Full => return Delivery::Behind,
            Queued::Kept { position, packet } => {
                NonZeroU16::new(packet).map(|packet| Place { position, packet })
            }
            Queued::NoSession => None,
        };
        hub.command(&device, Letter { place, payload })
    }
}

/// Why a command was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The clock is not to be believed (D5).
    #[error("commands cannot be signed now")]
    Clock(#[from] ClockAhead),
    /// The Director's key cannot be used.
    #[error("the Director cannot sign a command")]
    Sign(#[from] author::Error),
    /// It cannot be kept.
    #[error("the command cannot be kept")]
    Store(#[from] store::Error),
}
