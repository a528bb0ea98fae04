//! Compares an image with what was expected of it.
//!
//! The server asks before it stores an upload, the publisher before it signs, the device before it
//! activates. The expectation comes from signed metadata or the product definition; nothing here
//! is a signature check.

use core::fmt;

use crate::app::{App, Text};
use crate::chip::Chip;

/// What an image should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected<'a> {
    /// The chip of the product.
    pub chip: Chip,
    /// Size of the smallest OTA slot in bytes.
    pub slot_bytes: u32,
    /// Version in the descriptor; `None` for products that take foreign images (D27).
    pub version: Option<&'a str>,
    /// Project in the descriptor; `None` for products that take foreign images (D27).
    pub project: Option<&'a str>,
    /// Anti-rollback version. An image without descriptor counts as 0.
    pub secure_version: u32,
}

/// Checks an image whose file is `file_bytes` long.
///
/// # Errors
///
/// The first [`Mismatch`].
pub fn against(app: &App, file_bytes: u64, expected: &Expected<'_>) -> Result<(), Mismatch> {
    let Expected { chip, slot_bytes, version, project, secure_version } = *expected;
    if app.header.chip != chip {
        return Err(Mismatch::Chip { expected: chip, found: app.header.chip });
    }
    if file_bytes > u64::from(slot_bytes) {
        return Err(Mismatch::TooLarge { file_bytes, slot_bytes });
    }
    let found = app.descriptor.map_or(0, |descriptor| descriptor.secure_version);
    if found > chip.secure_version_max() {
        return Err(Mismatch::SecureVersionMax { found, chip });
    }
    if found != secure_version {
        return Err(Mismatch::SecureVersion { expected: secure_version, found });
    }
    text(app, version, |found| Mismatch::Version { found }, |app| app.version)?;
    text(app, project, |found| Mismatch::Project { found }, |app| app.project)
}

/// Compares one text of the descriptor, unless nothing is expected of it.
fn text(
    app: &App,
    expected: Option<&str>,
    mismatch: impl FnOnce(Text<32>) -> Mismatch,
    found: impl FnOnce(&crate::app::Descriptor) -> Text<32>,
) -> Result<(), Mismatch> {
    let Some(expected) = expected else { return Ok(()) };
    let found = app.descriptor.as_ref().map(found).ok_or(Mismatch::NoDescriptor)?;
    if found.as_bytes() == expected.as_bytes() { Ok(()) } else { Err(mismatch(found)) }
}

/// How an image differs from what was expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mismatch {
    /// Built for another chip.
    Chip {
        /// The chip of the product.
        expected: Chip,
        /// The chip of the image.
        found: Chip,
    },
    /// There is no descriptor to compare.
    NoDescriptor,
    /// Another project.
    Project {
        /// The project of the image.
        found: Text<32>,
    },
    /// Another anti-rollback version than the metadata says.
    SecureVersion {
        /// As the metadata says.
        expected: u32,
        /// As the image says.
        found: u32,
    },
    /// An anti-rollback version that the eFuses of the chip cannot count to.
    SecureVersionMax {
        /// As the image says.
        found: u32,
        /// The chip of the product.
        chip: Chip,
    },
    /// Does not fit into the slot.
    TooLarge {
        /// Length of the file.
        file_bytes: u64,
        /// Length of the slot.
        slot_bytes: u32,
    },
    /// Another version.
    Version {
        /// The version of the image.
        found: Text<32>,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chip { expected, found } => {
                write!(f, "image is for {found}, the product has {expected}")
            }
            Self::NoDescriptor => f.write_str("image has no app descriptor"),
            Self::Project { found } => write!(f, "image belongs to project {found:?}"),
            Self::SecureVersion { expected, found } => {
                write!(f, "image has secure_version {found}, expected {expected}")
            }
            Self::SecureVersionMax { found, chip } => {
                let max = chip.secure_version_max();
                write!(f, "secure_version {found} does not fit the eFuses of {chip}, at most {max}")
            }
            Self::TooLarge { file_bytes, slot_bytes } => {
                write!(f, "image has {file_bytes} bytes, the slot {slot_bytes}")
            }
            Self::Version { found } => write!(f, "image calls itself version {found:?}"),
        }
    }
}

impl core::error::Error for Mismatch {}
