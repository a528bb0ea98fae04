//! Secure Boot v2 signature sectors: what `espsecure sign-data --version 2` appends to an image.
//!
//! ```text
//!  0     1216  signature block, up to three of them, without gaps
//!  ...         FF up to 4096
//!
//!  block, RSA-PSS 3072 (version 2)            block, ECDSA (version 3)
//!     0     1  magic E7                          0     1  magic E7
//!     1     1  02                                1     1  03
//!     2     2  0                                 2     1  hash: 0 SHA-256, 1 SHA-384
//!     4    32  SHA-256 of the padded image       4    32  SHA-256 of the padded image
//!    36   384  modulus n                        36     1  curve: 1 P-192, 2 P-256, 3 P-384
//!   420     4  exponent e                       37    64  X, Y
//!   424   384  R^2 mod n                       101    64  r, s
//!   808     4  -1/n mod 2^32
//!   812   384  signature                       165        0
//!  1196     4  CRC-32 of bytes 0 to 1196       likewise
//!  1200    16  0                               likewise
//! ```
//!
//! All numbers are little-endian. The sector lies at the first multiple of 4096 behind the image;
//! the image hash covers the FF between. Format: ESP-IDF, "Secure Boot v2", and `espsecure` 5.6.0,
//! which the tests compare with.
//!
//! Here blocks are read and their CRC and image hash checked. Signatures are checked in
//! `waxwing-secure-boot`: this crate links no such code.

use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::SECTOR_BYTES;
use crate::bytes::{field, u8_at, u32_at};
use crate::crc::crc32;

/// Length of a signature block in bytes.
pub const BLOCK_BYTES: usize = 1216;

/// Most blocks in a sector (`SECURE_BOOT_NUM_BLOCKS`).
pub const BLOCKS_MAX: usize = 3;

/// First byte of every block.
pub(crate) const MAGIC: u8 = 0xe7;

const VERSION_RSA: u8 = 2;
const VERSION_ECDSA: u8 = 3;

/// The hash that goes with P-192 and P-256.
const HASH_SHA256: u8 = 0;

/// `CURVE_ID_P256`.
const CURVE_P256: u8 = 2;

/// Bytes of a block that its CRC covers.
const CRC_AT: usize = 1196;

/// The length of a sector as memory counts it.
const SECTOR: usize = 4096;

/// Hashes a file up to its last sector and keeps that sector, in one pass over bytes that come in
/// pieces of any size. Needs 4 KiB.
#[derive(Clone, Debug)]
pub struct Collector {
    hash: Sha256,
    /// File offset of what is held.
    at: u32,
    held: [u8; SECTOR],
    len: usize,
}

impl Collector {
    /// Starts with nothing read.
    pub fn new() -> Self {
        Self { hash: Sha256::new(), at: 0, held: [0; SECTOR], len: 0 }
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.len == SECTOR {
                self.hash.update(self.held);
                self.at = self.at.saturating_add(SECTOR_BYTES);
                self.len = 0;
            }
            let taken = rest.len().min(SECTOR - self.len);
            let (now, later) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
            for (to, from) in self.held.iter_mut().skip(self.len).zip(now) {
                *to = *from;
            }
            self.len += taken;
            rest = later;
        }
    }

    /// Ends the file. `signature_at` is where the image parser found a signature sector
    /// ([`crate::App::signature_at`]).
    ///
    /// # Errors
    ///
    /// [`SignatureError::Truncated`] unless the file is exactly one sector longer than that.
    pub fn finish(self, signature_at: u32) -> Result<Sector, SignatureError> {
        if self.at != signature_at || self.len != SECTOR {
            return Err(SignatureError::Truncated);
        }
        Ok(Sector { image_sha256: self.hash.finalize().into(), bytes: self.held })
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self::new()
    }
}

/// A signature sector, and the hash of the image before it, padding included.
#[derive(Clone, Debug)]
pub struct Sector {
    image_sha256: [u8; 32],
    bytes: [u8; SECTOR],
}

impl Sector {
    /// Takes a whole file whose last sector is the signature sector.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Truncated`] when the file is not made of two or more whole sectors.
    pub fn of_file(file: &[u8]) -> Result<Self, SignatureError> {
        let (image, sector) = file.split_last_chunk().ok_or(SignatureError::Truncated)?;
        if image.is_empty() || !image.len().is_multiple_of(SECTOR) {
            return Err(SignatureError::Truncated);
        }
        Ok(Self { image_sha256: Sha256::digest(image).into(), bytes: *sector })
    }

    /// Returns the hash that every block must carry and sign.
    pub const fn image_sha256(&self) -> &[u8; 32] {
        &self.image_sha256
    }

    /// Reads the blocks, 1 to 3, in order.
    ///
    /// # Errors
    ///
    /// [`SignatureError`], the first reason why this sector could mislead somebody: every block must
    /// be good, and nothing may lie behind the last one. A boot loader would skip a bad block; who
    /// signs does not make any.
    pub fn blocks(&self) -> Result<Blocks<'_>, SignatureError> {
        let (places, rest) = self.bytes.as_chunks::<BLOCK_BYTES>();
        let is_erased = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0xff);
        let count = places.iter().take_while(|place| !is_erased(*place)).count();
        let mut blocks = Blocks { all: [None; BLOCKS_MAX] };
        for (index, (to, place)) in blocks.all.iter_mut().zip(places).take(count).enumerate() {
            let block = Block::parse(place, &self.image_sha256);
            *to = Some(block.map_err(|fault| SignatureError::Block { index, fault })?);
        }
        let behind = places.iter().skip(count);
        if !is_erased(rest) || !behind.into_iter().all(|place| is_erased(place)) {
            return Err(SignatureError::TrailingData);
        }
        if count == 0 { Err(SignatureError::Empty) } else { Ok(blocks) }
    }
}

/// The blocks of a sector.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    all: [Option<Block<'a>>; BLOCKS_MAX],
}

impl<'a> Blocks<'a> {
    /// Returns the blocks in order.
    pub fn iter(&self) -> impl Iterator<Item = &Block<'a>> {
        self.all.iter().flatten()
    }
}

/// How a block is signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// ECDSA on P-256 over a SHA-256.
    EcdsaP256,
    /// RSA-PSS with 3072 bits, MGF1 and salt as SHA-256, over a SHA-256.
    RsaPss3072,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::RsaPss3072 => "RSA-PSS 3072",
        })
    }
}

/// A block with good CRC and image hash. Its signature has not been checked.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    bytes: &'a [u8; BLOCK_BYTES],
    scheme: Scheme,
}

/// An ECDSA signature on P-256 with its key, as SEC 1 and IEEE P1363 write them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EcdsaP256 {
    /// The uncompressed point: 4, X, Y, big-endian.
    pub point: [u8; 65],
    /// r and s, big-endian.
    pub signature: [u8; 64],
}

/// An RSA signature of 3072 bits with its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rsa3072 {
    /// The modulus n, big-endian.
    pub modulus: [u8; 384],
    /// The exponent e.
    pub exponent: u32,
    /// The signature, big-endian.
    pub signature: [u8; 384],
}

impl<'a> Block<'a> {
    fn parse(bytes: &'a [u8; BLOCK_BYTES], image_sha256: &[u8; 32]) -> Result<Self, BlockFault> {
        if u8_at::<0, _>(bytes) != MAGIC {
            return Err(BlockFault::Magic(u8_at::<0, _>(bytes)));
        }
        let (covered, _) = bytes.split_at_checked(CRC_AT).unwrap_or((bytes, &[]));
        if crc32(u32::MAX, covered) != u32_at::<CRC_AT, _>(bytes) {
            return Err(BlockFault::Crc);
        }
        let scheme = scheme(bytes)?;
        if field::<4, 32, _>(bytes) != *image_sha256 {
            return Err(BlockFault::ImageHash);
        }
        if field::<1200, 16, _>(bytes) != [0; 16] {
            return Err(BlockFault::Padding);
        }
        Ok(Self { bytes, scheme })
    }

    /// Returns how the block is signed.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the SHA-256 of the key as the chip's eFuses hold it (`espsecure
    /// digest-sbv2-public-key`): n, e, R^2 and -1/n for RSA; curve, X and Y for ECDSA.
    pub fn key_digest(&self) -> [u8; 32] {
        match self.scheme {
            Scheme::EcdsaP256 => Sha256::digest(field::<36, 65, _>(self.bytes)).into(),
            Scheme::RsaPss3072 => Sha256::digest(field::<36, 776, _>(self.bytes)).into(),
        }
    }

    /// Returns key and signature of a block of [`Scheme::EcdsaP256`].
    pub fn ecdsa_p256(&self) -> Option<EcdsaP256> {
        let reversed = |bytes: [u8; 64]| {
            let mut pair = bytes;
            pair.as_chunks_mut::<32>().0.iter_mut().for_each(|number| number.reverse());
            pair
        };
        let mut point = [4; 65];
        let key = reversed(field::<37, 64, _>(self.bytes));
        point.iter_mut().skip(1).zip(key).for_each(|(to, from)| *to = from);
        let signature = reversed(field::<101, 64, _>(self.bytes));
        (self.scheme == Scheme::EcdsaP256).then_some(EcdsaP256 { point, signature })
    }

    /// Returns key and signature of a block of [`Scheme::RsaPss3072`].
    pub fn rsa3072(&self) -> Option<Rsa3072> {
        let reversed = |mut number: [u8; 384]| {
            number.reverse();
            number
        };
        let modulus = reversed(field::<36, 384, _>(self.bytes));
        let signature = reversed(field::<812, 384, _>(self.bytes));
        let exponent = u32_at::<420, _>(self.bytes);
        let rsa = Rsa3072 { modulus, exponent, signature };
        (self.scheme == Scheme::RsaPss3072).then_some(rsa)
    }
}

fn scheme(bytes: &[u8; BLOCK_BYTES]) -> Result<Scheme, BlockFault> {
    match u8_at::<1, _>(bytes) {
        VERSION_RSA => Ok(Scheme::RsaPss3072),
        VERSION_ECDSA => {
            let (hash, curve) = (u8_at::<2, _>(bytes), u8_at::<36, _>(bytes));
            if hash == HASH_SHA256 && curve == CURVE_P256 {
                return Ok(Scheme::EcdsaP256);
            }
            Err(BlockFault::Curve { hash, curve })
        }
        version => Err(BlockFault::Version(version)),
    }
}

/// Why a signature sector is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignatureError {
    /// A block is bad.
    Block {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        fault: BlockFault,
    },
    /// No block at all.
    Empty,
    /// Something else than 0xFF behind the last block.
    TrailingData,
    /// The file does not end with a whole sector behind a padded image.
    Truncated,
}

/// What is wrong with a signature block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BlockFault {
    /// The CRC does not fit: damaged.
    Crc,
    /// ECDSA, but not SHA-256 on P-256.
    Curve {
        /// As in the block: 0 SHA-256, 1 SHA-384.
        hash: u8,
        /// As in the block, unless the hash is SHA-384: 1 P-192, 2 P-256.
        curve: u8,
    },
    /// The signature is for another image.
    ImageHash,
    /// Not the first byte of a block.
    Magic(u8),
    /// Bytes that nothing covers are not zero.
    Padding,
    /// Neither RSA (2) nor ECDSA (3).
    Version(u8),
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block { index, fault } => write!(f, "signature block {index} {fault}"),
            Self::Empty => f.write_str("signature sector has no block"),
            Self::TrailingData => f.write_str("signature sector has data behind its last block"),
            Self::Truncated => f.write_str("file does not end with one whole signature sector"),
        }
    }
}

impl fmt::Display for BlockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crc => f.write_str("has a wrong CRC-32"),
            Self::Curve { hash: HASH_SHA256, curve: 1 } => {
                f.write_str("is signed on P-192; sign with RSA-3072 or on P-256")
            }
            Self::Curve { hash: 1, .. } => {
                f.write_str("is signed on P-384; sign with RSA-3072 or on P-256")
            }
            Self::Curve { hash, curve } => {
                write!(f, "names the unknown curve {curve} or hash {hash}")
            }
            Self::ImageHash => f.write_str("has the hash of another image"),
            Self::Magic(byte) => write!(f, "begins with {byte:#04x}, not 0xe7"),
            Self::Padding => f.write_str("does not end with zeros"),
            Self::Version(version) => write!(f, "has version {version}, not 2 or 3"),
        }
    }
}

impl core::error::Error for SignatureError {}
impl core::error::Error for BlockFault {}
