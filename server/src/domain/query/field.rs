//! The fields that a query may ask for, under our names and hawkBit's.

use super::{Cause, is_key};

/// What can be known of a device.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Field {
    /// The attribute of this key: what an operator said of the device, or else it of itself.
    Attribute(String),
    /// When it was registered.
    CreatedAt,
    /// Its name.
    Device,
    /// What it is.
    Product,
    /// Whether it may talk to us.
    Status,
    /// The keys of its tags.
    Tag,
    /// What the tag of this key says.
    TagValue(String),
    /// Release that it said to run when it last polled.
    Version,
}

/// What is said of the fields when one is unknown.
pub(super) const FIELDS: &str = "device (id, controllerid, name), product (targettype), status, tag, tag.KEY \
                                 (metadata.KEY), attribute.KEY, version (installedds.version), createdat";

/// hawkBit's fields that change while an update goes on, or with every poll.
const FLEETING: [&str; 5] = [
    "assignedds.name",
    "assignedds.version",
    "lastcontrollerrequestat",
    "lastseen",
    "updatestatus",
];

impl Field {
    /// Finds a field by its name, in any case; the case of keys counts.
    pub(super) fn parse(text: &str) -> Result<Self, Cause> {
        let lower = text.to_ascii_lowercase();
        let key =
            |prefix: &str| lower.starts_with(prefix).then(|| text.get(prefix.len()..)).flatten();
        if let Some(key) = key("attribute.") {
            return checked(key).map(Self::Attribute);
        }
        if let Some(key) = key("tag.").or_else(|| key("metadata.")) {
            return checked(key).map(Self::TagValue);
        }
        match lower.as_str() {
            "controllerid" | "device" | "id" | "name" => Ok(Self::Device),
            "createdat" => Ok(Self::CreatedAt),
            "installedds.version" | "version" => Ok(Self::Version),
            "product" | "targettype" | "targettype.key" | "targettype.name" => Ok(Self::Product),
            "status" => Ok(Self::Status),
            "tag" => Ok(Self::Tag),
            "attribute" | "metadata" => Err(Cause::KeyMissing),
            fleeting if FLEETING.contains(&fleeting) => Err(Cause::Fleeting(lower)),
            _ => Err(Cause::UnknownField(text.to_owned())),
        }
    }

    /// Returns our name of it, without the key.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Attribute(_) => "attribute",
            Self::CreatedAt => "createdat",
            Self::Device => "device",
            Self::Product => "product",
            Self::Status => "status",
            Self::Tag | Self::TagValue(_) => "tag",
            Self::Version => "version",
        }
    }

    /// Tells whether what is in it comes before or after something else.
    pub(super) const fn is_ordered(&self) -> bool {
        match self {
            Self::Attribute(_) | Self::CreatedAt | Self::TagValue(_) | Self::Version => true,
            Self::Device | Self::Product | Self::Status | Self::Tag => false,
        }
    }
}

fn checked(key: &str) -> Result<String, Cause> {
    if key.is_empty() {
        return Err(Cause::KeyMissing);
    }
    if is_key(key) { Ok(key.to_owned()) } else { Err(Cause::InvalidKey) }
}
