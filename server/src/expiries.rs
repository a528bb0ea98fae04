//! Everything of this server that ends, and when: metadata of every role, and certificates.
//!
//! Not here: how urgent that is ([`crate::domain::expiry`]), and the Director's timestamps, snapshots
//! and targets, which are signed anew for each poll.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use waxwing_tuf::Time;

use crate::app::App;
use crate::domain::expiry::{Expiry, Level, Told};
use crate::pki::{Authority, Pki, peer};
use crate::repositories::{Files, Repositories};
use crate::store::{self, Store, enrolment};

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Told>);

impl Watch {
    /// Returns what reached a more urgent level since the last call.
    pub fn news<'e>(&self, expiries: &'e [Expiry], now_ms: u64) -> Vec<(&'e Expiry, Level)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).news(expiries, now_ms)
    }
}

/// The levels, the least urgent first.
const LEVELS: [Level; 5] =
    [Level::Ok, Level::Notice, Level::Warning, Level::Critical, Level::Expired];

/// How many devices have a certificate of a level; one that is more urgent is not counted again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Devices {
    counts: [u64; LEVELS.len()],
}

impl Devices {
    /// Counts the certificates in use.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn count(store: &Store, now_ms: u64) -> Result<Self, store::Error> {
        let until = [Level::Notice, Level::Warning, Level::Critical, Level::Expired];
        let until = until.map(|level| level.until_ms(now_ms));
        let counts = enrolment::certificates_until(store, until).await?;
        // Each count holds those of the more urgent levels after it.
        let more_urgent = counts.into_iter().skip(1).chain([0]);
        let mut exact = counts;
        for (count, more_urgent) in exact.iter_mut().zip(more_urgent) {
            *count = count.saturating_sub(more_urgent);
        }
        Ok(Self { counts: exact })
    }

    /// Returns the counts, the least urgent first.
    pub fn iter(&self) -> impl Iterator<Item = (Level, u64)> {
        LEVELS.into_iter().zip(self.counts)
    }
}

/// Returns everything that ends, by name.
pub fn all(app: &App) -> Vec<Expiry> {
    let mut expiries = metadata(&app.repositories);
    expiries.extend(authorities(&app.pki));
    let server = "certificate/server".to_owned();
    expiries.push(Expiry { subject: server, ends_ms: app.tls.expires_ms() });
    expiries.sort_by(|one, other| one.subject.cmp(&other.subject));
    expiries
}

fn metadata(repositories: &Repositories) -> Vec<Expiry> {
    let of_files = |(repository, files): (String, Arc<Files>)| {
        let roles = files.in_force().filter_map(|(role, bytes)| {
            Some(Expiry { subject: format!("{repository}/{role}"), ends_ms: expires_ms(bytes)? })
        });
        roles.collect::<Vec<_>>()
    };
    repositories.all().into_iter().flat_map(of_files).collect()
}

fn authorities(pki: &Pki) -> Vec<Expiry> {
    let authority = |subject: &str, authority: &Authority| {
        let ends_ms = peer::not_after_ms(authority.certificate())?;
        Some(Expiry { subject: subject.to_owned(), ends_ms })
    };
    let authorities = [
        authority("certificate/device-ca", &pki.device),
        authority("certificate/operator-ca", &pki.operator),
        authority("certificate/server-ca", &pki.server()),
    ];
    authorities.into_iter().flatten().collect()
}

/// What is read of a file that was verified when it was stored.
#[derive(Deserialize)]
struct Envelope {
    signed: Signed,
}

#[derive(Deserialize)]
struct Signed {
    expires: String,
}

fn expires_ms(file: &[u8]) -> Option<u64> {
    let envelope: Envelope = serde_json::from_slice(file).ok()?;
    Time::parse(&envelope.signed.expires).map(Time::as_millis)
}
