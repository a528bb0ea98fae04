//! Takes in what devices say: five checks, then evidence and its effect in one transaction.
//!
//! The checks: the fields are there, the sender is the owner of the certificate, the message is
//! fresh, the device signed it, and its id was not used for anything else (D24). A message is
//! acknowledged only after it is durable; a halt that follows from it is part of the same
//! transaction. Not here: MQTT and HTTP, which hand messages over and pass the verdict on.

mod aggregates;
mod attributes;
pub mod check;
mod counters;
mod recorder;
mod reports;
mod signature;

use std::sync::Arc;

use waxwing_wire::envelope::Envelope;
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, Malformed};

pub use self::aggregates::Aggregates;
use self::attributes::Changed;
pub use self::check::Way;
pub(crate) use self::check::verify;
use self::check::{Genuine, check, check_poll, may_be_forgotten};
pub use self::counters::{Counters, word};
use self::recorder::Recorder;
use crate::director::clock_guard::ClockAhead;
use crate::domain::Device;
use crate::fleet::Fleet;
use crate::logging::Chain;
use crate::message_secrets::Vault;
use crate::orders;
use crate::store::messages::{Added, Message, MessageLog};
use crate::store::{self, Store};

/// What the message log says of messages that were signed with a secret instead of the key of a
/// certificate. No serial number looks like it.
pub const SIGNED_BY_SECRET: &str = "secret";

/// How far the time of sending may be from ours, in seconds: slow links and clocks that drift.
pub const FRESH_S: u64 = 300;

/// Takes in messages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingest {
    store: Store,
    log: MessageLog,
    recorder: Recorder,
    vault: Arc<Vault>,
    fleet: Fleet,
    counters: Counters,
    aggregates: Aggregates,
    changed: Changed,
}

/// What became of a message that was taken in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// It had its effect.
    Applied,
    /// A report that cannot be true of its deployment: kept as evidence, without effect.
    Contradicts,
    /// Stored before; the sender missed the acknowledgement.
    Duplicate,
    /// A report that its deployment is already past: kept as evidence, without effect.
    Late,
}

/// Why a message was not taken in. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Our clock is wrong, and what is stored now would carry its time for good (D5).
    #[error("the server's clock is not credible")]
    Clock(#[from] ClockAhead),
    /// The topic is not for messages of this kind.
    #[error("devices do not send messages of the kind {0}")]
    Kind(Kind),
    /// The message is not what its kind looks like.
    #[error("the message is malformed")]
    Malformed(#[from] Malformed),
    /// A report about a rollout that the device has no part in.
    #[error("the device has no part in this rollout")]
    NotInRollout,
    /// The id was used for another message.
    #[error("the message id was used for another message")]
    Replay,
    /// None of the device's keys made the signature.
    #[error("the signature is not the device's")]
    Signature,
    /// Sent too long ago, or in the future; send it again with the present time.
    #[error("the time of sending is more than {FRESH_S} s from now")]
    Stale,
    /// Too many reports about one deployment.
    #[error("there are too many reports about this deployment")]
    TooMany,
    /// The server is about to end.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// It could not be stored; send it again later.
    #[error("the message cannot be stored now")]
    Unavailable(#[source] Arc<store::Error>),
    /// The sender is not the owner of the certificate.
    #[error("the sender is not the owner of the certificate")]
    WrongSender,
}

impl Refused {
    /// Tells whether sending the same message again, with a new time and signature, may help.
    pub const fn may_be_sent_again(&self) -> bool {
        match self {
            Self::Clock(_) | Self::ShuttingDown | Self::Stale | Self::Unavailable(_) => true,
            Self::Kind(_)
            | Self::Malformed(_)
            | Self::NotInRollout
            | Self::Replay
            | Self::Signature
            | Self::TooMany
            | Self::WrongSender => false,
        }
    }
}

impl Ingest {
    /// Puts the checks between devices and the databases. Needs a runtime.
    pub fn new(store: Store, log: MessageLog, vault: Arc<Vault>, fleet: Fleet) -> Self {
        let recorder = Recorder::new(log.clone());
        let (counters, aggregates) = (Counters::default(), Aggregates::default());
        let changed = Changed::default();
        Self { store, log, recorder, vault, fleet, counters, aggregates, changed }
    }

    /// Adds up readings, besides.
    #[must_use]
    pub fn with(self, aggregates: Aggregates) -> Self {
        Self { aggregates, ..self }
    }

    /// Takes in a message from a device whose certificate was checked. `now` is the present time in
    /// Unix milliseconds, if the Director would sign it.
    ///
    /// # Errors
    ///
    /// [`Refused`] says why not.
    pub async fn message(
        &self,
        device: &DeviceId,
        kind: Kind,
        bytes: &[u8],
        now: Result<u64, ClockAhead>,
    ) -> Result<Accepted, Refused> {
        self.message_by(Way::Direct, device, kind, bytes, now).await
    }

    /// Takes in a message that came this way.
    ///
    /// # Errors
    ///
    /// [`Refused`] says why not.
    pub async fn message_by(
        &self,
        way: Way<'_>,
        device: &DeviceId,
        kind: Kind,
        bytes: &[u8],
        now: Result<u64, ClockAhead>,
    ) -> Result<Accepted, Refused> {
        let outcome = match now {
            Ok(now_ms) => self.take_in(device, kind, bytes, way, now_ms).await,
            Err(ahead) => Err(ahead.into()),
        };
        self.counters.count(kind, &outcome);
        if let Err(refused) = &outcome {
            let reason = Chain(refused);
            tracing::warn!(device.id = %device, %kind, %reason, "message refused");
        }
        outcome
    }

    async fn take_in(
        &self,
        device: &DeviceId,
        kind: Kind,
        bytes: &[u8],
        way: Way<'_>,
        now_ms: u64,
    ) -> Result<Accepted, Refused> {
        match kind {
            Kind::Command => Err(Refused::Kind(kind)),
            // Presence is what the connection says it is; a will cannot be fresh.
            Kind::State => Ok(Accepted::Applied),
            Kind::Report => {
                let genuine = self.check(device, kind, bytes, way, now_ms)?;
                self.report(device, &genuine, now_ms).await
            }
            Kind::Response | Kind::Telemetry => {
                let genuine = self.check(device, kind, bytes, way, now_ms)?;
                self.other(device, kind, &genuine, now_ms).await
            }
        }
    }

    /// Returns the counters, for metrics.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the sums of readings, for metrics.
    pub const fn aggregates(&self) -> &Aggregates {
        &self.aggregates
    }

    /// Checks fields, sender, freshness and signature. What is left needs the database.
    fn check<'a>(
        &self,
        device: &DeviceId,
        kind: Kind,
        bytes: &'a [u8],
        way: Way<'_>,
        now_ms: u64,
    ) -> Result<Genuine<'a>, Refused> {
        let keys = || self.fleet.device(device).map(Device::into_keys);
        let genuine = check(&self.vault, device, keys, (kind, bytes), way, now_ms)?;
        if may_be_forgotten(genuine.envelope.header.timestamp, self.log.forgotten_ms(), now_ms) {
            return Err(Refused::Stale);
        }
        Ok(genuine)
    }

    /// Checks a poll that somebody else carried: sender, freshness and signature, always by the key of a
    /// certificate. That it did not come before is not checked here.
    ///
    /// # Errors
    ///
    /// [`Refused`] says why it is none.
    pub fn poll(
        &self,
        device: &DeviceId,
        envelope: &Envelope<'_>,
        now_ms: u64,
    ) -> Result<(), Refused> {
        let keys = || self.fleet.device(device).map(Device::into_keys);
        check_poll(device, keys, envelope, now_ms)
    }

    /// Records a message and lets it have its effect.
    async fn other(
        &self,
        device: &DeviceId,
        kind: Kind,
        genuine: &Genuine<'_>,
        now_ms: u64,
    ) -> Result<Accepted, Refused> {
        let payload = genuine.envelope.payload;
        match self.recorder.record(genuine.to_message(kind, now_ms)).await? {
            // The first time may have ended before the answer had its effect.
            Added::Duplicate if kind == Kind::Response => {
                orders::answered(&self.store, device, payload, now_ms).await?;
                return Ok(Accepted::Duplicate);
            }
            Added::Duplicate => return Ok(Accepted::Duplicate),
            Added::Replay => return Err(Refused::Replay),
            Added::New(_) => {}
        }
        if kind == Kind::Response {
            orders::answered(&self.store, device, payload, now_ms).await?;
        }
        if kind == Kind::Telemetry {
            if let Err(error) = self.describe(device, payload, now_ms).await {
                // It says so again with its next telemetry.
                tracing::error!(device.id = %device, error = %Chain(&error), "attributes not kept");
            }
            self.fleet.hear(device, payload, now_ms);
            if let Some(device) = self.fleet.device(device) {
                self.aggregates.add(&device.product, payload, now_ms);
            }
        }
        Ok(Accepted::Applied)
    }

    /// Takes down what a device says of itself, unless that is nothing new or was something else just now.
    async fn describe(
        &self,
        device: &DeviceId,
        payload: &str,
        now_ms: u64,
    ) -> Result<(), store::Error> {
        let is_new = self.described(device, payload, now_ms).is_some();
        if !is_new || !self.changed.note(device, now_ms) {
            return Ok(());
        }
        let mut change = self.store.begin().await?;
        // Another may have changed it until it was our turn.
        let Some(described) = self.described(device, payload, now_ms) else { return Ok(()) };
        store::devices::update(change.connection(), &described).await?;
        let turn = change.commit().await?;
        self.fleet.put_device(described);
        drop(turn);
        Ok(())
    }
}

impl Genuine<'_> {
    fn to_message(&self, kind: Kind, received_at: u64) -> Message {
        Message {
            device: self.envelope.header.device_id.clone(),
            kind,
            message_id: self.envelope.header.message_id.clone(),
            signed_by: self.signed_by.clone(),
            received_at,
            envelope: self.envelope.text.to_owned(),
        }
    }
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

#[cfg(test)]
mod tests;
