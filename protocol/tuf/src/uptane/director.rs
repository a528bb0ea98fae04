//! What a Director may say, and to whom.

use super::Device;
use super::server_ca::SERVER_CA_PATH;
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

/// What the Director wants of this device.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// The image it should run.
    pub(super) image: Option<Verified<Listed>>,
    /// The certificates by which it should know its server.
    pub(super) server_ca: Option<Verified<Listed>>,
}

/// What the Director names for this device, if anything: at most one image (Uptane 2.1, 5.4.4.5), and
/// the pins of the server's CA.
pub(super) fn choice(targets: &Verified<Targets>, device: &Device) -> Result<Choice, Cause> {
    if targets.delegates() {
        return Err(Cause::DirectorDelegates);
    }
    // An empty list names its device too, or it could be replayed to any other.
    require_device(targets.custom(), device)?;
    if targets.targets().count() > DIRECTOR_TARGETS_MAX {
        return Err(Cause::TooManyTargets);
    }
    let mut choice = Choice::default();
    for (path, target) in targets.targets() {
        require_device(target.custom, device)?;
        let path = path.as_plain().ok_or(Cause::WrongPath)?;
        let named = if path == SERVER_CA_PATH { &mut choice.server_ca } else { &mut choice.image };
        // JSON that we read names no member twice, so this can only be a second image.
        if named.is_some() {
            return Err(Cause::DeviceNamedTwice);
        }
        *named = targets.listed("targets", path);
    }
    Ok(choice)
}

fn require_device(custom: Option<Value<'_>>, device: &Device) -> Result<(), Cause> {
    let named = custom.and_then(|custom| custom.field("device")?.as_plain());
    match named {
        Some(named) if named == device.id => Ok(()),
        Some(_) => Err(Cause::WrongDevice),
        None => Err(Cause::BadField("custom")),
    }
}
