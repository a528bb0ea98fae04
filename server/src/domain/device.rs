//! A device: an identity, its certificates, its tags.
//!
//! ```text
//! registered --first certificate--> active --revoke--> revoked
//!      \_______________revoke__________________________/
//! ```

use std::collections::BTreeMap;

use waxwing_wire::{DeviceId, ProductId};

use super::words;

/// Most tags of a device: enough for site, customer, ring and a few more.
pub const TAGS_MAX: usize = 16;
/// Longest value of a tag in bytes.
pub const TAG_BYTES_MAX: usize = 64;

/// What an operator calls a device by, such as `site = berlin`.
pub type Tags = BTreeMap<String, String>;

/// A device as the server knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// Its name, also the CN of its certificates.
    pub id: DeviceId,
    /// What it is.
    pub product: ProductId,
    /// What operators call it by.
    pub tags: Tags,
    /// Whether it may talk to us.
    pub status: Status,
    /// When it was registered, in Unix milliseconds.
    pub created_at: u64,
    /// When tags, status or an answer made anew last changed what it should run (D3), in Unix
    /// milliseconds.
    pub changed_at: u64,
    /// The certificates it may use: the current one, and the one issued last if it has not been
    /// used yet (D13).
    pub certificates: Vec<Certificate>,
}

words!(
    /// Whether a device may talk to us.
    Status {
        /// Known, without a certificate.
        Registered "registered",
        /// Has a certificate.
        Active "active",
        /// Shut out for good.
        Revoked "revoked",
    }
);

/// A certificate of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// The public key as `SubjectPublicKeyInfo`, DER.
    pub spki: Vec<u8>,
    /// Where it stands.
    pub status: CertificateStatus,
    /// Its notAfter, in Unix milliseconds.
    pub expires_at: u64,
}

words!(
    /// Where a certificate stands (D13).
    CertificateStatus {
        /// In use.
        Current "current",
        /// Issued, not yet used; its first use makes it the current one.
        Next "next",
        /// Replaced by a newer one that was used.
        Old "old",
        /// Revoked with its device.
        Revoked "revoked",
    }
);

impl Device {
    /// Returns the certificate with this serial number, if the device may use it.
    pub fn certificate(&self, serial: &str) -> Option<&Certificate> {
        self.certificates.iter().find(|certificate| certificate.serial == serial)
    }
}
