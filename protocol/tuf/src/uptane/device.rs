//! What a device is, and which images it may run whatever anyone says.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::install::{ImagePath, Match};
use crate::json::Value;
use crate::refusal::Cause;
use crate::role::Listed;

/// The kind of image that goes into an OTA slot.
const KIND: &str = "app";

/// A device's own description. All of it comes from provisioning or from the running firmware, never
/// from a server (D7).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// Its identity, the one in its certificate.
    pub id: String,
    /// The product it is one of; names its Image repository.
    pub product: String,
    /// The channels it accepts releases of.
    pub channels: Vec<String>,
    /// Its hardware revision.
    pub hardware: String,
    /// Its chip, such as `esp32c3`.
    pub chip: String,
    /// Length of an OTA slot in bytes.
    pub slot_bytes: u64,
    /// The lowest security version it still takes: the greater of what is stored and what is compiled
    /// into the running firmware (D2).
    pub security_version: u32,
    /// From what its eFuses say to what they can count to.
    pub secure_versions: RangeInclusive<u32>,
}

impl Device {
    /// Checks what may be checked before the Image repository is asked.
    pub(super) fn check(&self, listed: &Listed) -> Result<(), Cause> {
        let path = ImagePath::parse(&listed.path)?;
        let matched = Match::of(listed)?;
        let is_mine = |value: Value<'_>| value.as_plain() == Some(self.hardware.as_str());
        let hardware = matched.hardware.elements().ok_or(Cause::BadField("match"))?;
        let is_accepted = |channel: &String| channel == path.channel;
        let rules = [
            (path.product == self.product, Cause::WrongProduct),
            (self.channels.iter().any(is_accepted), Cause::WrongChannel),
            (path.version == matched.version && path.chip == matched.chip, Cause::WrongPath),
            (matched.kind == KIND, Cause::WrongKind),
            (matched.chip == self.chip, Cause::WrongChip),
            (hardware.into_iter().any(is_mine), Cause::WrongHardware),
            ((1..=self.slot_bytes).contains(&listed.length), Cause::SlotTooSmall),
            // D2: lower is refused, equal is allowed.
            (matched.security_version >= self.security_version, Cause::SecurityVersionTooLow),
            (
                self.secure_versions.contains(&matched.secure_version),
                Cause::SecureVersionOutOfRange,
            ),
        ];
        rules.into_iter().find(|(is_kept, _)| !is_kept).map_or(Ok(()), |(_, cause)| Err(cause))
    }
}
