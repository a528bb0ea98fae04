//! App images: what is accepted, what is refused, and that nothing panics.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use waxwing_esp_image::app::{Checker, IMAGE_BYTES_MAX};
use waxwing_esp_image::check::{self, Expected, Mismatch};
use waxwing_esp_image::write::{AppBuilder, BuildError, patch};
use waxwing_esp_image::{App, Chip, ImageError, SECTOR_BYTES};

use crate::{CHIP, samples};

#[test]
fn what_was_built_is_read_back() {
    let app = App::parse(&samples::complete(CHIP)).unwrap();
    let descriptor = app.descriptor.unwrap();
    assert_eq!(app.header.chip, CHIP);
    assert_eq!(descriptor.project.as_str(), Some("th1"));
    assert_eq!(descriptor.version.as_str(), Some("1.4.2"));
    assert_eq!(descriptor.secure_version, 3);
    // Data, two for RAM, padding, code.
    assert_eq!(app.segments().len(), 5);
    assert_eq!(app.segments()[4].data_at, 0x1_0020);
    assert_eq!(app.segments()[4].load_address, app.header.entry);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let good = samples::small(CHIP);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(App::parse(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn every_flipped_bit_of_a_segment_is_noticed_without_a_hash() {
    let good = AppBuilder::new(CHIP).rodata(vec![0; 64]).without_hash().build().unwrap();
    let data_bytes = App::parse(&good).unwrap().segments()[0].data_bytes as usize;
    for bit in 0..data_bytes * 8 {
        let mut bad = good.clone();
        bad[32 + bit / 8] ^= 1 << (bit % 8);
        let error = App::parse(&bad).unwrap_err();
        assert!(matches!(error, ImageError::BadChecksum { .. }), "bit {bit}: {error}");
    }
}

#[test]
fn every_truncation_is_noticed() {
    let good = samples::small(CHIP);
    for len in 0..good.len() {
        assert_eq!(App::parse(&good[..len]), Err(ImageError::Truncated), "{len} bytes");
    }
}

#[test]
fn damage_that_the_checksum_misses_is_found_by_the_hash() {
    let mut bad = samples::small(CHIP);
    bad[288] ^= 1;
    bad[289] ^= 1;
    assert_eq!(App::parse(&bad), Err(ImageError::BadHash));
}

#[test]
fn headers_no_boot_loader_would_take_are_refused() {
    check_header(0, 0xea, ImageError::BadMagic);
    check_header(1, 0, ImageError::SegmentCount(0));
    check_header(1, 17, ImageError::SegmentCount(17));
    check_header(12, 99, ImageError::UnknownChip(99));
    check_header(23, 2, ImageError::BadHashFlag(2));
    // Length of the first segment.
    check_header(28, 3, ImageError::SegmentLength(259));
    check_header(31, 1, ImageError::TooLong);
    check_header(31, 0xff, ImageError::TooLong);
}

#[track_caller]
fn check_header(at: usize, value: u8, expected: ImageError) {
    let mut bad = AppBuilder::new(CHIP).rodata([0; 4]).build().unwrap();
    bad[at] = value;
    assert_eq!(App::parse(&bad), Err(expected));
}

#[test]
fn data_that_cannot_be_mapped_is_refused() {
    let image = |load_address| {
        AppBuilder::new(CHIP).rodata(*b"data").ram(load_address, *b"code").build().unwrap()
    };
    let data_at = App::parse(&image(0x3fc8_0000)).unwrap().segments()[1].data_at;
    assert!(App::parse(&image(0x4200_0000 + data_at)).is_ok());
    let error = App::parse(&image(0x4200_0000 + data_at + 4)).unwrap_err();
    assert_eq!(error, ImageError::Misaligned { segment: 1 });
}

#[test]
fn erased_flash_and_one_signature_sector_may_follow() {
    let image = samples::small(CHIP);
    let mut padded = image.clone();
    padded.resize(SECTOR_BYTES as usize, 0xff);
    assert_eq!(App::parse(&padded).unwrap().signature_at, None);

    let mut signed = padded.clone();
    signed.extend([0xe7, 2, 0, 0]);
    signed.resize(2 * SECTOR_BYTES as usize, 0xab);
    let app = App::parse(&signed).unwrap();
    assert_eq!(app.signature_at, Some(SECTOR_BYTES));
    assert_eq!(app.image_bytes as usize, image.len());

    let cut = &signed[..signed.len() - 1];
    assert_eq!(App::parse(cut), Err(ImageError::Truncated));
    signed.resize(3 * SECTOR_BYTES as usize, 0xff);
    assert!(App::parse(&signed).is_ok());
    signed.push(0xe7);
    let at = 3 * SECTOR_BYTES;
    assert_eq!(App::parse(&signed), Err(ImageError::TrailingData { at }));
}

#[test]
fn anything_else_behind_the_image_is_refused() {
    let image = samples::small(CHIP);
    let end = image.len() as u32;
    for (padding, byte) in [(0, 0), (0, 0xe7), (1, 0xfe), (5000, 0xe7), (9000, 0)] {
        let mut bad = image.clone();
        bad.resize(image.len() + padding, 0xff);
        bad.push(byte);
        let at = end + padding as u32;
        assert_eq!(App::parse(&bad), Err(ImageError::TrailingData { at }));
    }
    let mut endless = image;
    endless.resize(IMAGE_BYTES_MAX as usize + 1, 0xff);
    assert_eq!(App::parse(&endless), Err(ImageError::TooLong));
}

#[test]
fn a_checker_that_refused_stays_refused() {
    let mut checker = Checker::new();
    assert_eq!(checker.update(&[0; 24]), Err(ImageError::BadMagic));
    assert_eq!(checker.update(&samples::small(CHIP)), Err(ImageError::BadMagic));
    assert_eq!(checker.finish(), Err(ImageError::BadMagic));
}

#[test]
fn missing_bytes_lead_through_flash_to_the_end_of_the_image() {
    for (name, image) in samples::self_made() {
        let mut flash = image.clone();
        flash.extend(b"whatever was there before");
        let mut checker = Checker::new();
        let mut at = 0;
        while checker.missing_bytes() > 0 {
            let len = (checker.missing_bytes() as usize).min(100);
            checker.update(&flash[at..at + len]).unwrap();
            at += len;
        }
        assert_eq!(at, image.len(), "{name}");
        assert_eq!(checker.finish(), App::parse(&image), "{name}");
    }
}

#[test]
fn an_image_is_compared_with_what_was_expected() {
    let image = samples::complete(CHIP);
    let app = App::parse(&image).unwrap();
    let good = Expected {
        chip: CHIP,
        slot_bytes: image.len() as u32,
        version: Some("1.4.2"),
        project: Some("th1"),
        secure_version: 3,
    };
    let check = |expected: Expected<'_>| check::against(&app, image.len() as u64, &expected);
    let descriptor = app.descriptor.unwrap();
    assert_eq!(check(good), Ok(()));
    assert_eq!(check(Expected { version: None, project: None, ..good }), Ok(()));
    assert_eq!(
        check(Expected { chip: Chip::Esp32, ..good }),
        Err(Mismatch::Chip { expected: Chip::Esp32, found: CHIP })
    );
    assert_eq!(
        check(Expected { slot_bytes: good.slot_bytes - 1, ..good }),
        Err(Mismatch::TooLarge { file_bytes: image.len() as u64, slot_bytes: good.slot_bytes - 1 })
    );
    assert_eq!(
        check(Expected { version: Some("1.4.3"), ..good }),
        Err(Mismatch::Version { found: descriptor.version })
    );
    assert_eq!(
        check(Expected { project: Some("th2"), ..good }),
        Err(Mismatch::Project { found: descriptor.project })
    );
    assert_eq!(
        check(Expected { secure_version: 2, ..good }),
        Err(Mismatch::SecureVersion { expected: 2, found: 3 })
    );
}

#[test]
fn an_image_without_descriptor_fits_only_where_nothing_is_expected_of_it() {
    let image = AppBuilder::new(CHIP).rodata(*b"data").without_descriptor().build().unwrap();
    let app = App::parse(&image).unwrap();
    let foreign = Expected {
        chip: CHIP,
        slot_bytes: 1 << 20,
        version: None,
        project: None,
        secure_version: 0,
    };
    assert_eq!(check::against(&app, 100, &foreign), Ok(()));
    let strict = Expected { version: Some("1.0.0"), ..foreign };
    assert_eq!(check::against(&app, 100, &strict), Err(Mismatch::NoDescriptor));
}

#[test]
fn a_secure_version_the_chip_cannot_count_to_is_refused() {
    let image = AppBuilder::new(Chip::Esp32c2).secure_version(5).build().unwrap();
    let app = App::parse(&image).unwrap();
    let expected = Expected {
        chip: Chip::Esp32c2,
        slot_bytes: 1 << 20,
        version: None,
        project: None,
        secure_version: 5,
    };
    let refused = Mismatch::SecureVersionMax { found: 5, chip: Chip::Esp32c2 };
    assert_eq!(check::against(&app, 100, &expected), Err(refused));
}

#[test]
fn parts_that_do_not_fit_the_format_are_not_built() {
    let build = |builder: AppBuilder| builder.build().unwrap_err();
    assert_eq!(build(AppBuilder::new(CHIP).version(&"1".repeat(32))), BuildError::Text);
    assert_eq!(build(AppBuilder::new(CHIP).project("a\0b")), BuildError::Text);
    let many = (0..16).fold(AppBuilder::new(CHIP), |builder, _| builder.ram(0x3fc8_0000, [0; 4]));
    assert_eq!(build(many), BuildError::TooManySegments);
    let long = AppBuilder::new(CHIP).rodata(vec![0; IMAGE_BYTES_MAX as usize]);
    assert_eq!(build(long), BuildError::TooLong);
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = App::parse(&bytes);
    }

    #[test]
    fn any_damage_is_an_error(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let good = samples::small(CHIP);
        let mut bad = good.clone();
        for (index, byte) in edits {
            let len = bad.len();
            bad[index.index(len)] = byte;
        }
        bad.truncate(cut.index(good.len() + 1));
        prop_assert_eq!(App::parse(&bad).is_ok(), bad == good);
    }

    #[test]
    fn pieces_of_any_size_give_the_same_verdict(
        mut bytes in Just(samples::small(CHIP)),
        edit in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        padding in 0usize..9000,
        pieces in proptest::collection::vec(1usize..700, 1..40),
    ) {
        bytes.resize(bytes.len() + padding, 0xff);
        if let Some((index, byte)) = edit {
            let len = bytes.len();
            bytes[index.index(len)] = byte;
        }
        let mut checker = Checker::new();
        let mut rest = &bytes[..];
        for piece in pieces.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(piece.min(rest.len()));
            let _ = checker.update(now);
            rest = later;
        }
        // A damaged file is hashed whole, too.
        prop_assert_eq!(&checker.sha256()[..], &Sha256::digest(&bytes)[..]);
        prop_assert_eq!(checker.finish(), App::parse(&bytes));
    }

    #[test]
    fn whatever_is_built_is_read_back(
        chip in proptest::sample::select(&Chip::ALL[..]),
        version in "[ -~]{0,31}",
        project in "[ -~]{0,31}",
        secure_version in any::<u32>(),
        rodata in proptest::collection::vec(any::<u8>(), 0..300),
        ram in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..99), 0..5),
        code in proptest::collection::vec(any::<u8>(), 0..99),
    ) {
        let builder = AppBuilder::new(chip)
            .version(&version)
            .project(&project)
            .secure_version(secure_version)
            .rodata(rodata)
            .code(code);
        let at = samples::ram_of(chip);
        let builder = ram.into_iter().fold(builder, |builder, data| builder.ram(at, data));
        let app = App::parse(&builder.build().unwrap()).unwrap();
        let descriptor = app.descriptor.unwrap();
        prop_assert_eq!(app.header.chip, chip);
        prop_assert_eq!(descriptor.version.as_str(), Some(&*version));
        prop_assert_eq!(descriptor.project.as_str(), Some(&*project));
        prop_assert_eq!(descriptor.secure_version, secure_version);
    }
}

#[test]
fn a_patched_image_is_another_good_one() {
    for builder in [AppBuilder::new(Chip::Esp32c3), AppBuilder::new(Chip::Esp32c3).without_hash()] {
        let good = builder.version("1.0.0").rodata(*b"mark:works..").build().unwrap();
        let at = good.windows(5).position(|bytes| bytes == b"mark:").unwrap();
        let mut other = good.clone();
        patch(&mut other, at, b"mark:fails").unwrap();
        assert!(App::parse(&other).is_ok() && other != good);
        patch(&mut other, at, b"mark:works").unwrap();
        assert_eq!(other, good);
    }
}

#[test]
fn only_what_is_in_a_segment_can_be_patched() {
    let good = AppBuilder::new(Chip::Esp32c3).rodata([1; 64]).build().unwrap();
    for at in [0, 23, good.len() - 33, good.len() - 1, good.len(), usize::MAX] {
        assert!(patch(&mut good.clone(), at, &[7, 7]).is_err(), "at {at}");
    }
    assert!(patch(&mut [0; 64], 32, &[7]).is_err());
}
