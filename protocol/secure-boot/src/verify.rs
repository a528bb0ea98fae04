//! Checks the signatures of all blocks of a sector.

use aws_lc_rs::digest::{Digest as Hash, SHA256};
use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Serialize;
use waxwing_esp_image::Chip;
use waxwing_esp_image::signature::{Block, EcdsaP256, Rsa3072, Scheme, Sector, SignatureError};
use waxwing_tuf::key::PublicKey;
use waxwing_wire::Digest;

/// A block whose CRC, image hash and signature are good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Signed {
    /// How it is signed.
    pub scheme: Scheme,
    /// The digest of the key, as eFuses hold it.
    pub key_digest: Digest,
}

/// Checks every block of a signature sector, and returns them in order.
///
/// # Errors
///
/// [`Refusal`] for the first block that is not good: a boot loader would look at the others, but an
/// image with a bad block was damaged or tampered with.
pub fn verify(sector: &Sector) -> Result<Vec<Signed>, Refusal> {
    let blocks = sector.blocks()?;
    let signed = blocks.iter().enumerate().map(|(index, block)| {
        let key_digest = Digest(block.key_digest());
        check(block, sector.image_sha256())
            .map(|()| Signed { scheme: block.scheme(), key_digest })
            .ok_or(Refusal::Signature { index, key_digest })
    });
    signed.collect()
}

/// Checks that the boot loader of a chip knows these signatures.
///
/// # Errors
///
/// [`Foreign`] when it does not, and so would not boot the image whoever signed it.
pub fn check_chip(signed: &[Signed], chip: Chip) -> Result<(), Foreign> {
    let known = chip.secure_boot();
    if signed.len() > known.keys_max {
        return Err(Foreign::TooMany { chip, max: known.keys_max });
    }
    let is_known = |scheme| match scheme {
        Scheme::EcdsaP256 => known.ecdsa,
        Scheme::RsaPss3072 => known.rsa,
    };
    match signed.iter().map(|block| block.scheme).find(|scheme| !is_known(*scheme)) {
        Some(scheme) => Err(Foreign::Scheme { chip, scheme }),
        None => Ok(()),
    }
}

fn check(block: &Block<'_>, image_sha256: &[u8; 32]) -> Option<()> {
    match block.scheme() {
        Scheme::EcdsaP256 => ecdsa(&block.ecdsa_p256()?, image_sha256),
        Scheme::RsaPss3072 => rsa(&block.rsa3072()?, image_sha256),
    }
}

fn ecdsa(signed: &EcdsaP256, image_sha256: &[u8; 32]) -> Option<()> {
    let Ok(PublicKey::EcdsaP256(key)) = PublicKey::p256(&signed.point) else { return None };
    key.verify_hash(image_sha256, &signed.signature).ok()
}

/// RSASSA-PSS with MGF1-SHA256 and a salt of 32 bytes, which is what the algorithm stands for.
fn rsa(signed: &Rsa3072, image_sha256: &[u8; 32]) -> Option<()> {
    let [highest, ..] = signed.modulus;
    // Less than 3072 bits otherwise; the ROM knows no other length.
    let is_full_length = highest & 0x80 != 0;
    let exponent = signed.exponent.to_be_bytes();
    let leading_zeros = exponent.iter().take_while(|byte| **byte == 0).count();
    let exponent = exponent.get(leading_zeros..)?;
    let key = RsaPublicKeyComponents { n: signed.modulus.as_slice(), e: exponent };
    let key =
        key.to_parsed_public_key(&RSA_PSS_2048_8192_SHA256).ok().filter(|_| is_full_length)?;
    let hash = Hash::import_less_safe(image_sha256, &SHA256).ok()?;
    key.verify_digest_sig(&hash, &signed.signature).ok()
}

/// Why a chip would not even look at signatures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Foreign {
    /// Another algorithm.
    #[error("{chip} knows no signatures with {scheme}")]
    Scheme {
        /// The chip.
        chip: Chip,
        /// How the image is signed.
        scheme: Scheme,
    },
    /// More signatures than it has room for keys.
    #[error("{chip} looks at {max} signature only")]
    TooMany {
        /// The chip.
        chip: Chip,
        /// How many it looks at.
        max: usize,
    },
}

/// Why the signatures of an image are no good.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The sector or a block is malformed, damaged, or belongs to another image.
    #[error(transparent)]
    Sector(#[from] SignatureError),
    /// The signature was not made by the key beside it, or that is no key.
    #[error("signature block {index} is not signed by its key {key_digest}")]
    Signature {
        /// Which block, from 0.
        index: usize,
        /// The digest of the key.
        key_digest: Digest,
    },
}

impl Serialize for Signed {
    /// As the digest of the key.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.key_digest.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_is_asked_for_no_signature_that_its_boot_loader_does_not_know() {
        let signed = |scheme, count| vec![Signed { scheme, key_digest: Digest([1; 32]) }; count];
        let (rsa, ecdsa) = (Scheme::RsaPss3072, Scheme::EcdsaP256);
        for (chip, scheme, count, is_known) in [
            (Chip::Esp32, rsa, 1, true),
            (Chip::Esp32, rsa, 2, false),
            (Chip::Esp32, ecdsa, 1, false),
            (Chip::Esp32c2, ecdsa, 1, true),
            (Chip::Esp32c2, ecdsa, 2, false),
            (Chip::Esp32c2, rsa, 1, false),
            (Chip::Esp32c3, rsa, 3, true),
            (Chip::Esp32c3, ecdsa, 1, false),
            (Chip::Esp32c6, rsa, 3, true),
            (Chip::Esp32c6, ecdsa, 3, true),
            (Chip::Esp32c61, rsa, 1, false),
            (Chip::Esp32c2, rsa, 0, true),
        ] {
            let verdict = check_chip(&signed(scheme, count), chip);
            assert_eq!(verdict.is_ok(), is_known, "{chip} {scheme} {count}: {verdict:?}");
        }
        let mixed = [signed(rsa, 1), signed(ecdsa, 1)].concat();
        let refused = check_chip(&mixed, Chip::Esp32s3).unwrap_err();
        assert_eq!(refused.to_string(), "esp32s3 knows no signatures with ECDSA P-256");
    }
}
