//! A release: what the signed role files of a product list, and whether any device could take it.
//!
//! Not here: signatures. A [`Release`] is made from metadata that the device's own verifier let
//! through.

use semver::Version;
use waxwing_tuf::author::Match;
use waxwing_tuf::uptane::ceiling_rank;
use waxwing_wire::{Channel, DeviceId, Digest, Hardware, ProductId};

use super::Product;

/// A version of a product's firmware in one channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Release {
    /// Whose firmware it is.
    pub product: ProductId,
    /// The channel whose role lists it.
    pub channel: Channel,
    /// Its version, as signed.
    pub version: Version,
    /// Its path in the Image repository: `<product>/<channel>/<version>/<chip>.bin`.
    pub path: String,
    /// Hash of the image.
    pub sha256: Digest,
    /// Length of the image in bytes.
    pub length: u64,
    /// What Director and Image repository must say alike.
    pub r#match: Match,
    /// How many of a thousand devices may install it at most (D10); `None`: all.
    pub ceiling_permille: Option<u16>,
    /// Hash of the list of the image's chunks (D8): what the server says about the bytes, not what was
    /// signed about the release.
    pub chunks: Option<Digest>,
    /// Whether the signed role still lists it. If not, it is installed nowhere any more.
    pub listed: bool,
    /// When it was listed or delisted, in Unix milliseconds (D3).
    pub changed_at: u64,
}

impl Release {
    /// Checks that some device of the product could install the release.
    ///
    /// # Errors
    ///
    /// The first reason why every device would refuse it.
    pub fn check_against(&self, product: &Product) -> Result<(), Unacceptable> {
        let Match { chip, hw, kind, secure_version, .. } = &self.r#match;
        let expected = self.expected_path(product);
        if self.path != expected {
            return Err(Unacceptable::Path { path: self.path.clone(), expected });
        }
        let expected = product.chip.as_str();
        if chip != expected {
            return Err(Unacceptable::Chip { found: chip.clone(), expected });
        }
        if kind != "app" {
            return Err(Unacceptable::Kind { found: kind.clone() });
        }
        let fits = |revision: &Hardware| hw.iter().any(|name| name == revision.as_str());
        if !product.hardware.iter().any(fits) {
            return Err(Unacceptable::Hardware);
        }
        let slot_bytes = product.slot_bytes;
        if self.length > u64::from(slot_bytes) {
            return Err(Unacceptable::TooLarge { length: self.length, slot_bytes });
        }
        let max = product.chip.secure_version_max();
        if *secure_version > max {
            return Err(Unacceptable::SecureVersion { found: *secure_version, max });
        }
        Ok(())
    }

    /// Tells whether a device may install the release as far as its ceiling goes (D10). Each device
    /// decides that by the same function; who is above is not even asked.
    pub fn is_open_to(&self, device: &DeviceId) -> bool {
        let is_below = |ceiling: u16| ceiling_rank(device.as_str(), &self.path) < ceiling;
        self.ceiling_permille.is_none_or(is_below)
    }

    fn expected_path(&self, product: &Product) -> String {
        let Self { channel, r#match, .. } = self;
        format!("{}/{channel}/{}/{}.bin", product.id, r#match.version, product.chip.as_str())
    }
}

/// Why no device of a product could install a release.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unacceptable {
    /// For another chip.
    #[error("it is for {found}, the product has {expected}")]
    Chip {
        /// As the metadata says.
        found: String,
        /// The chip of the product.
        expected: &'static str,
    },
    /// For hardware that the product does not have.
    #[error("it is for none of the product's hardware revisions")]
    Hardware,
    /// No application image.
    #[error("its kind is {found:?}, devices install \"app\"")]
    Kind {
        /// As the metadata says.
        found: String,
    },
    /// Devices look for another path.
    #[error("its path is {path:?}, devices expect {expected:?}")]
    Path {
        /// As the metadata says.
        path: String,
        /// What its `match` object amounts to.
        expected: String,
    },
    /// More than the eFuses can count.
    #[error("its secure_version is {found}, the chip counts to {max}")]
    SecureVersion {
        /// As the metadata says.
        found: u32,
        /// What the chip can count.
        max: u32,
    },
    /// Larger than the slot.
    #[error("it has {length} bytes, the slot {slot_bytes}")]
    TooLarge {
        /// Of the image, in bytes.
        length: u64,
        /// Of the slot, in bytes.
        slot_bytes: u32,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    use waxwing_esp_image::Chip;
    use waxwing_wire::Hardware;

    use super::*;
    use crate::domain::document::Required;
    use crate::domain::product::{ProjectRule, SecureBoot, VersionRule};

    pub(crate) fn product() -> Product {
        Product {
            id: ProductId::parse("th1").unwrap(),
            chip: Chip::Esp32c3,
            hardware: vec![Hardware::parse("r1").unwrap()],
            channels: vec![Channel::parse("stable").unwrap()],
            slot_bytes: 1 << 20,
            image_version: VersionRule::Match,
            image_project: ProjectRule::Ignore,
            secure_boot: SecureBoot::default(),
            required_documents: Required::new(),
            builders: Vec::new(),
            created_at: 0,
        }
    }

    pub(crate) fn release(version: &str) -> Release {
        let version = Version::parse(version).unwrap();
        Release {
            product: product().id,
            channel: Channel::parse("stable").unwrap(),
            path: format!("th1/stable/{version}/esp32c3.bin"),
            sha256: Digest([7; 32]),
            length: 1 << 19,
            r#match: Match {
                chip: "esp32c3".into(),
                hw: vec!["r1".into()],
                kind: "app".into(),
                secure_version: 0,
                security_version: 1,
                version: version.clone(),
            },
            version,
            ceiling_permille: None,
            chunks: None,
            listed: true,
            changed_at: 0,
        }
    }

    #[test]
    fn a_release_that_fits_is_taken() {
        assert_eq!(release("1.1.0").check_against(&product()), Ok(()));
    }

    #[track_caller]
    fn check_refused(spoil: impl FnOnce(&mut Release), reason: &str) {
        let mut release = release("1.1.0");
        spoil(&mut release);
        let refusal = release.check_against(&product()).unwrap_err().to_string();
        assert!(refusal.contains(reason), "{refusal}");
    }

    #[test]
    fn a_release_that_no_device_could_install_is_refused_with_the_reason() {
        check_refused(|r| r.path = "th1/stable/1.1.0/../x.bin".into(), "its path");
        check_refused(|r| r.r#match.version = Version::new(9, 0, 0), "its path");
        check_refused(|r| r.r#match.chip = "esp32".into(), "it is for esp32");
        check_refused(|r| r.r#match.kind = "bootloader".into(), "its kind");
        check_refused(|r| r.r#match.hw = vec!["r9".into()], "hardware");
        check_refused(|r| r.length = (1 << 20) + 1, "the slot 1048576");
        check_refused(|r| r.r#match.secure_version = 99, "the chip counts to");
    }
}
