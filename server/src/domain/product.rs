//! A product: what all its devices have in common.
//!
//! Not here: its keys. They are in the roots of its Image repository.

use semver::Version;
use waxwing_esp_image::Chip;
pub use waxwing_secure_boot::Policy as SecureBoot;
use waxwing_wire::{Channel, Hardware, ProductId};

use super::document::Required;
use super::words;

/// One kind of device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Product {
    /// Its name.
    pub id: ProductId,
    /// The chip of every device.
    pub chip: Chip,
    /// Hardware revisions in the field.
    pub hardware: Vec<Hardware>,
    /// Channels that releases come through.
    pub channels: Vec<Channel>,
    /// Size of the smallest OTA slot in bytes.
    pub slot_bytes: u32,
    /// Whether an image must carry the version of its release (D27).
    pub image_version: VersionRule,
    /// Whether an image must name the project (D27).
    pub image_project: ProjectRule,
    /// Its Secure Boot keys.
    pub secure_boot: SecureBoot,
    /// Documents that every release of a channel must come with.
    pub required_documents: Required,
    /// Who may have built a release, by the ids in provenance; anybody if empty.
    pub builders: Vec<String>,
    /// When it was made, in Unix milliseconds.
    pub created_at: u64,
}

words!(
    /// Whether the descriptor of an image must carry the version of its release (D27).
    VersionRule {
        /// Foreign images: the signed metadata alone says the version.
        Ignore "ignore",
        /// Both must be equal.
        Match "match",
    }
);

/// Whether the descriptor of an image must name a project (D27).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProjectRule {
    /// Foreign images: any project, or no descriptor.
    Ignore,
    /// This one.
    Named(String),
}

impl ProjectRule {
    /// Reads the word of a product definition: `ignore` or the name of a project.
    pub fn parse(word: &str) -> Self {
        if word == "ignore" { Self::Ignore } else { Self::Named(word.to_owned()) }
    }

    /// Returns the word of a product definition.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ignore => "ignore",
            Self::Named(project) => project,
        }
    }
}

impl Product {
    /// Returns the version that the descriptor of an image for this release must carry.
    pub fn descriptor_version(&self, release: &Version) -> Option<String> {
        match self.image_version {
            VersionRule::Ignore => None,
            VersionRule::Match => Some(release.to_string()),
        }
    }

    /// Returns the project that the descriptor of an image must name.
    pub fn descriptor_project(&self) -> Option<&str> {
        match &self.image_project {
            ProjectRule::Ignore => None,
            ProjectRule::Named(project) => Some(project),
        }
    }
}
