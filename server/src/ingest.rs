//! Takes in what devices say: five checks, then evidence and its effect in one transaction.
//!
//! The checks: the fields are there, the sender is the owner of the certificate, the message is
//! fresh, the device signed it, and its id was not used for anything else (D24). A message is
//! acknowledged only after it is durable; a halt that follows from it is part of the same
//! transaction. Not here: MQTT and HTTP, which hand messages over and pass the verdict on.

mod aggregates;
mod attributes;
mod counters;
mod recorder;
mod reports;

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use waxwing_tuf::key::PublicKey;
use waxwing_wire::envelope::{Envelope, Header};
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, Digest, Malformed, existing};

pub use self::aggregates::Aggregates;
pub use self::counters::{Counters, word};
use self::recorder::Recorder;
use crate::director::clock_guard::ClockAhead;
use crate::domain::Device;
use crate::fleet::Fleet;
use crate::logging::Chain;
use crate::message_secrets::{Secret, Vault};
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
    recorder: Recorder,
    vault: Arc<Vault>,
    fleet: Fleet,
    counters: Counters,
    aggregates: Aggregates,
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

/// A message that passed the checks that need no database.
struct Genuine<'a> {
    envelope: Envelope<'a>,
    payload_sha256: Digest,
    signed_by: String,
}

impl Ingest {
    /// Puts the checks between devices and the databases. Needs a runtime.
    pub fn new(store: Store, log: MessageLog, vault: Arc<Vault>, fleet: Fleet) -> Self {
        let recorder = Recorder::new(log);
        let (counters, aggregates) = (Counters::default(), Aggregates::default());
        Self { store, recorder, vault, fleet, counters, aggregates }
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
        let outcome = match now {
            Ok(now_ms) => self.take_in(device, kind, bytes, now_ms).await,
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
        now_ms: u64,
    ) -> Result<Accepted, Refused> {
        match kind {
            Kind::Command => Err(Refused::Kind(kind)),
            // Presence is what the connection says it is; a will cannot be fresh.
            Kind::State => Ok(Accepted::Applied),
            Kind::Report => {
                let genuine = self.check(device, kind, bytes, now_ms)?;
                self.report(device, &genuine, now_ms).await
            }
            Kind::Response | Kind::Telemetry => {
                let genuine = self.check(device, kind, bytes, now_ms)?;
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
        now_ms: u64,
    ) -> Result<Genuine<'a>, Refused> {
        let envelope = Envelope::parse(bytes)?;
        let record = self.sender(device, &envelope.header, now_ms)?;
        let signed_by = self.signed_by(&record, kind, &envelope)?;
        let payload_sha256 = Digest(Sha256::digest(envelope.payload).into());
        Ok(Genuine { envelope, payload_sha256, signed_by })
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
        let record = self.sender(device, &envelope.header, now_ms)?;
        let prefix = envelope.header.signed_prefix_of_poll();
        signer(&record, &prefix, envelope).map(drop).ok_or(Refused::Signature)
    }

    /// Checks who speaks and when, and returns its record.
    fn sender(&self, device: &DeviceId, header: &Header, now_ms: u64) -> Result<Device, Refused> {
        if header.device_id != *device {
            return Err(Refused::WrongSender);
        }
        if header.timestamp.abs_diff(now_ms / 1000) > FRESH_S {
            return Err(Refused::Stale);
        }
        self.fleet.device(device).ok_or(Refused::WrongSender)
    }

    /// Checks the signature: by what, the record of the device says and never the message (D23). With
    /// a secret, the signed text does not say what the message is about, so it is telemetry only.
    fn signed_by(
        &self,
        device: &Device,
        kind: Kind,
        envelope: &Envelope<'_>,
    ) -> Result<String, Refused> {
        match &device.message_secret {
            Some(sealed) if kind == Kind::Telemetry => {
                let text = existing::signed_text(envelope)?;
                let secret = self.vault.open(&device.id, sealed);
                let made = |secret: Secret| secret.made(&envelope.signature, &text);
                let genuine = secret.is_some_and(made);
                genuine.then(|| SIGNED_BY_SECRET.to_owned()).ok_or(Refused::Signature)
            }
            Some(_) | None => {
                let prefix = envelope.header.signed_prefix(kind);
                let serial = signer(device, &prefix, envelope).ok_or(Refused::Signature)?;
                Ok(serial.to_owned())
            }
        }
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
            Added::Duplicate => return Ok(Accepted::Duplicate),
            Added::Replay => return Err(Refused::Replay),
            Added::New(_) => {}
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

    /// Takes down what a device says of itself, unless that is nothing new.
    async fn describe(
        &self,
        device: &DeviceId,
        payload: &str,
        now_ms: u64,
    ) -> Result<(), store::Error> {
        if self.described(device, payload, now_ms).is_none() {
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

/// Returns the serial number of the certificate whose key made the signature (D25). During a
/// renewal a device has two.
fn signer<'a>(device: &'a Device, prefix: &str, envelope: &Envelope<'_>) -> Option<&'a str> {
    let made_it = |spki: &[u8]| verifies(spki, prefix, envelope);
    device.certificates.iter().find(|c| made_it(&c.spki)).map(|c| c.serial.as_str())
}

/// Tells whether the key made the signature of a message: the algorithm is the key's, never the
/// message's (D23).
pub(crate) fn verify(spki: &[u8], kind: Kind, envelope: &Envelope<'_>) -> bool {
    verifies(spki, &envelope.header.signed_prefix(kind), envelope)
}

fn verifies(spki: &[u8], prefix: &str, envelope: &Envelope<'_>) -> bool {
    let signed = [prefix.as_bytes(), envelope.payload.as_bytes()];
    PublicKey::from_spki_der(spki).is_ok_and(|key| key.verify(&signed, &envelope.signature).is_ok())
}

#[cfg(test)]
mod tests;
