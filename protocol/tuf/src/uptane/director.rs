//! What a Director may say, and to whom.

use super::Device;
use crate::json::Value;
use crate::refusal::Cause;
use crate::role::{Attestation, Listed, Targets, Timestamp};
use crate::verify::Verified;

/// Most targets a Director may name: a device with several parts names one each.
pub const DIRECTOR_TARGETS_MAX: usize = 4;

/// The attestation in a Director's timestamp, which must be for this device and this poll.
pub(super) fn attestation<'t>(
    timestamp: &'t Timestamp,
    device: &Device,
    nonce: &[u8; 16],
) -> Result<&'t Attestation, Cause> {
    let attestation = timestamp.attestation.as_ref().ok_or(Cause::BadField("custom"))?;
    if attestation.device != device.id {
        return Err(Cause::WrongDevice);
    }
    if attestation.nonce != *nonce {
        return Err(Cause::WrongNonce);
    }
    Ok(attestation)
}

/// The one target the Director names for this device, if any (Uptane 2.1, 5.4.4.5).
pub(super) fn choice(
    targets: &Verified<Targets>,
    device: &Device,
) -> Result<Option<Verified<Listed>>, Cause> {
    if targets.delegates() {
        return Err(Cause::DirectorDelegates);
    }
    // An empty list names its device too, or it could be replayed to any other.
    require_device(targets.custom(), device)?;
    if targets.targets().count() > DIRECTOR_TARGETS_MAX {
        return Err(Cause::TooManyTargets);
    }
    let mut choice = None;
    for (path, target) in targets.targets() {
        require_device(target.custom, device)?;
        let path = path.as_plain().ok_or(Cause::WrongPath)?;
        if choice.replace(path).is_some() {
            return Err(Cause::DeviceNamedTwice);
        }
    }
    Ok(choice.and_then(|path| targets.listed("targets", path)))
}

fn require_device(custom: Option<Value<'_>>, device: &Device) -> Result<(), Cause> {
    let named = custom.and_then(|custom| custom.field("device")?.as_plain());
    match named {
        Some(named) if named == device.id => Ok(()),
        Some(_) => Err(Cause::WrongDevice),
        None => Err(Cause::BadField("custom")),
    }
}
