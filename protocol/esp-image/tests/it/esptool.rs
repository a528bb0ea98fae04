//! Oracle: `esptool image-info` must see in an image what we see.

use std::collections::BTreeMap;
use std::process::Command;

use waxwing_esp_image::app::{Descriptor, Text};
use waxwing_esp_image::{App, ImageError};

use crate::{CHIP, samples};

#[test]
fn esptool_sees_the_same_in_self_made_images() {
    let images = samples::self_made();
    for (name, bytes) in &images {
        assert!(App::parse(bytes).is_ok(), "{name}: {:?}", App::parse(bytes));
    }
    check(&images);
}

#[test]
fn esptool_sees_the_same_in_foreign_images() {
    check(&samples::foreign());
}

#[test]
fn esptool_sees_the_same_damage() {
    let good = samples::complete(CHIP);
    let last = good.len() - 1;
    let mut images = Vec::new();
    let mut flip = |name: &str, at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        images.push((name.to_owned(), bad));
    };
    // The hash flag is left alone: esptool takes an image with a strange one for an ESP8266's.
    flip("magic", 0);
    flip("entry", 4);
    flip("descriptor", 40);
    flip("data", 300);
    flip("code", last - 100);
    flip("checksum", last - 32);
    flip("hash", last);
    for len in [0, 1, 23, 24, 31, 32, 300, 66_000, last - 33, last - 32, last - 31, last] {
        images.push((format!("cut at {len}"), good[..len].to_vec()));
    }
    check(&images);
}

/// Compares verdict and findings.
#[track_caller]
fn check(images: &[(String, Vec<u8>)]) {
    for ((name, bytes), theirs) in images.iter().zip(image_info(images)) {
        compare(name, App::parse(bytes), theirs.as_deref().map(Findings::parse));
    }
}

#[track_caller]
fn compare(name: &str, ours: Result<App, ImageError>, theirs: Option<Findings>) {
    match (ours, theirs) {
        (Ok(app), Some(theirs)) => {
            assert_eq!(Findings::of(&app), theirs, "{name}");
        }
        (Err(ImageError::BadChecksum { computed, found }), Some(theirs)) => {
            let verdict = format!("{found:#04x} (invalid - calculated {computed:#04x})");
            assert_eq!(theirs.checksum, verdict, "{name}");
        }
        (Err(ImageError::BadHash), Some(theirs)) => {
            assert!(theirs.checksum.ends_with("(valid)"), "{name}: {theirs:?}");
            assert_eq!(theirs.hash, Some("invalid".to_owned()), "{name}");
        }
        (Err(ImageError::Truncated), Some(theirs)) => {
            // The last part, the hash, is cut: esptool compares what there is of it.
            assert_eq!(theirs.hash, Some("invalid".to_owned()), "{name}");
        }
        (Err(ImageError::BadMagic | ImageError::Truncated), None) => {}
        (ours, theirs) => panic!("{name}: we say {ours:?}, esptool says {theirs:?}"),
    }
}

/// What is compared, in the words of esptool.
#[derive(Debug, Eq, PartialEq)]
struct Findings {
    chip: String,
    entry: String,
    segments: Vec<(u32, u32, u32)>,
    checksum: String,
    /// `valid` or `invalid`; `None` when there is no hash.
    hash: Option<String>,
    descriptor: Option<BTreeMap<String, String>>,
}

impl Findings {
    fn of(app: &App) -> Self {
        // esptool counts from the segment header.
        let segment =
            |s: &waxwing_esp_image::app::Segment| (s.data_bytes, s.load_address, s.data_at - 8);
        Self {
            chip: app.header.chip.id().to_string(),
            entry: match app.header.entry {
                0 => "Entry point not set".to_owned(),
                entry => format!("{entry:#8x}"),
            },
            segments: app.segments().iter().map(segment).collect(),
            checksum: format!("{:#04x} (valid)", app.checksum),
            hash: app.sha256.map(|_| "valid".to_owned()),
            descriptor: app.descriptor.as_ref().map(describe),
        }
    }

    fn parse(text: &str) -> Self {
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        let value = |key: &str| {
            let line = lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.map(|value| value.trim_start().to_owned())
        };
        let hash = value("Validation hash").map(|hash| {
            if hash.ends_with("(valid)") { "valid".to_owned() } else { "invalid".to_owned() }
        });
        let descriptor = lines.contains(&"Application Information").then(|| {
            DESCRIPTOR_KEYS
                .iter()
                .map(|key| ((*key).to_owned(), value(key).unwrap_or_default()))
                .collect()
        });
        Self {
            chip: value("Chip ID").unwrap().split(' ').next().unwrap().to_owned(),
            entry: value("Entry point").unwrap_or_else(|| "Entry point not set".to_owned()),
            segments: lines.iter().filter_map(|line| segment(line)).collect(),
            checksum: value("Checksum").unwrap(),
            hash,
            descriptor,
        }
    }
}

const DESCRIPTOR_KEYS: [&str; 9] = [
    "Project name",
    "App version",
    "Compile time",
    "ELF file SHA256",
    "ESP-IDF",
    "Minimal eFuse block revision",
    "Maximal eFuse block revision",
    "MMU page size",
    "Secure version",
];

fn describe(descriptor: &Descriptor) -> BTreeMap<String, String> {
    fn revision(full: u16) -> String {
        format!("{}.{}", full / 100, full % 100)
    }
    fn text<const N: usize>(text: Text<N>) -> String {
        text.as_str().unwrap().to_owned()
    }
    let sha256 = descriptor.elf_sha256.map(|byte| format!("{byte:02x}")).concat();
    let page = match descriptor.mmu_page_bytes() {
        0 => String::new(),
        bytes => format!("{} KB", bytes / 1024),
    };
    let compiled = format!("{} {}", text(descriptor.date), text(descriptor.time));
    let values = [
        text(descriptor.project),
        text(descriptor.version),
        compiled.trim().to_owned(),
        sha256,
        text(descriptor.idf_version),
        revision(descriptor.efuse_revision_min),
        revision(descriptor.efuse_revision_max),
        page,
        descriptor.secure_version.to_string(),
    ];
    DESCRIPTOR_KEYS.map(str::to_owned).into_iter().zip(values).collect()
}

/// Parses a line of the segment table: number, length, address, file offset, memory types.
fn segment(line: &str) -> Option<(u32, u32, u32)> {
    let mut words = line.split_whitespace();
    words.next()?.parse::<u32>().ok()?;
    let mut hex = || u32::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    Some((hex()?, hex()?, hex()?))
}

/// Runs `esptool image-info` on one file after the other: starting Python takes longer than the
/// rest.
const SCRIPT: &str = r#"
import sys, esptool
for path in sys.argv[1:]:
    try:
        esptool.main(["image-info", path])
        verdict = "accepted"
    except SystemExit as exit:
        verdict = "refused" if exit.code else "accepted"
    except Exception:
        verdict = "refused"
    print("verdict:", verdict, flush=True)
"#;

/// Returns what esptool prints about each image; `None` when it refuses it.
fn image_info(images: &[(String, Vec<u8>)]) -> Vec<Option<String>> {
    let python = std::env::var_os("WAXWING_PYTHON").expect(
        "WAXWING_PYTHON must name a Python interpreter with esptool 5.6.0; \
         `cargo xtask test` prepares one and sets it",
    );
    let folder = tempfile::tempdir().unwrap();
    let mut esptool = Command::new(python);
    esptool.args(["-c", SCRIPT]).env("PYTHONIOENCODING", "utf-8");
    for (index, (_, bytes)) in images.iter().enumerate() {
        let path = folder.path().join(index.to_string());
        std::fs::write(&path, bytes).unwrap();
        esptool.arg(path);
    }
    let output = esptool.output().expect("WAXWING_PYTHON cannot be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "esptool cannot be run: {stderr}");
    let verdicts = split_verdicts(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(verdicts.len(), images.len());
    verdicts
}

fn split_verdicts(output: &str) -> Vec<Option<String>> {
    let mut parts: Vec<_> = output.split("verdict: ").collect();
    // Each part but the first begins with the verdict on the text before it.
    let texts = parts.clone();
    parts.remove(0);
    let accepted = |part: &&str| part.starts_with("accepted");
    texts.into_iter().zip(parts).map(|(text, next)| accepted(&next).then(|| text.into())).collect()
}
