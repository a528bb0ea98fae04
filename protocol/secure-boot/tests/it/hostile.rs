//! Whatever is changed in a signed image is refused, and `espsecure` never refuses what we accept.

use waxwing_esp_image::signature::{BLOCK_BYTES, BlockFault, SignatureError};
use waxwing_esp_image::{App, ImageError};
use waxwing_secure_boot::Refusal;

use crate::espsecure::{Workshop, ours};

/// Length of the signature sector.
const SECTOR: usize = 4096;

/// What `espsecure` thinks of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum They {
    /// It skips what is bad, or does not look.
    Accept,
    Refuse,
}

type Change = fn(&mut Vec<u8>);

/// Whether a refusal names the right fault.
type Expected = fn(&Refusal) -> bool;

/// Changes to an image with two blocks of one scheme, with what we say and what `espsecure` says
/// when asked for the first key.
const CHANGES: [(&str, Change, Expected, They); 21] = [
    ("crc", |f| flip(f, 1196), |r| is(r, 0, BlockFault::Crc), They::Accept),
    ("hash", |f| flip(f, 4), |r| is(r, 0, BlockFault::Crc), They::Accept),
    ("hash, new crc", |f| reseal(f, 4), |r| is(r, 0, BlockFault::ImageHash), They::Refuse),
    ("rsa signature", |f| reseal(f, 900), |r| unsigned(r, 0), They::Accept),
    ("ecdsa r", |f| reseal(f, 101), |r| unsigned(r, 0), They::Accept),
    ("key", |f| reseal(f, 40), |r| unsigned(r, 0), They::Accept),
    ("rsa exponent", |f| reseal(f, 420), |r| unsigned(r, 0), They::Accept),
    ("magic", |f| reseal(f, 0), |r| is(r, 0, BlockFault::Magic(0xe6)), They::Accept),
    ("version 1", |f| version(f, 1), |r| is(r, 0, BlockFault::Version(1)), They::Accept),
    ("version 4", |f| version(f, 4), |r| is(r, 0, BlockFault::Version(4)), They::Accept),
    (
        "other scheme",
        |f| other_scheme(f),
        |r| {
            matches!(
                r,
                Refusal::Signature { .. }
                    | Refusal::Sector(SignatureError::Block {
                        fault: BlockFault::Curve { .. },
                        ..
                    })
            )
        },
        They::Accept,
    ),
    ("zeros behind the crc", |f| flip(f, 1200), |r| is(r, 0, BlockFault::Padding), They::Accept),
    ("second block", |f| flip(f, BLOCK_BYTES + 4), |r| is(r, 1, BlockFault::Crc), They::Accept),
    ("gap", |f| gap(f), |r| *r == SignatureError::TrailingData.into(), They::Accept),
    (
        "no block",
        |f| erase(f, 0, 2 * BLOCK_BYTES),
        |r| *r == SignatureError::Empty.into(),
        They::Refuse,
    ),
    (
        "fourth block",
        |f| flip(f, 3 * BLOCK_BYTES),
        |r| *r == SignatureError::TrailingData.into(),
        They::Accept,
    ),
    ("image", |f| f[300] ^= 1, |r| is(r, 0, BlockFault::ImageHash), They::Refuse),
    ("padding", |f| padding(f), |r| is(r, 0, BlockFault::ImageHash), They::Refuse),
    (
        "cut by a byte",
        |f| f.truncate(f.len() - 1),
        |r| *r == SignatureError::Truncated.into(),
        They::Refuse,
    ),
    (
        "cut by a sector",
        |f| f.truncate(f.len() - SECTOR),
        |r| *r == SignatureError::Truncated.into(),
        They::Refuse,
    ),
    (
        "a sector more",
        |f| f.extend([0xff; SECTOR]),
        |r| *r == SignatureError::Empty.into(),
        They::Refuse,
    ),
];

#[test]
fn every_change_to_a_signed_image_is_refused() {
    for scheme in ["rsa3072", "ecdsa256"] {
        let mut shop = Workshop::new();
        shop.key(scheme, "k1").key(scheme, "k2").sign("image.bin", "k1", "1.bin");
        shop.append("1.bin", "k2", "12.bin").run_all();
        let good = shop.read("12.bin");
        assert!(ours(&good).is_ok());
        for (name, change, is_expected, _) in CHANGES.iter().filter(|row| applies(row.0, scheme)) {
            let mut file = good.clone();
            change(&mut file);
            let refusal = ours(&file).expect_err(name);
            assert!(is_expected(&refusal), "{scheme}, {name}: {refusal:?}");
            let file_name = format!("{}.bin", name.replace(' ', "-"));
            shop.write(&file_name, &file);
            for key in ["k1", "k2"] {
                shop.step(&format!(
                    "verify-signature --version 2 --keyfile @{key}.pub @{file_name}"
                ));
            }
        }
        let answers = shop.run();
        let rows = CHANGES.iter().filter(|row| applies(row.0, scheme));
        for ((name, _, _, they), answers) in rows.zip(answers.chunks(2)) {
            let said = if answers.iter().any(|a| a.accepted) { They::Accept } else { They::Refuse };
            assert_eq!(said, *they, "{scheme}, {name}: {answers:#?}");
        }
    }
}

#[test]
fn a_boot_loader_would_not_even_find_a_signature_that_lies_elsewhere() {
    let mut shop = Workshop::new();
    shop.key("ecdsa256", "key").sign("image.bin", "key", "signed.bin").run_all();
    let good = shop.read("signed.bin");
    let at = good.len() - SECTOR;
    let parse = |change: Change| {
        let mut file = good.clone();
        change(&mut file);
        App::parse(&file)
    };
    let at = u32::try_from(at).unwrap();
    assert_eq!(parse(|_| ()).unwrap().signature_at, Some(at));
    assert_eq!(parse(|f| flip(f, 0)), Err(ImageError::TrailingData { at }));
    assert_eq!(parse(|f| padding(f)), Err(ImageError::TrailingData { at: at - 1 }));
    assert_eq!(parse(|f| f.truncate(f.len() - 1)), Err(ImageError::Truncated));
}

#[test]
fn a_flipped_bit_in_any_byte_of_a_signature_sector_is_noticed() {
    let mut shop = Workshop::new();
    shop.key("ecdsa256", "key").sign("image.bin", "key", "signed.bin").run_all();
    let good = shop.read("signed.bin");
    for at in 0..SECTOR {
        let mut file = good.clone();
        file[good.len() - SECTOR + at] ^= 1 << (at % 8);
        assert!(ours(&file).is_err(), "byte {at}");
    }
}

fn applies(change: &str, scheme: &str) -> bool {
    match change.split(' ').next() {
        Some("ecdsa") => scheme == "ecdsa256",
        Some("rsa") => scheme == "rsa3072",
        _ => true,
    }
}

fn is(refusal: &Refusal, index: usize, fault: BlockFault) -> bool {
    *refusal == SignatureError::Block { index, fault }.into()
}

fn unsigned(refusal: &Refusal, block: usize) -> bool {
    matches!(refusal, Refusal::Signature { index, .. } if *index == block)
}

/// Flips the lowest bit at an offset in the signature sector.
fn flip(file: &mut [u8], at: usize) {
    let sector = file.len() - SECTOR;
    file[sector + at] ^= 1;
}

/// Flips a bit of the first block, and makes its CRC good again.
fn reseal(file: &mut [u8], at: usize) {
    flip(file, at);
    seal(file);
}

fn version(file: &mut [u8], version: u8) {
    let sector = file.len() - SECTOR;
    file[sector + 1] = version;
    seal(file);
}

fn other_scheme(file: &mut [u8]) {
    let sector = file.len() - SECTOR;
    let other = 5 - file[sector + 1];
    version(file, other);
}

fn erase(file: &mut [u8], at: usize, bytes: usize) {
    let sector = file.len() - SECTOR;
    file[sector + at..][..bytes].fill(0xff);
}

fn gap(file: &mut [u8]) {
    let sector = file.len() - SECTOR;
    file.copy_within(sector + BLOCK_BYTES..sector + 2 * BLOCK_BYTES, sector + 2 * BLOCK_BYTES);
    erase(file, BLOCK_BYTES, BLOCK_BYTES);
}

fn padding(file: &mut [u8]) {
    let last = file.len() - SECTOR - 1;
    file[last] = 0;
}

fn seal(file: &mut [u8]) {
    let sector = file.len() - SECTOR;
    let block = &mut file[sector..][..BLOCK_BYTES];
    let crc = crc32(&block[..1196]);
    block[1196..1200].copy_from_slice(&crc.to_le_bytes());
}

/// CRC-32 written once more, so that a mistake in ours cannot hide.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |bit| u32::from(byte >> bit) & 1)) {
        crc = if (crc ^ bit) & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    }
    !crc
}
