//! The image that runs: the SHA-256 of its file, and what it says about itself.

use alloc::vec;

use waxwing_agent::ports::{FlashError, SECTOR_BYTES};
use waxwing_esp_image::app::Checker;
use waxwing_wire::Digest;

use crate::region::{Chip, Region};

/// First byte of a signature sector (Secure Boot v2).
const SIGNATURE_MAGIC: u8 = 0xe7;
const SECTOR_LEN: usize = 4096;

/// What runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Image {
    /// SHA-256 of its file: the image, with the sector behind it that holds its signature, if there is
    /// one.
    pub sha256: Digest,
    /// `secure_version` in its descriptor; 0 where there is none.
    pub secure_version: u32,
}

/// Reads the image in a slot. That the boot loader has started it is proof enough that it is whole.
///
/// # Errors
///
/// [`FlashError`] when flash cannot be read.
pub fn read<F: Chip>(slot: &mut Region<F>) -> Result<Image, FlashError> {
    let (mut checker, mut sector) = (Checker::new(), vec![0; SECTOR_LEN]);
    let mut at = 0;
    while checker.missing_bytes() > 0 && at < slot.bytes() {
        let length = checker.missing_bytes().min(SECTOR_BYTES).min(slot.bytes() - at);
        if !take(slot, at, length, &mut sector, &mut checker)? {
            break;
        }
        at += length;
    }
    let signed_at = at.next_multiple_of(SECTOR_BYTES);
    let mut magic = [0xff];
    if signed_at < slot.bytes() {
        slot.read(signed_at, &mut magic)?;
    }
    if magic == [SIGNATURE_MAGIC] {
        take(slot, at, signed_at - at, &mut sector, &mut checker)?;
        take(slot, signed_at, SECTOR_BYTES, &mut sector, &mut checker)?;
    }
    let sha256 = Digest(checker.sha256());
    let descriptor = checker.finish().ok().and_then(|app| app.descriptor);
    Ok(Image { sha256, secure_version: descriptor.map_or(0, |it| it.secure_version) })
}

/// Lets the checker have at most a sector; false when it takes no more.
fn take<F: Chip>(
    slot: &mut Region<F>,
    at: u32,
    length: u32,
    sector: &mut [u8],
    checker: &mut Checker,
) -> Result<bool, FlashError> {
    let piece = sector.get_mut(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
    slot.read(at, piece)?;
    Ok(checker.update(piece).is_ok())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};
    use waxwing_esp_image::Chip as Model;
    use waxwing_esp_image::partition::{Kind, Partition};
    use waxwing_esp_image::write::AppBuilder;

    use super::*;
    use crate::fake::FakeChip;

    fn image_in(file: &[u8]) -> Image {
        let chip = FakeChip::erased(64);
        chip.fill(0, file);
        let slot = Partition::new("ota_0", Kind::Ota(0), 0, 64 * SECTOR_BYTES);
        read(&mut Region::new(chip, &slot)).unwrap()
    }

    #[test]
    fn an_image_is_hashed_with_its_signature_and_nothing_behind() {
        let builder = AppBuilder::new(Model::Esp32c3).secure_version(3).rodata(vec![7; 9_000]);
        let mut file = builder.build().unwrap();
        let expected =
            |file: &[u8]| Image { sha256: Digest(Sha256::digest(file).into()), secure_version: 3 };
        assert_eq!(image_in(&file), expected(&file));
        let end = file.len().next_multiple_of(SECTOR_LEN);
        file.resize(end, 0xff);
        file.extend([vec![SIGNATURE_MAGIC], vec![1; SECTOR_LEN - 1]].concat());
        assert_eq!(image_in(&file), expected(&file));
    }

    #[test]
    fn what_is_no_image_has_nothing_to_say() {
        for file in [&[0; 64][..], &[0xe9; 64], &[]] {
            assert_eq!(image_in(file).secure_version, 0);
        }
    }
}
