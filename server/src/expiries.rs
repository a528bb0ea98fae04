//! Everything of this server that ends, and when: metadata of every role, certificates, those among the
//! pins of products, and the list of revoked ones.
//!
//! Not here: how urgent that is ([`crate::domain::expiry`]), and the Director's timestamps, snapshots
//! and targets, which are signed anew for each poll.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use waxwing_tuf::Time;

use crate::app::App;
use crate::domain::expiry::{Expiry, Level, Renewal, Told};
use crate::pki::{Authority, Pki, peer};
use crate::publish::pinned;
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
    expiries
        .extend(app.repositories.all().into_iter().flat_map(|(name, files)| pins(&name, &files)));
    let renewal = Renewal::People;
    let server = "certificate/server".to_owned();
    expiries.push(Expiry { subject: server, ends_ms: app.tls.expires_ms(), renewal });
    // Without a list it is as late as can be.
    let ends_ms = app.crl.ends_ms().unwrap_or(0);
    let crl = "crl/device-ca".to_owned();
    expiries.push(Expiry { subject: crl, ends_ms, renewal: Renewal::Daily });
    expiries.sort_by(|one, other| one.subject.cmp(&other.subject));
    expiries
}

fn metadata(repositories: &Repositories) -> Vec<Expiry> {
    let of_files = |(repository, files): (String, Arc<Files>)| {
        let roles = files.in_force().filter_map(|(role, bytes)| {
            let (subject, ends_ms) = (format!("{repository}/{role}"), expires_ms(bytes)?);
            Some(Expiry { subject, ends_ms, renewal: Renewal::People })
        });
        roles.collect::<Vec<_>>()
    };
    repositories.all().into_iter().flat_map(of_files).collect()
}

/// The certificates by which devices of a product know their server, in their order.
fn pins(repository: &str, files: &Files) -> Vec<Expiry> {
    let product = repository.strip_prefix("image/").unwrap_or(repository);
    let pins = files.pins().map(|pins| pinned(&pins.bytes)).unwrap_or_default();
    let pins = (1..).zip(&pins).map(|(number, pin): (u32, _)| Expiry {
        subject: format!("pins/{product}/{number}"),
        // One that cannot be read is of no use to anybody.
        ends_ms: peer::not_after_ms(pin).unwrap_or(0),
        renewal: Renewal::People,
    });
    pins.collect()
}

fn authorities(pki: &Pki) -> Vec<Expiry> {
    let authority = |subject: &str, authority: &Authority| {
        let ends_ms = peer::not_after_ms(authority.certificate())?;
        Some(Expiry { subject: subject.to_owned(), ends_ms, renewal: Renewal::People })
    };
    let authorities = [
        authority("certificate/device-ca", &pki.device),
        authority("certificate/operator-ca", &pki.operator),
        authority("certificate/server-ca", &pki.server()),
    ];
    let previous = pki.previous_device.as_ref();
    let previous = previous.and_then(|it| authority("certificate/device-ca-previous", it));
    authorities.into_iter().flatten().chain(previous).collect()
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
