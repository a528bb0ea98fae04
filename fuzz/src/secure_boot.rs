//! Secure Boot v2 signature sectors.

use sha2::{Digest as _, Sha256};
use waxwing_esp_image::signature::{BLOCK_BYTES, BLOCKS_MAX, Collector, Scheme, Sector};

/// Length of a sector.
const SECTOR: usize = 4096;
/// Length of what the CRC of a block covers.
const CRC_AT: usize = 1196;

/// The signature blocks of an image of one sector: as they are, and with hash and CRC made right.
/// What is accepted is a whole number of good blocks and nothing else.
pub fn check(bytes: &[u8]) {
    let image = [0xe9; SECTOR];
    let mut sector = bytes.to_vec();
    sector.resize(SECTOR, 0xff);
    check_sector(&[&image[..], &sector].concat());
    let hash = Sha256::digest(image);
    for block in sector.chunks_exact_mut(BLOCK_BYTES).filter(|it| it.iter().any(|it| *it != 0xff)) {
        block[4..36].copy_from_slice(&hash);
        let crc = crc32(&block[..CRC_AT]);
        block[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }
    check_sector(&[&image[..], &sector].concat());
}

fn check_sector(file: &[u8]) {
    let sector = Sector::of_file(file).expect("two sectors");
    let mut collector = Collector::new();
    file.chunks(1000).for_each(|piece| collector.update(piece));
    let collected = collector.finish(4096).expect("two sectors");
    let blocks = sector.blocks();
    assert_eq!(blocks.is_ok(), collected.blocks().is_ok(), "read in pieces it is another sector");
    let Ok(blocks) = blocks else { return };
    let blocks: Vec<_> = blocks.iter().collect();
    assert!((1..=BLOCKS_MAX).contains(&blocks.len()));
    let (image, bytes) = file.split_at(SECTOR);
    for (block, bytes) in blocks.iter().zip(bytes.chunks(BLOCK_BYTES)) {
        assert_eq!(bytes[4..36], Sha256::digest(image)[..], "a block for another image");
        assert_eq!(bytes[CRC_AT..CRC_AT + 4], crc32(&bytes[..CRC_AT]).to_le_bytes());
        let is_rsa = block.scheme() == Scheme::RsaPss3072;
        assert_eq!((bytes[1] == 2, bytes[1] == 3), (is_rsa, !is_rsa));
        assert_eq!((block.rsa3072().is_some(), block.ecdsa_p256().is_some()), (is_rsa, !is_rsa));
        let key = if is_rsa { &bytes[36..812] } else { &bytes[36..101] };
        assert_eq!(block.key_digest(), *Sha256::digest(key));
    }
    let behind = &bytes[blocks.len() * BLOCK_BYTES..];
    assert!(behind.iter().all(|it| *it == 0xff), "something hides behind the blocks");
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xedb8_8320 };
        }
    }
    !crc
}
