//! Makes app images: for tests, demonstrations and simulated devices.
//!
//! Not a linker: the code in the image is whatever bytes the caller gives. Everything around it is
//! as `esptool elf2image` would do it, so that `esptool`, the boot loader and this crate accept it.

use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256};

use crate::app::{
    App, CHECKSUM_BLOCK_BYTES, CHECKSUM_SEED, DESCRIPTOR_BYTES, DESCRIPTOR_MAGIC, HEADER_BYTES,
    IMAGE_BYTES_MAX, ImageError, MAGIC, SEGMENT_HEADER_BYTES, SEGMENTS_MAX,
};
use crate::bytes::set_field;
use crate::chip::Chip;

/// Size of a page of mapped flash, as a power of two: 64 KiB, which every chip can do.
const MMU_PAGE_LOG2: u8 = 16;

/// SPI mode DIO, 40 MHz, 4 MB: what most modules are.
const FLASH_MODE_DIO: u8 = 2;
const FLASH_CONFIG_4MB_40MHZ: u8 = 0x20;

/// Where the header tells size (high nibble) and frequency of flash.
const FLASH_CONFIG_AT: usize = 3;

/// Length of the appended SHA-256.
const HASH_BYTES: usize = 32;

/// The write-protect pin is not used.
const WP_PIN_DISABLED: u8 = 0xee;

/// An app image in the making.
#[derive(Clone, Debug)]
pub struct AppBuilder {
    chip: Chip,
    version: Vec<u8>,
    project: Vec<u8>,
    secure_version: u32,
    descriptor: bool,
    hash: bool,
    rodata: Vec<u8>,
    ram: Vec<(u32, Vec<u8>)>,
    code: Vec<u8>,
}

impl AppBuilder {
    /// Starts an image with a descriptor and an appended hash, and nothing in it.
    pub fn new(chip: Chip) -> Self {
        Self {
            chip,
            version: Vec::new(),
            project: Vec::new(),
            secure_version: 0,
            descriptor: true,
            hash: true,
            rodata: Vec::new(),
            ram: Vec::new(),
            code: Vec::new(),
        }
    }

    /// Sets the version in the descriptor: at most 31 bytes.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    /// Sets the project name in the descriptor: at most 31 bytes.
    #[must_use]
    pub fn project(mut self, project: &str) -> Self {
        self.project = project.into();
        self
    }

    /// Sets the anti-rollback version in the descriptor.
    #[must_use]
    pub const fn secure_version(mut self, secure_version: u32) -> Self {
        self.secure_version = secure_version;
        self
    }

    /// Leaves the descriptor out, as images of other makers do.
    #[must_use]
    pub const fn without_descriptor(mut self) -> Self {
        self.descriptor = false;
        self
    }

    /// Leaves the appended SHA-256 out.
    #[must_use]
    pub const fn without_hash(mut self) -> Self {
        self.hash = false;
        self
    }

    /// Sets the constant data behind the descriptor.
    #[must_use]
    pub fn rodata(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.rodata = bytes.into();
        self
    }

    /// Adds a segment that is copied to RAM at this address.
    #[must_use]
    pub fn ram(mut self, load_address: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.ram.push((load_address, bytes.into()));
        self
    }

    /// Sets the code, which is mapped from flash: this makes the image at least 64 KiB long,
    /// because it begins on a page of its own.
    #[must_use]
    pub fn code(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.code = bytes.into();
        self
    }

    /// Makes the image.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when the parts do not fit the format.
    pub fn build(&self) -> Result<Vec<u8>, BuildError> {
        let mut file =
            File { bytes: Vec::from([0; HEADER_BYTES]), segments: 0, checksum: CHECKSUM_SEED };
        let mut first = Vec::new();
        if self.descriptor {
            first.extend_from_slice(&self.encode_descriptor()?);
        }
        first.extend_from_slice(&self.rodata);
        file.segment(self.chip.data_window().start + file.next_data_at(), &first);
        for (load_address, bytes) in &self.ram {
            file.segment(*load_address, bytes);
        }
        let entry = self.append_code(&mut file);
        file.finish(self.chip, entry, self.hash)
    }

    /// Appends padding and the code; returns the address of its first byte.
    fn append_code(&self, file: &mut File) -> u32 {
        let base = self.chip.code_window().start;
        if self.code.is_empty() {
            return base;
        }
        file.pad_to_page();
        let load_address = base + file.next_data_at();
        file.segment(load_address, &self.code);
        load_address
    }

    fn encode_descriptor(&self) -> Result<[u8; DESCRIPTOR_BYTES], BuildError> {
        let mut bytes = [0; DESCRIPTOR_BYTES];
        set_field::<0, 4, _>(&mut bytes, DESCRIPTOR_MAGIC.to_le_bytes());
        set_field::<4, 4, _>(&mut bytes, self.secure_version.to_le_bytes());
        set_field::<16, 32, _>(&mut bytes, text(&self.version)?);
        set_field::<48, 32, _>(&mut bytes, text(&self.project)?);
        set_field::<80, 16, _>(&mut bytes, text(b"00:00:00")?);
        set_field::<96, 16, _>(&mut bytes, text(b"Jan  1 1970")?);
        set_field::<112, 32, _>(&mut bytes, text(b"v0.0.0")?);
        set_field::<178, 2, _>(&mut bytes, u16::MAX.to_le_bytes());
        set_field::<180, 1, _>(&mut bytes, [MMU_PAGE_LOG2]);
        Ok(bytes)
    }
}

/// Pads text with NUL; there is always at least one.
fn text<const N: usize>(text: &[u8]) -> Result<[u8; N], BuildError> {
    if text.len() >= N || text.contains(&0) {
        return Err(BuildError::Text);
    }
    let mut field = [0; N];
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
    Ok(field)
}

/// Changes bytes in the segments of a good image, and makes checksum and hash right again: another
/// version, or a release that is bad in a certain way, without another build.
///
/// # Errors
///
/// [`ImageError`] when it is no good image, or the bytes are not in one of its segments.
pub fn patch(image: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), ImageError> {
    let app = App::parse(image)?;
    let hash_at = hash_at(&app);
    let checksum_at = hash_at.saturating_sub(1);
    let place = image.get_mut(at..checksum_at).and_then(|it| it.get_mut(..bytes.len()));
    let place = place.filter(|_| at >= HEADER_BYTES).ok_or(ImageError::Truncated)?;
    let change = place.iter().chain(bytes).fold(0, |sum, byte| sum ^ byte);
    place.copy_from_slice(bytes);
    if let Some(checksum) = image.get_mut(checksum_at) {
        *checksum ^= change;
    }
    hash_again(image, &app);
    App::parse(image).map(|_| ())
}

/// Has the header say that the chip has 4 MB of flash, and makes the hash right again: a boot loader
/// refuses partitions beyond what its own header says.
///
/// # Errors
///
/// [`ImageError`] when it is no good image.
pub fn set_flash_4mb(image: &mut [u8]) -> Result<(), ImageError> {
    let app = App::parse(image)?;
    if let Some(config) = image.get_mut(FLASH_CONFIG_AT) {
        *config = (*config & 0x0f) | (FLASH_CONFIG_4MB_40MHZ & 0xf0);
    }
    hash_again(image, &app);
    App::parse(image).map(|_| ())
}

/// Where the hash of a good image begins, or would.
fn hash_at(app: &App) -> usize {
    let end = usize::try_from(app.image_bytes).unwrap_or(usize::MAX);
    if app.sha256.is_some() { end.saturating_sub(HASH_BYTES) } else { end }
}

fn hash_again(image: &mut [u8], app: &App) {
    if app.sha256.is_some()
        && let Some((content, rest)) = image.split_at_mut_checked(hash_at(app))
        && let Some(hash) = rest.first_chunk_mut::<HASH_BYTES>()
    {
        *hash = Sha256::digest(content).into();
    }
}

/// The bytes so far.
struct File {
    bytes: Vec<u8>,
    segments: usize,
    checksum: u8,
}

impl File {
    /// Returns the file offset that the data of the next segment will have.
    fn next_data_at(&self) -> u32 {
        u32::try_from(self.bytes.len() + SEGMENT_HEADER_BYTES).unwrap_or(u32::MAX)
    }

    /// Appends a segment, with zeros up to a whole word.
    fn segment(&mut self, load_address: u32, data: &[u8]) {
        let padded = data.len().next_multiple_of(4);
        self.bytes.extend_from_slice(&load_address.to_le_bytes());
        self.bytes.extend_from_slice(&u32::try_from(padded).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len() + padded - data.len(), 0);
        self.checksum = data.iter().fold(self.checksum, |sum, byte| sum ^ byte);
        self.segments += 1;
    }

    /// Appends a padding segment (address 0), so that the data of the next one begins where real
    /// images have it: 32 bytes into a page.
    fn pad_to_page(&mut self) {
        const PAGE_BYTES: u32 = 1 << MMU_PAGE_LOG2;
        const OFFSET_IN_PAGE: u32 = 32;
        let header = u32::try_from(SEGMENT_HEADER_BYTES).unwrap_or(0);
        // Where the next data would begin behind an empty padding segment.
        let at = self.next_data_at() + header;
        let padding = (OFFSET_IN_PAGE + PAGE_BYTES - at % PAGE_BYTES) % PAGE_BYTES;
        let zeros = alloc::vec![0; usize::try_from(padding).unwrap_or(0)];
        self.segment(0, &zeros);
    }

    fn finish(mut self, chip: Chip, entry: u32, hash: bool) -> Result<Vec<u8>, BuildError> {
        if self.segments > SEGMENTS_MAX {
            return Err(BuildError::TooManySegments);
        }
        let block = usize::try_from(CHECKSUM_BLOCK_BYTES).unwrap_or(1);
        let end = (self.bytes.len() + 1).next_multiple_of(block);
        self.bytes.resize(end - 1, 0);
        self.bytes.push(self.checksum);
        self.write_header(chip, entry, hash);
        if hash {
            let hash = Sha256::digest(&self.bytes);
            self.bytes.extend_from_slice(&hash);
        }
        let fits = u32::try_from(self.bytes.len()).is_ok_and(|bytes| bytes < IMAGE_BYTES_MAX);
        if fits { Ok(self.bytes) } else { Err(BuildError::TooLong) }
    }

    fn write_header(&mut self, chip: Chip, entry: u32, hash: bool) {
        let mut header = [0; HEADER_BYTES];
        let segments = u8::try_from(self.segments).unwrap_or(u8::MAX);
        set_field::<0, 4, _>(
            &mut header,
            [MAGIC, segments, FLASH_MODE_DIO, FLASH_CONFIG_4MB_40MHZ],
        );
        set_field::<4, 4, _>(&mut header, entry.to_le_bytes());
        set_field::<8, 1, _>(&mut header, [WP_PIN_DISABLED]);
        set_field::<12, 2, _>(&mut header, chip.id().to_le_bytes());
        set_field::<17, 2, _>(&mut header, u16::MAX.to_le_bytes());
        set_field::<23, 1, _>(&mut header, [u8::from(hash)]);
        for (to, from) in self.bytes.iter_mut().zip(header) {
            *to = from;
        }
    }
}

/// Why the parts do not make an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BuildError {
    /// Version or project has more than 31 bytes, or a NUL.
    Text,
    /// Longer than the boot loader accepts.
    TooLong,
    /// More segments than the boot loader accepts.
    TooManySegments,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text for the descriptor is longer than 31 bytes or contains NUL",
            Self::TooLong => "image is longer than 16 MiB",
            Self::TooManySegments => "more than 16 segments",
        })
    }
}

impl core::error::Error for BuildError {}
