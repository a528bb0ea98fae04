//! A device: an identity, its certificates, and what is said of it.
//!
//! Tags are an operator's alone. Attributes come from operators and from the device; where both say
//! something, the operator's word counts.
//!
//! ```text
//! registered --first certificate--> active --revoke--> revoked
//!      \_______________revoke__________________________/
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use semver::Version;
use waxwing_wire::{DeviceId, ProductId};

use super::query::{Facts, Field, Subject, is_key};
use super::words;

/// Most tags of a device: enough for site, customer, ring and a few more.
pub const TAGS_MAX: usize = 16;
/// Longest value of a tag in bytes.
pub const TAG_BYTES_MAX: usize = 64;

/// Most attributes of a device from one side: what hardware and place say, not measurements.
pub const ATTRIBUTES_MAX: usize = 32;
/// Longest value of an attribute in bytes: a URL without its query.
pub const ATTRIBUTE_BYTES_MAX: usize = 128;

/// What an operator calls a device by, such as `canary`, or with a value `site = berlin`.
pub type Tags = BTreeMap<String, String>;

/// What is known of a device by keys, from two sides.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes {
    /// What operators say.
    pub given: BTreeMap<String, String>,
    /// What the device says of itself.
    pub reported: BTreeMap<String, String>,
}

/// A device as the server knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// Its name, also the CN of its certificates.
    pub id: DeviceId,
    /// What it is.
    pub product: ProductId,
    /// What operators call it by.
    pub tags: Tags,
    /// What else is known of it.
    pub attributes: Attributes,
    /// Release that it said to run when it last polled, up to a second ago.
    pub version: Option<Arc<Version>>,
    /// Whether it may talk to us.
    pub status: Status,
    /// When it was registered, in Unix milliseconds.
    pub created_at: u64,
    /// When tags, attributes, version, status or an answer made anew last changed what it should run
    /// (D3), in Unix milliseconds.
    pub changed_at: u64,
    /// The certificates it may use: the current one, and the one issued last if it has not been
    /// used yet (D13).
    pub certificates: Vec<Certificate>,
    /// The secret with which it signs its telemetry, sealed (D23); without one it signs all messages
    /// with the key of its certificate.
    pub message_secret: Option<Vec<u8>>,
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

/// With what a device signs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Keys {
    /// The certificates it may use.
    pub certificates: Vec<Certificate>,
    /// The secret with which it signs its telemetry, sealed.
    pub message_secret: Option<Vec<u8>>,
}

/// The tag that names a device's time zone, such as `Europe/Berlin` (IANA).
pub const TIME_ZONE_TAG: &str = "timezone";

impl Device {
    /// Returns the time zone in which its maintenance windows are meant; without a tag, UTC.
    pub fn zone(&self) -> TimeZone {
        zone_named(self.tags.get(TIME_ZONE_TAG).map(String::as_str))
    }

    /// Returns what it is to be called by as its time zone, if there is no such zone.
    pub fn unknown_zone(&self) -> Option<&str> {
        let name = self.tags.get(TIME_ZONE_TAG)?;
        TimeZone::get(name).is_err().then_some(name)
    }

    /// Returns with what it signs.
    pub fn into_keys(self) -> Keys {
        Keys { certificates: self.certificates, message_secret: self.message_secret }
    }

    /// Returns the certificate with this serial number, if the device may use it.
    pub fn certificate(&self, serial: &str) -> Option<&Certificate> {
        self.certificates.iter().find(|certificate| certificate.serial == serial)
    }
}

/// Returns the time zone of this name; without one, UTC.
pub fn zone_named(name: Option<&str>) -> TimeZone {
    name.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC)
}

impl Attributes {
    /// Returns what is known under a key.
    pub fn of(&self, key: &str) -> Option<&str> {
        self.given.get(key).or_else(|| self.reported.get(key)).map(String::as_str)
    }

    /// Returns everything that is known, once for each key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let overruled = |key: &String| self.given.contains_key(key);
        let reported = self.reported.iter().filter(move |(key, _)| !overruled(key));
        self.given.iter().chain(reported).map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl Facts for Device {
    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn product(&self) -> &str {
        self.product.as_str()
    }

    fn fact(&self, field: &Field) -> Option<Subject<'_>> {
        match field {
            Field::Attribute(key) => self.attributes.of(key).map(Subject::Text),
            Field::CreatedAt => Some(Subject::Time(self.created_at)),
            Field::Device => Some(Subject::Text(self.id.as_str())),
            Field::Product => Some(Subject::Text(self.product.as_str())),
            Field::Status => Some(Subject::Text(self.status.as_str())),
            Field::Tag => None,
            Field::TagValue(key) => self.tags.get(key).map(|value| Subject::Text(value)),
            Field::Version => self.version.as_deref().map(Subject::Version),
        }
    }

    fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Tells whether tags are few and short, and queries can ask for them.
pub fn are_tags(tags: &Tags) -> bool {
    are_labels(tags, TAGS_MAX, TAG_BYTES_MAX)
}

/// Tells whether the attributes of one side are few and short, and queries can ask for them.
pub fn are_attributes(attributes: &BTreeMap<String, String>) -> bool {
    are_labels(attributes, ATTRIBUTES_MAX, ATTRIBUTE_BYTES_MAX)
}

fn are_labels(labels: &BTreeMap<String, String>, max: usize, bytes_max: usize) -> bool {
    let is_value = |text: &str| text.len() <= bytes_max && !text.contains(char::is_control);
    labels.len() <= max && labels.iter().all(|(key, value)| is_key(key) && is_value(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_a_device_says_of_itself_never_overrules_an_operator() {
        let attributes = Attributes {
            given: map(&[("region", "eu")]),
            reported: map(&[("region", "us"), ("cells", "12")]),
        };
        assert_eq!((attributes.of("region"), attributes.of("cells")), (Some("eu"), Some("12")));
        assert_eq!(attributes.iter().collect::<Vec<_>>(), [("region", "eu"), ("cells", "12")]);
    }

    #[test]
    fn tags_and_attributes_are_few_and_short_and_can_be_asked_for() {
        let long = |bytes| "x".repeat(bytes);
        assert!(are_tags(&map(&[("canary", ""), ("a.b_c-d:e@f+g", &long(TAG_BYTES_MAX))])));
        assert!(are_attributes(&map(&[("k", &long(ATTRIBUTE_BYTES_MAX))])));
        assert!(!are_tags(&map(&[("k", &long(TAG_BYTES_MAX + 1))])));
        for key in ["", "a b", "a/b", "a=b", "ä", &long(65)] {
            assert!(!are_tags(&map(&[(key, "")])), "{key}");
        }
        assert!(!are_tags(&map(&[("k", "a\u{1b}[2J")])));
        let many: Tags = (0..=TAGS_MAX).map(|n| (n.to_string(), String::new())).collect();
        assert!(!are_tags(&many) && are_attributes(&many));
    }
}
