//! The checks, made while the bytes go by: a device never has the whole image in memory.
//!
//! ```text
//!  Header ──▶ SegmentHeader ──▶ SegmentData ──▶ Checksum ──▶ Hash ──▶ Trailer
//!                   ▲                │             │ (no hash)          ▲
//!                   └── more left ───┘             └────────────────────┘
//! ```

use sha2::{Digest, Sha256};

use super::descriptor::{DESCRIPTOR_AT, DESCRIPTOR_BYTES, Descriptor};
use super::{
    App, CHECKSUM_BLOCK_BYTES, CHECKSUM_SEED, HEADER_BYTES, Header, IMAGE_BYTES_MAX, ImageError,
    SEGMENT_HEADER_BYTES, Segment, Segments,
};
use crate::SECTOR_BYTES;
use crate::bytes::u32_at;
use crate::signature;

/// Length of a SHA-256 in bytes.
const HASH_BYTES: usize = 32;

/// A SHA-256 over the bytes of a file that says at any time what it is so far.
///
/// An image's own hash is that of its beginning, so whoever hashes the file need not do it twice.
pub trait RunningSha256 {
    /// Takes the next bytes.
    fn take(&mut self, bytes: &[u8]);

    /// Returns the SHA-256 of all bytes so far.
    fn so_far(&self) -> [u8; HASH_BYTES];
}

impl RunningSha256 for Sha256 {
    fn take(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }

    fn so_far(&self) -> [u8; HASH_BYTES] {
        self.clone().finalize().into()
    }
}

/// Checks an image that arrives in pieces of any size, and hashes its whole file on the way.
#[derive(Clone, Debug)]
pub struct Checker<H = Sha256> {
    parts: Parts,
    hash: H,
}

impl Checker {
    /// Starts with nothing read, and a hash of its own.
    pub fn new() -> Self {
        Self::over(Sha256::new())
    }
}

impl<H: RunningSha256> Checker<H> {
    /// Starts with nothing read, and a hash that has seen nothing.
    pub fn over(hash: H) -> Self {
        Self { parts: Parts::new(), hash }
    }

    /// Takes the next bytes of the file. They are hashed whatever they are.
    ///
    /// # Errors
    ///
    /// [`ImageError`] as soon as the image cannot be good any more. The same error comes back from
    /// every later call.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.parts.update(bytes, &mut self.hash)
    }

    /// Returns how many bytes of the current part of the image are still to come: enough to read
    /// on in flash without knowing the length of the image. 0 when the image is complete; what may
    /// follow then is padding or a signature sector.
    pub const fn missing_bytes(&self) -> u32 {
        self.parts.left
    }

    /// Returns the SHA-256 of all bytes so far. Whether they are an image is another question.
    pub fn sha256(&self) -> [u8; HASH_BYTES] {
        self.hash.so_far()
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// [`ImageError`] when the file was refused before, ends too early, or cannot be mapped.
    pub fn finish(self) -> Result<App, ImageError> {
        self.finish_both().0
    }

    /// Ends the file as [`Checker::finish`], and gives its hash back.
    pub fn finish_both(self) -> (Result<App, ImageError>, H) {
        (self.parts.finish(), self.hash)
    }
}

/// Where in an image the next byte is, and what was found so far.
#[derive(Clone, Debug)]
struct Parts {
    part: Part,
    /// Bytes of the current part that have not come yet.
    left: u32,
    /// File offset of the next byte.
    at: u32,
    /// The bytes of a short part, until it is complete.
    held: Held,
    /// What the image's own hash has to be.
    computed: [u8; HASH_BYTES],
    checksum: u8,
    header: Option<Header>,
    segments: Segments,
    descriptor: [u8; DESCRIPTOR_BYTES],
    sha256: Option<[u8; HASH_BYTES]>,
    image_bytes: u32,
    signature_at: Option<u32>,
    failed: Option<ImageError>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Header,
    SegmentHeader,
    SegmentData,
    Checksum,
    Hash,
    Trailer,
}

impl Parts {
    fn new() -> Self {
        Self {
            part: Part::Header,
            left: bytes_u32::<HEADER_BYTES>(),
            at: 0,
            held: Held::default(),
            computed: [0; HASH_BYTES],
            checksum: CHECKSUM_SEED,
            header: None,
            segments: Segments::default(),
            descriptor: [0; DESCRIPTOR_BYTES],
            sha256: None,
            image_bytes: 0,
            signature_at: None,
            failed: None,
        }
    }

    fn update(&mut self, bytes: &[u8], hash: &mut dyn RunningSha256) -> Result<(), ImageError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at_checked(self.wanted()).unwrap_or((rest, &[]));
            hash.take(piece);
            if self.failed.is_none() {
                self.failed = self.consume(piece, hash).err();
            }
            rest = behind;
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Returns how many bytes belong together from here on.
    fn wanted(&self) -> usize {
        let is_open = self.part == Part::Trailer || self.failed.is_some();
        if is_open { usize::MAX } else { usize::try_from(self.left).unwrap_or(usize::MAX) }
    }

    fn finish(self) -> Result<App, ImageError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let signature_end = self.signature_at.map_or(0, |at| at.saturating_add(SECTOR_BYTES));
        let Some(header) = self.header.filter(|_| self.part == Part::Trailer) else {
            return Err(ImageError::Truncated);
        };
        if self.at < signature_end {
            return Err(ImageError::Truncated);
        }
        let descriptor = self.descriptor();
        check_alignment(header, self.segments.as_slice(), descriptor.as_ref())?;
        Ok(App {
            header,
            descriptor,
            checksum: self.checksum,
            sha256: self.sha256,
            image_bytes: self.image_bytes,
            signature_at: self.signature_at,
            segments: self.segments,
        })
    }

    /// Takes bytes of one part.
    fn consume(&mut self, bytes: &[u8], hash: &dyn RunningSha256) -> Result<(), ImageError> {
        match self.part {
            Part::Header | Part::SegmentHeader | Part::Hash => self.held.extend(bytes),
            Part::SegmentData => self.segment_data(bytes),
            Part::Checksum => self.held.keep_last(bytes),
            Part::Trailer => return self.trailer(bytes),
        }
        self.advance(bytes.len(), hash)
    }

    /// Counts bytes, and ends the part when it is complete.
    fn advance(&mut self, taken: usize, hash: &dyn RunningSha256) -> Result<(), ImageError> {
        let taken = u32::try_from(taken).map_err(|_| ImageError::TooLong)?;
        self.at = self.at.checked_add(taken).ok_or(ImageError::TooLong)?;
        self.left = self.left.saturating_sub(taken);
        if self.left > 0 {
            return Ok(());
        }
        match self.part {
            Part::Header => self.header_done(),
            Part::SegmentHeader => self.segment_header_done(),
            Part::SegmentData => {
                self.segment_done();
                Ok(())
            }
            Part::Checksum => self.checksum_done(hash),
            Part::Hash => self.hash_done(),
            Part::Trailer => Ok(()),
        }
    }

    const fn begin(&mut self, part: Part, bytes: u32) {
        self.part = part;
        self.left = bytes;
    }

    fn header_done(&mut self) -> Result<(), ImageError> {
        self.header = Some(Header::parse(&self.held.take())?);
        self.begin(Part::SegmentHeader, bytes_u32::<SEGMENT_HEADER_BYTES>());
        Ok(())
    }

    fn segment_header_done(&mut self) -> Result<(), ImageError> {
        let header: [u8; SEGMENT_HEADER_BYTES] = self.held.take();
        let data_bytes = u32_at::<4, _>(&header);
        let segment =
            Segment { load_address: u32_at::<0, _>(&header), data_at: self.at, data_bytes };
        // The boot loader copies and sums whole words.
        if !data_bytes.is_multiple_of(4) {
            return Err(ImageError::SegmentLength(data_bytes));
        }
        let end = self.at.checked_add(data_bytes).filter(|end| *end < IMAGE_BYTES_MAX);
        if end.is_none() {
            return Err(ImageError::TooLong);
        }
        if !self.segments.push(segment) {
            return Err(ImageError::TooLong);
        }
        if data_bytes == 0 {
            self.segment_done();
        } else {
            self.begin(Part::SegmentData, data_bytes);
        }
        Ok(())
    }

    fn segment_data(&mut self, data: &[u8]) {
        self.checksum = data.iter().fold(self.checksum, |sum, byte| sum ^ byte);
        // Only the first segment lies over the place of the descriptor and is asked for it later.
        let skipped = usize::try_from(self.at.saturating_sub(DESCRIPTOR_AT)).unwrap_or(usize::MAX);
        for (to, from) in self.descriptor.iter_mut().skip(skipped).zip(data) {
            *to = *from;
        }
    }

    fn segment_done(&mut self) {
        let expected = self.header.map_or(0, |header| usize::from(header.segment_count));
        if self.segments.len < expected {
            self.begin(Part::SegmentHeader, bytes_u32::<SEGMENT_HEADER_BYTES>());
        } else {
            // At least one byte, and up to the end of the block.
            let bytes = CHECKSUM_BLOCK_BYTES - self.at % CHECKSUM_BLOCK_BYTES;
            self.begin(Part::Checksum, bytes);
        }
    }

    fn checksum_done(&mut self, hash: &dyn RunningSha256) -> Result<(), ImageError> {
        let [found] = self.held.take();
        if found != self.checksum {
            return Err(ImageError::BadChecksum { computed: self.checksum, found });
        }
        if self.header.is_some_and(|header| header.hash_appended) {
            self.computed = hash.so_far();
            self.begin(Part::Hash, bytes_u32::<HASH_BYTES>());
            return Ok(());
        }
        self.image_done();
        Ok(())
    }

    fn hash_done(&mut self) -> Result<(), ImageError> {
        let found: [u8; HASH_BYTES] = self.held.take();
        if found != self.computed {
            return Err(ImageError::BadHash);
        }
        self.sha256 = Some(found);
        self.image_done();
        Ok(())
    }

    const fn image_done(&mut self) {
        self.image_bytes = self.at;
        self.begin(Part::Trailer, 0);
    }

    /// Accepts erased flash, and one signature sector where the boot loader looks for it: at the
    /// first sector boundary behind the image.
    fn trailer(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let sector_at = self.image_bytes.next_multiple_of(SECTOR_BYTES);
        for byte in bytes {
            let at = self.at;
            if at >= IMAGE_BYTES_MAX {
                return Err(ImageError::TooLong);
            }
            if at == sector_at && *byte == signature::MAGIC {
                self.signature_at = Some(at);
            }
            let signature = self.signature_at.is_some_and(|start| at - start < SECTOR_BYTES);
            if *byte != 0xff && !signature {
                return Err(ImageError::TrailingData { at });
            }
            self.at = at + 1;
        }
        Ok(())
    }

    fn descriptor(&self) -> Option<Descriptor> {
        let first = self.segments.as_slice().first()?;
        let complete = first.data_bytes >= bytes_u32::<DESCRIPTOR_BYTES>();
        if complete { Descriptor::parse(&self.descriptor) } else { None }
    }
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

/// The boot loader maps whole pages, so offset in flash and address must agree within a page.
fn check_alignment(
    header: Header,
    segments: &[Segment],
    descriptor: Option<&Descriptor>,
) -> Result<(), ImageError> {
    let page = descriptor.map_or(0, Descriptor::mmu_page_bytes);
    let pages = header.chip.mmu_page_bytes();
    let usual = pages.first().copied().unwrap_or(1);
    // Older ESP-IDF leaves the field zero and uses the usual size.
    let page = if pages.contains(&page) { page } else { usual };
    let misaligned = segments.iter().position(|segment| {
        header.chip.maps_flash_at(segment.load_address)
            && segment.data_at % page != segment.load_address % page
    });
    misaligned.map_or(Ok(()), |segment| Err(ImageError::Misaligned { segment }))
}

/// A few bytes that came in pieces.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    bytes: [u8; HASH_BYTES],
    len: usize,
}

impl Held {
    fn extend(&mut self, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *to = *from;
            self.len += 1;
        }
    }

    fn keep_last(&mut self, bytes: &[u8]) {
        let [first, ..] = &mut self.bytes;
        *first = bytes.last().copied().unwrap_or(*first);
    }

    /// Returns the first `N` bytes and starts over.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.len = 0;
        crate::bytes::field::<0, N, HASH_BYTES>(&self.bytes)
    }
}

/// Returns a length known at compile time as the type of file offsets.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "checked when the program is compiled"
)]
const fn bytes_u32<const N: usize>() -> u32 {
    const { assert!(N < 1024, "not a small length") };
    N as u32
}
