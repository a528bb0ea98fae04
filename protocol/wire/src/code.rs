//! Why a deployment failed: numbers for devices, names for people.
//!
//! Hundreds are rooms: 1xx trust, 2xx policy, 3xx download, 4xx image and flash, 5xx boot and
//! self-test, 6xx contact with the server. A number, once given, keeps its meaning for ever;
//! a number this build does not know is carried along and called `unknown`.

use core::fmt;

/// A numeric error code of a [`crate::report::Report`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(transparent))]
pub struct ErrorCode(pub u16);

macro_rules! codes {
    ($($number:literal $constant:ident $name:literal $meaning:literal;)*) => {
        impl ErrorCode {
            $(#[doc = $meaning] pub const $constant: Self = Self($number);)*

            /// Every code with a name, in order: number, name, meaning.
            pub const ALL: &[(Self, &'static str, &'static str)] =
                &[$((Self::$constant, $name, $meaning)),*];
        }
    };
}

codes! {
    0 NONE "none" "Nothing went wrong.";
    100 TRUST_MALFORMED "trust_malformed" "Metadata is not what the specification says it looks like.";
    101 TRUST_SIGNATURES "trust_signatures" "Too few of the right keys signed.";
    102 TRUST_EXPIRED "trust_expired" "Metadata expired before the attested time.";
    103 TRUST_ROLLBACK "trust_rollback" "Metadata is older than what this device has seen.";
    104 TRUST_REPOSITORY "trust_repository" "Metadata belongs to another repository.";
    105 TRUST_MISMATCH "trust_mismatch" "Director and Image repository disagree about the image.";
    106 TRUST_UNLISTED "trust_unlisted" "The Image repository does not list the image.";
    107 TRUST_NONCE "trust_nonce" "The answer does not belong to this device's question.";
    108 TRUST_TIME "trust_time" "The attested time lies before a time this device knows has passed.";
    109 TRUST_DEVICE "trust_device" "The decision is for another device.";
    110 TRUST_SIZE "trust_size" "Metadata is larger than its limit.";
    111 TRUST_INCOMPLETE "trust_incomplete" "A metadata file is missing from the answer.";
    112 TRUST_DELEGATION "trust_delegation" "A delegation is not allowed or leads too far.";
    113 TRUST_COMMAND "trust_command" "A command is replayed, expired or not for this device.";
    200 POLICY_PRODUCT "policy_product" "The release is for another product.";
    201 POLICY_CHANNEL "policy_channel" "This device does not accept the channel.";
    202 POLICY_HARDWARE "policy_hardware" "The release is for other hardware.";
    203 POLICY_CHIP "policy_chip" "The release is for another chip.";
    204 POLICY_SECURITY_VERSION "policy_security_version" "The security version is lower than the device's.";
    205 POLICY_SLOT "policy_slot" "The image is larger than the slot.";
    206 POLICY_ATTEMPTS "policy_attempts" "This image was tried too often.";
    207 POLICY_KIND "policy_kind" "The target is no application image.";
    208 POLICY_CEILING "policy_ceiling" "The release is for a share of the devices that this one is not in.";
    300 DOWNLOAD_STATUS "download_status" "The server refused the download.";
    301 DOWNLOAD_RANGE "download_range" "The server sent another range than asked for.";
    302 DOWNLOAD_STALLED "download_stalled" "The download was slower than the minimum rate.";
    303 DOWNLOAD_TRUNCATED "download_truncated" "The download ended early.";
    304 DOWNLOAD_HASH "download_hash" "What was downloaded is not the signed image.";
    400 IMAGE_MALFORMED "image_malformed" "The image is no application image.";
    401 IMAGE_CHIP "image_chip" "The image's header names another chip.";
    402 IMAGE_VERSION "image_version" "The image's descriptor has another version than the release.";
    403 IMAGE_PROJECT "image_project" "The image's descriptor names another project.";
    404 IMAGE_SECURE_VERSION "image_secure_version" "The image's secure version is not the signed one or below the eFuse.";
    405 FLASH_WRITE "flash_write" "Writing or erasing flash failed.";
    406 FLASH_REREAD "flash_reread" "The image read back from flash is not the signed image.";
    500 BOOT_REJECTED "boot_rejected" "The boot loader did not start the image.";
    501 BOOT_RESET "boot_reset" "The image was reset before it confirmed itself.";
    502 SELF_TEST "self_test" "The image failed its self-test.";
    503 TRIAL_TIMEOUT "trial_timeout" "The image did not prove itself in time.";
    504 SOAK_RESETS "soak_resets" "The image was reset too often while it soaked.";
    505 GONE_BACK "gone_back" "The device polls with another image than the one that it was healthy with.";
    600 NO_CONTACT "no_contact" "The new image could not reach the server (D18).";
}

impl ErrorCode {
    /// Returns the name of the code, or `unknown`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(code, ..)| *code == self).map_or("unknown", |(_, name, _)| name)
    }

    /// Tells whether the image never came, for want of a network or a server: another try may end
    /// otherwise. One that came whole and is another has been fetched often enough.
    pub fn is_network(self) -> bool {
        (Self::DOWNLOAD_STATUS..=Self::DOWNLOAD_TRUNCATED).contains(&self)
    }

    /// Tells whether the code means that nothing went wrong.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_names_are_unique() {
        for pair in ErrorCode::ALL.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} is out of order", pair[1].1);
        }
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|(_, name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorCode::ALL.len());
    }

    #[test]
    fn the_network_is_to_blame_for_what_never_came_and_for_nothing_else() {
        let network = ErrorCode::ALL.iter().filter(|(code, ..)| code.is_network());
        let names: Vec<_> = network.map(|(_, name, _)| *name).collect();
        let expected =
            ["download_status", "download_range", "download_stalled", "download_truncated"];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_number_from_a_newer_device_is_carried_along() {
        assert_eq!(ErrorCode(9999).to_string(), "9999 unknown");
        assert_eq!(ErrorCode::SELF_TEST.to_string(), "502 self_test");
    }
}
