//! The checks that need nothing but the message, the time and the keys of its device: fields, sender,
//! freshness, signature.
//!
//! Not here: whether the id was used before; that is asked of the message log.

use sha2::{Digest as _, Sha256};
use waxwing_wire::envelope::{Envelope, Header};
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, Digest, existing};

use super::{FRESH_S, Refused, SIGNED_BY_SECRET, signature};
use crate::domain::device::{Certificate, Keys};
use crate::message_secrets::{Secret, Vault};

/// How a message came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way<'a> {
    /// From its device, which has shown its certificate.
    Direct,
    /// Through a broker, which is not believed, and may have kept it for so many seconds.
    Broker {
        /// Seconds since it was sent, at most.
        kept_s: u64,
    },
    /// Through a broker, and another process of this server has checked the signature.
    Vouched {
        /// Seconds since it was sent, at most.
        kept_s: u64,
        /// What made the signature: the serial number of a certificate, or [`SIGNED_BY_SECRET`].
        signed_by: &'a str,
    },
}

impl Way<'_> {
    const fn kept_s(self) -> u64 {
        match self {
            Self::Direct => FRESH_S,
            Self::Broker { kept_s } | Self::Vouched { kept_s, .. } => kept_s,
        }
    }
}

/// A message that passed the checks that need no database.
#[derive(Clone, Debug)]
pub struct Genuine<'a> {
    /// It, taken apart.
    pub envelope: Envelope<'a>,
    /// Hash of its payload.
    pub payload_sha256: Digest,
    /// What made the signature: the serial number of a certificate, or [`SIGNED_BY_SECRET`].
    pub signed_by: String,
}

/// Checks a message of a device; `keys` is asked for once the message is worth it.
///
/// # Errors
///
/// [`Refused`] says why it is not genuine.
pub fn check<'a>(
    vault: &Vault,
    device: &DeviceId,
    keys: impl FnOnce() -> Option<Keys>,
    (kind, bytes): (Kind, &'a [u8]),
    way: Way<'_>,
    now_ms: u64,
) -> Result<Genuine<'a>, Refused> {
    let envelope = Envelope::parse(bytes)?;
    let keys = sender(device, keys, &envelope.header, way, now_ms)?;
    let signed_by = match way {
        Way::Broker { .. } | Way::Direct => signed_by(vault, device, &keys, kind, &envelope)?,
        Way::Vouched { signed_by, .. } => vouched(&keys, kind, signed_by)?.to_owned(),
    };
    if way != Way::Direct && is_over(&keys, &signed_by, now_ms) {
        return Err(Refused::Signature);
    }
    let payload_sha256 = Digest(Sha256::digest(envelope.payload).into());
    Ok(Genuine { envelope, payload_sha256, signed_by })
}

/// Checks a poll of a device that somebody else carried.
///
/// # Errors
///
/// [`Refused`] says why it is not genuine.
pub(super) fn check_poll(
    device: &DeviceId,
    keys: impl FnOnce() -> Option<Keys>,
    envelope: &Envelope<'_>,
    now_ms: u64,
) -> Result<(), Refused> {
    let keys = sender(device, keys, &envelope.header, Way::Direct, now_ms)?;
    let prefix = envelope.header.signed_prefix_of_poll();
    signer(&keys.certificates, &prefix, envelope).map(drop).ok_or(Refused::Signature)
}

/// Checks who speaks and when, and returns its keys.
fn sender(
    device: &DeviceId,
    keys: impl FnOnce() -> Option<Keys>,
    header: &Header,
    way: Way<'_>,
    now_ms: u64,
) -> Result<Keys, Refused> {
    if header.device_id != *device {
        return Err(Refused::WrongSender);
    }
    if !is_fresh(header.timestamp, way, now_ms / 1000) {
        return Err(Refused::Stale);
    }
    keys().ok_or(Refused::WrongSender)
}

/// A message may be late by as much as the way takes; nobody sends from the future.
const fn is_fresh(sent_s: u64, way: Way<'_>, now_s: u64) -> bool {
    sent_s <= now_s.saturating_add(FRESH_S) && now_s <= sent_s.saturating_add(way.kept_s())
}

/// Tells whether a message may have come before, and its id be forgotten: no clock of a device that was
/// believed was further ahead. Ids are kept for longer than copies are fresh, so it says yes only of what a
/// broker keeps for longer than it did. What was received in the future, our clock was wrong about: to believe
/// it would refuse everything until then.
pub(super) const fn may_be_forgotten(sent_s: u64, forgotten_ms: u64, now_ms: u64) -> bool {
    forgotten_ms <= now_ms && sent_s <= (forgotten_ms / 1000).saturating_add(FRESH_S)
}

/// Tells whether the life of a certificate is over: what a connection would have shown.
fn is_over(keys: &Keys, signed_by: &str, now_ms: u64) -> bool {
    let certificate = keys.certificates.iter().find(|it| it.serial == signed_by);
    certificate.is_some_and(|certificate| certificate.expires_at <= now_ms)
}

/// Checks the signature: by what, the record of the device says and never the message (D23). With a
/// secret, the signed text does not say what the message is about, so it is telemetry only.
fn signed_by(
    vault: &Vault,
    device: &DeviceId,
    keys: &Keys,
    kind: Kind,
    envelope: &Envelope<'_>,
) -> Result<String, Refused> {
    match &keys.message_secret {
        Some(sealed) if kind == Kind::Telemetry => {
            let text = existing::signed_text(envelope)?;
            let secret = vault.open(device, sealed);
            let made = |secret: Secret| secret.made(&envelope.signature, &text);
            let genuine = secret.is_some_and(made);
            genuine.then(|| SIGNED_BY_SECRET.to_owned()).ok_or(Refused::Signature)
        }
        Some(_) | None => {
            let prefix = envelope.header.signed_prefix(kind);
            let serial = signer(&keys.certificates, &prefix, envelope);
            Ok(serial.ok_or(Refused::Signature)?.to_owned())
        }
    }
}

/// Checks that a device still signs with what another process found.
fn vouched<'a>(keys: &Keys, kind: Kind, signed_by: &'a str) -> Result<&'a str, Refused> {
    let is_good = if signed_by == SIGNED_BY_SECRET {
        kind == Kind::Telemetry && keys.message_secret.is_some()
    } else {
        let by_key = keys.message_secret.is_none() || kind != Kind::Telemetry;
        by_key && keys.certificates.iter().any(|it| it.serial == signed_by)
    };
    is_good.then_some(signed_by).ok_or(Refused::Signature)
}

/// Returns the serial number of the certificate whose key made the signature (D25). During a
/// renewal a device has two.
fn signer<'a>(
    certificates: &'a [Certificate],
    prefix: &str,
    envelope: &Envelope<'_>,
) -> Option<&'a str> {
    let made_it = |spki: &[u8]| verifies(spki, prefix, envelope);
    certificates.iter().find(|c| made_it(&c.spki)).map(|c| c.serial.as_str())
}

/// Tells whether the key made the signature of a message: the algorithm is the key's, never the
/// message's (D23).
pub(crate) fn verify(spki: &[u8], kind: Kind, envelope: &Envelope<'_>) -> bool {
    verifies(spki, &envelope.header.signed_prefix(kind), envelope)
}

fn verifies(spki: &[u8], prefix: &str, envelope: &Envelope<'_>) -> bool {
    let signed = [prefix.as_bytes(), envelope.payload.as_bytes()];
    signature::is_of(spki, &signed, &envelope.signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::device::CertificateStatus;

    #[test]
    fn a_message_may_be_as_old_as_its_way_takes_and_never_from_the_future() {
        let now = 1_000_000;
        let through = Way::Broker { kept_s: 3600 };
        for (sent, direct, kept) in [
            (now, true, true),
            (now - FRESH_S, true, true),
            (now - FRESH_S - 1, false, true),
            (now - 3600, false, true),
            (now - 3601, false, false),
            (now + FRESH_S, true, true),
            (now + FRESH_S + 1, false, false),
            (u64::MAX, false, false),
        ] {
            assert_eq!(is_fresh(sent, Way::Direct, now), direct, "{sent}");
            assert_eq!(is_fresh(sent, through, now), kept, "{sent}");
        }
    }

    #[test]
    fn what_another_process_found_counts_only_while_the_device_still_signs_with_it() {
        let certificate = Certificate {
            serial: "0a".to_owned(),
            spki: Vec::new(),
            status: CertificateStatus::Current,
            expires_at: 10,
        };
        let by_key = Keys { certificates: vec![certificate], message_secret: None };
        let by_secret = Keys { message_secret: Some(Vec::new()), ..by_key.clone() };
        for (keys, kind, signed_by, is_good) in [
            (&by_key, Kind::Telemetry, "0a", true),
            (&by_key, Kind::Telemetry, "0b", false),
            (&by_key, Kind::Telemetry, SIGNED_BY_SECRET, false),
            (&by_secret, Kind::Telemetry, SIGNED_BY_SECRET, true),
            (&by_secret, Kind::Telemetry, "0a", false),
            (&by_secret, Kind::Report, SIGNED_BY_SECRET, false),
            (&by_secret, Kind::Report, "0a", true),
        ] {
            assert_eq!(vouched(keys, kind, signed_by).is_ok(), is_good, "{kind} {signed_by}");
        }
        assert!(!is_over(&by_key, "0a", 9) && is_over(&by_key, "0a", 10));
        assert!(!is_over(&by_secret, SIGNED_BY_SECRET, 10));
    }
}
