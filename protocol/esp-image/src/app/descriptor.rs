//! The app descriptor (`esp_app_desc_t`): what a build says about itself.
//!
//! It is part of the image, not of the signed metadata: useful to cross-check, never to trust.

use core::fmt;

use super::DESCRIPTOR_MAGIC;
use crate::bytes::{field, u8_at, u16_at, u32_at};

/// Length of the descriptor in bytes.
pub const DESCRIPTOR_BYTES: usize = 256;

/// File offset of the descriptor: behind the image header and the first segment header.
pub(crate) const DESCRIPTOR_AT: u32 = 32;

/// What a build says about itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Descriptor {
    /// Anti-rollback version that the eFuses count (not the security version of the metadata).
    pub secure_version: u32,
    /// Version of the application.
    pub version: Text<32>,
    /// Name of the project.
    pub project: Text<32>,
    /// Time of the build.
    pub time: Text<16>,
    /// Date of the build.
    pub date: Text<16>,
    /// Version of ESP-IDF.
    pub idf_version: Text<32>,
    /// SHA-256 of the ELF file.
    pub elf_sha256: [u8; 32],
    /// Size of a page of mapped flash, as a power of two; 0 from older ESP-IDF.
    pub mmu_page_log2: u8,
    /// Lowest revision of the eFuse block, as major * 100 + minor.
    pub efuse_revision_min: u16,
    /// Highest revision of the eFuse block, as major * 100 + minor.
    pub efuse_revision_max: u16,
}

impl Descriptor {
    /// Parses a descriptor; `None` when the magic word is missing.
    pub fn parse(bytes: &[u8; DESCRIPTOR_BYTES]) -> Option<Self> {
        if u32_at::<0, _>(bytes) != DESCRIPTOR_MAGIC {
            return None;
        }
        Some(Self {
            secure_version: u32_at::<4, _>(bytes),
            version: Text(field::<16, 32, _>(bytes)),
            project: Text(field::<48, 32, _>(bytes)),
            time: Text(field::<80, 16, _>(bytes)),
            date: Text(field::<96, 16, _>(bytes)),
            idf_version: Text(field::<112, 32, _>(bytes)),
            elf_sha256: field::<144, 32, _>(bytes),
            efuse_revision_min: u16_at::<176, _>(bytes),
            efuse_revision_max: u16_at::<178, _>(bytes),
            mmu_page_log2: u8_at::<180, _>(bytes),
        })
    }

    /// Returns the size in bytes of a page of mapped flash; 0 when the build does not say.
    pub fn mmu_page_bytes(&self) -> u32 {
        match self.mmu_page_log2 {
            0 => 0,
            log2 => 1u32.checked_shl(u32::from(log2)).unwrap_or(0),
        }
    }
}

/// Text in a field of fixed length, ended by NUL or the end of the field.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Text<const N: usize>(pub [u8; N]);

impl<const N: usize> Text<N> {
    /// Returns the bytes before the first NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or(&[])
    }

    /// Returns the text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(self.as_bytes()).ok()
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// Shows the text with everything escaped that is not printable ASCII: it comes from a file.
impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}
