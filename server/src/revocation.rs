//! What follows when a device is shut out: its connections end, tickets of earlier handshakes are
//! worth nothing, and the published list of revoked certificates (CRL) has its certificates on it.
//!
//! None of this is what shuts it out. That is its record, which every request looks at
//! ([`crate::http::device::admission`]); so what fails here is logged, and a minute later the list
//! is made again.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use waxwing_wire::DeviceId;

use crate::app::App;
use crate::director::clock_guard::ClockAhead;
use crate::logging::Chain;
use crate::pki::{authority, crl, peer};
use crate::store::{self, enrolment};

/// How old a list may be before a new one is made: far less than it is good for.
const LIST_AGE_MAX: Duration = Duration::from_hours(24);

/// The list of revoked certificates as it is published.
#[derive(Debug, Default)]
pub struct List(RwLock<Option<Published>>);

#[derive(Clone, Debug)]
struct Published {
    der: Bytes,
    /// The same, signed by the device CA before. Serial numbers are random: those of the other CA do not
    /// harm.
    previous_der: Option<Bytes>,
    made_at_ms: u64,
}

impl List {
    /// Returns the list, DER; `None` as long as none could be made.
    pub fn der(&self) -> Option<Bytes> {
        self.read().map(|published| published.der)
    }

    /// Returns the list signed by the device CA before, DER.
    pub fn previous_der(&self) -> Option<Bytes> {
        self.read()?.previous_der
    }

    /// Returns when the list ends, in Unix milliseconds.
    pub fn ends_ms(&self) -> Option<u64> {
        let life_ms = u64::try_from(crl::LIFE.as_millis()).unwrap_or(u64::MAX);
        self.read().map(|published| published.made_at_ms.saturating_add(life_ms))
    }

    /// Tells whether it is time for a new one.
    fn is_due(&self, now_ms: u64) -> bool {
        self.read().is_none_or(|published| {
            // One from the future was made before the clock was set back.
            let age_ms = now_ms.checked_sub(published.made_at_ms);
            age_ms.is_none_or(|age_ms| Duration::from_millis(age_ms) >= LIST_AGE_MAX)
        })
    }

    fn read(&self) -> Option<Published> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, published: Option<Published>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = published;
    }
}

/// Follows up on a revocation that is committed and in the fleet.
pub async fn follow_up(app: &App, device: &DeviceId) {
    app.hub.disconnect(device);
    app.gateways.forget(device);
    app.mqtt.grants.forget(device);
    app.visits.end(device);
    if let Err(error) = app.tls.end_sessions() {
        tracing::error!(device.id = %device, error = %Chain(&error), "sessions can be resumed");
    }
    if let Err(error) = publish(app).await {
        // An old list that looks new is worse than none.
        app.crl.put(None);
        tracing::error!(device.id = %device, error = %Chain(&error), "no list of revoked ones");
    }
}

/// Publishes a new list if the present one is getting old. Does nothing otherwise, and nothing
/// without a credible time (D5): it would stay in the numbers of all later lists.
pub async fn keep_current(app: &App) -> Result<(), Error> {
    let is_due = || app.director.now_ms().is_ok_and(|now_ms| app.crl.is_due(now_ms));
    if !is_due() {
        return Ok(());
    }
    // Whoever revokes holds the turn meanwhile, so that of two lists the later one is published last.
    let _turn = app.store.begin().await?;
    if is_due() { publish(app).await } else { Ok(()) }
}

/// Publishes the certificates that are revoked now. The caller holds the turn to change the database.
async fn publish(app: &App) -> Result<(), Error> {
    let now_ms = app.director.now_ms()?;
    // A certificate may renew itself for a while after its end (D14); as long it stays listed.
    let grace_ms = app.config.identity.expired_grace().as_millis();
    let alive_at = now_ms.saturating_sub(u64::try_from(grace_ms).unwrap_or(u64::MAX));
    let revoked = enrolment::revoked(&app.store, alive_at).await?;
    let revoked = revoked.into_iter().map(|(serial, at_ms)| {
        let serial = peer::serial_bytes(&serial).ok_or(Error::Serial { serial })?;
        Ok(crl::Revoked { serial, at_ms })
    });
    let revoked = revoked.collect::<Result<Vec<_>, Error>>()?;
    let number = app.fleet.stamp(now_ms);
    let der = app.pki.device.sign_crl(&revoked, number)?.into();
    let previous = app.pki.previous_device.as_ref();
    let previous = previous.map(|authority| authority.sign_crl(&revoked, number)).transpose()?;
    let previous_der = previous.map(Bytes::from);
    app.crl.put(Some(Published { der, previous_der, made_at_ms: now_ms }));
    Ok(())
}

/// Why there is no new list.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not known what time it is.
    #[error(transparent)]
    Clock(#[from] ClockAhead),
    /// A serial number is none.
    #[error("cannot read the serial number {serial:?}")]
    Serial {
        /// What stands in its place.
        serial: String,
    },
    /// It cannot be signed.
    #[error("cannot sign the list of revoked certificates")]
    Sign(#[from] authority::Error),
    /// It is not known what is revoked.
    #[error("cannot read the revoked certificates")]
    Store(#[from] store::Error),
}
