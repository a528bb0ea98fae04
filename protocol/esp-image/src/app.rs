//! App images: what `esptool elf2image` makes and an OTA slot holds.
//!
//! ```text
//!  0   24 header        E9, segments, flash mode, entry point, chip id, hash flag
//!  24   8 + n           segment: load address, length, data; up to 16 of them
//!       0..15 + 1       zeros, then the checksum as last byte of a 16-byte block
//!       32              SHA-256 of everything before, if the hash flag is set
//!       ...             FF, then perhaps one 4096-byte Secure Boot v2 signature sector
//! ```
//!
//! The first segment begins with the app descriptor (file offset 32) if the image has one. Format:
//! ESP-IDF, "App Image Format"; what is refused here, the boot loader or we would not run.
//! Checksum and SHA-256 find damage only: anybody can compute them.

mod checker;
mod descriptor;

use core::fmt;

pub use self::checker::{Checker, RunningSha256};
pub use self::descriptor::{DESCRIPTOR_BYTES, Descriptor, Text};
use crate::bytes::{u8_at, u16_at, u32_at};
use crate::chip::Chip;

/// Most segments an image may have (`ESP_IMAGE_MAX_SEGMENTS`).
pub const SEGMENTS_MAX: usize = 16;

/// Longest image in bytes: the boot loader refuses larger partitions (`SIXTEEN_MB`).
pub const IMAGE_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Length of the image header in bytes.
pub const HEADER_BYTES: usize = 24;

/// Length of a segment header in bytes.
pub const SEGMENT_HEADER_BYTES: usize = 8;

/// First byte of every image (`ESP_IMAGE_HEADER_MAGIC`).
pub const MAGIC: u8 = 0xe9;

/// First word of the descriptor (`ESP_APP_DESC_MAGIC_WORD`).
pub(crate) const DESCRIPTOR_MAGIC: u32 = 0xabcd_5432;

/// Where the checksum starts (`ESP_ROM_CHECKSUM_INITIAL`).
pub(crate) const CHECKSUM_SEED: u8 = 0xef;

/// The checksum is the last byte of a block of this length.
pub(crate) const CHECKSUM_BLOCK_BYTES: u32 = 16;

/// What an image says about itself, after every check of this module passed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct App {
    /// The image header.
    pub header: Header,
    /// The app descriptor, if the image has one.
    pub descriptor: Option<Descriptor>,
    /// XOR of all segment bytes and 0xEF.
    pub checksum: u8,
    /// The appended SHA-256, if there is one. This is *not* the hash of the file.
    pub sha256: Option<[u8; 32]>,
    /// Length in bytes without padding and signature sector.
    pub image_bytes: u32,
    /// File offset of the Secure Boot v2 signature sector, if there is one. It is not verified.
    pub signature_at: Option<u32>,
    segments: Segments,
}

impl App {
    /// Parses and checks a whole image.
    ///
    /// # Errors
    ///
    /// [`ImageError`], the first reason why this is no image that a boot loader would run.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let mut checker = Checker::new();
        checker.update(bytes)?;
        checker.finish()
    }

    /// Returns the segments in file order.
    pub fn segments(&self) -> &[Segment] {
        self.segments.as_slice()
    }
}

/// The 24 bytes at the beginning of an image, as far as anybody looks at them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The chip the image was built for.
    pub chip: Chip,
    /// Address of the first instruction.
    pub entry: u32,
    /// SPI flash mode: 0 QIO, 1 QOUT, 2 DIO, 3 DOUT. `esptool write-flash` may change it.
    pub flash_mode: u8,
    /// Low nibble: flash frequency; high nibble: flash size. `esptool write-flash` may change it.
    pub flash_config: u8,
    /// Whether a SHA-256 follows the checksum.
    pub hash_appended: bool,
    /// Lowest chip revision that may run this, as major * 100 + minor.
    pub revision_min: u16,
    /// Highest chip revision that may run this, as major * 100 + minor; 0 and 65535 mean any.
    pub revision_max: u16,
    /// Number of segments.
    pub segment_count: u8,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, ImageError> {
        if u8_at::<0, _>(bytes) != MAGIC {
            return Err(ImageError::BadMagic);
        }
        let chip_id = u16_at::<12, _>(bytes);
        let segment_count = u8_at::<1, _>(bytes);
        if segment_count == 0 || usize::from(segment_count) > SEGMENTS_MAX {
            return Err(ImageError::SegmentCount(segment_count));
        }
        Ok(Self {
            chip: Chip::from_id(chip_id).map_err(|_| ImageError::UnknownChip(chip_id))?,
            entry: u32_at::<4, _>(bytes),
            flash_mode: u8_at::<2, _>(bytes),
            flash_config: u8_at::<3, _>(bytes),
            hash_appended: match u8_at::<23, _>(bytes) {
                0 => false,
                1 => true,
                flag => return Err(ImageError::BadHashFlag(flag)),
            },
            revision_min: u16_at::<15, _>(bytes),
            revision_max: u16_at::<17, _>(bytes),
            segment_count,
        })
    }
}

/// One stretch of an image that is copied to RAM, mapped from flash, or padding (address 0).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Segment {
    /// Where the data goes.
    pub load_address: u32,
    /// File offset of the data.
    pub data_at: u32,
    /// Length of the data in bytes.
    pub data_bytes: u32,
}

/// A list of at most [`SEGMENTS_MAX`] segments.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Segments {
    all: [Segment; SEGMENTS_MAX],
    len: usize,
}

impl Segments {
    /// Appends a segment; returns `false` when the list is full.
    fn push(&mut self, segment: Segment) -> bool {
        let Some(place) = self.all.get_mut(self.len) else { return false };
        *place = segment;
        self.len += 1;
        true
    }

    fn as_slice(&self) -> &[Segment] {
        self.all.get(..self.len).unwrap_or(&self.all)
    }
}

/// Why bytes are no app image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ImageError {
    /// The checksum does not fit the segments: damaged.
    BadChecksum {
        /// What the segments add up to.
        computed: u8,
        /// What the image says.
        found: u8,
    },
    /// The appended SHA-256 does not fit what comes before it: damaged.
    BadHash,
    /// The hash flag is neither 0 nor 1.
    BadHashFlag(u8),
    /// The first byte is not 0xE9: not an image at all.
    BadMagic,
    /// Data of this segment cannot be mapped: file offset and address differ within a page.
    Misaligned {
        /// Number of the segment, from 0.
        segment: usize,
    },
    /// No segments, or more than [`SEGMENTS_MAX`].
    SegmentCount(u8),
    /// A segment length that is no multiple of 4.
    SegmentLength(u32),
    /// Longer than [`IMAGE_BYTES_MAX`].
    TooLong,
    /// Something else than 0xFF or a signature sector behind the image.
    TrailingData {
        /// File offset of the first such byte.
        at: u32,
    },
    /// The bytes end before the image does.
    Truncated,
    /// Built for a chip that is not known here.
    UnknownChip(u16),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadChecksum { computed, found } => {
                write!(f, "image checksum is {found:#04x}, its segments give {computed:#04x}")
            }
            Self::BadHash => f.write_str("appended SHA-256 does not match the image"),
            Self::BadHashFlag(flag) => write!(f, "hash flag of the image is {flag}, not 0 or 1"),
            Self::BadMagic => f.write_str("first byte of the image is not 0xe9"),
            Self::Misaligned { segment } => {
                write!(f, "segment {segment} lies where flash cannot be mapped to its address")
            }
            Self::SegmentCount(count) => write!(f, "image has {count} segments, not 1 to 16"),
            Self::SegmentLength(bytes) => {
                write!(f, "segment has {bytes} bytes, not a multiple of 4")
            }
            Self::TooLong => f.write_str("image is longer than 16 MiB"),
            Self::TrailingData { at } => write!(f, "data behind the image, at offset {at}"),
            Self::Truncated => f.write_str("image ends too early"),
            Self::UnknownChip(id) => write!(f, "image is for a chip with the unknown id {id}"),
        }
    }
}

impl core::error::Error for ImageError {}
