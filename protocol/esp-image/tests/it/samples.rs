//! Images to test with: self-made ones always, real ones from `WAXWING_IMAGES` when it is set.

use std::path::PathBuf;

use waxwing_esp_image::Chip;
use waxwing_esp_image::write::AppBuilder;

/// An address that is RAM on a chip; where most have it, some map flash.
pub(crate) fn ram_of(chip: Chip) -> u32 {
    if chip.maps_flash_at(0x3fc8_0000) { 0x2fc8_0000 } else { 0x3fc8_0000 }
}

/// An image with one segment of each sort.
pub(crate) fn complete(chip: Chip) -> Vec<u8> {
    let ram = ram_of(chip);
    AppBuilder::new(chip)
        .project("th1")
        .version("1.4.2")
        .secure_version(3)
        .rodata(*b"constant data, not a multiple of four")
        .ram(ram, vec![0x5a; 400])
        .ram(ram + 0x4_0000, (0..=255).collect::<Vec<u8>>())
        .code(vec![0x13; 1000])
        .build()
        .unwrap()
}

/// The smallest useful image: a descriptor and a few bytes.
pub(crate) fn small(chip: Chip) -> Vec<u8> {
    AppBuilder::new(chip).project("th1").version("1.4.2").rodata(*b"hello").build().unwrap()
}

/// Self-made images of every shape, with names for messages.
pub(crate) fn self_made() -> Vec<(String, Vec<u8>)> {
    let mut images = Vec::new();
    for chip in Chip::ALL {
        images.push((format!("{chip}-complete"), complete(chip)));
        images.push((format!("{chip}-small"), small(chip)));
    }
    let chip = Chip::Esp32c3;
    // esptool stumbles over mapped data that is shorter than a descriptor.
    let bare = AppBuilder::new(chip).rodata([9; 256]).without_descriptor();
    images.push(("no-descriptor".into(), bare.clone().build().unwrap()));
    images.push(("no-hash".into(), bare.without_hash().build().unwrap()));
    // Every length of the padding before the checksum.
    for words in 0..4 {
        let rodata = vec![7; 4 * words];
        let image = AppBuilder::new(chip).rodata(rodata).build().unwrap();
        images.push((format!("{words}-words"), image));
    }
    images
}

/// The files in `WAXWING_IMAGES`, or none when it is not set.
pub(crate) fn foreign() -> Vec<(String, Vec<u8>)> {
    let Some(folder) = std::env::var_os("WAXWING_IMAGES").map(PathBuf::from) else {
        eprintln!("WAXWING_IMAGES is not set: self-made images only");
        return Vec::new();
    };
    let mut images: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("WAXWING_IMAGES={}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    images.sort();
    assert!(!images.is_empty(), "WAXWING_IMAGES={} holds no .bin file", folder.display());
    images
}
