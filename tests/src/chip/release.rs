//! Releases of the firmware, all from one build: version and behaviour are changed in its image.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use waxwing_esp_image::app::{HEADER_BYTES, SEGMENT_HEADER_BYTES};
use waxwing_esp_image::write::patch;

use super::sha256;
use crate::program::beside;

/// The image as it was built.
const IMAGE: &str = "firmware/app-ethernet.bin";

/// Where the version is in an image, and how long it may be (`esp_app_desc_t`).
const VERSION_AT: usize = 48;
const TEXT_BYTES: usize = 32;
/// The name of the project in it.
pub const PROJECT: &str = "waxwing-esp32";

/// The mark in the image as it was built.
const MARK: &[u8; TEXT_BYTES] = b"waxwing-app:works              \0";
/// What every mark begins with.
const MARK_PREFIX: &str = "waxwing-app:";
/// What is between that and the NUL at the end.
const WORD_BYTES: usize = TEXT_BYTES - MARK_PREFIX.len() - 1;

/// What a release of the application does wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mark {
    /// Crashes in its self-test.
    Crash,
    /// Crashes behind its guard, before anything of the agent runs.
    CrashEarly,
    /// Crashes in its first instruction, before its guard.
    CrashFirst,
    /// Fails its self-test.
    Fail,
    /// Hangs in its self-test.
    Hang,
    /// Says while it soaks that it is not well.
    Ill,
    /// Nothing.
    Works,
}

impl Mark {
    /// The word in the image.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::CrashEarly => "crash-early",
            Self::CrashFirst => "crash-first",
            Self::Fail => "fail",
            Self::Hang => "hang",
            Self::Ill => "ill",
            Self::Works => "works",
        }
    }
}

/// Writes a release and returns the SHA-256 of its image.
///
/// # Errors
///
/// Fails when the firmware was not built, or is another one.
pub fn firmware(to: &Path, version: &str, mark: Mark) -> Result<String> {
    let mut image = fs::read(beside(IMAGE)?)?;
    let mut marks = image.windows(MARK.len()).enumerate().filter(|(_, bytes)| *bytes == MARK);
    let (at, _) = marks.next().context("the firmware has a mark")?;
    ensure!(marks.next().is_none(), "the firmware has one mark");
    let word = format!("{MARK_PREFIX}{:width$}\0", mark.word(), width = WORD_BYTES);
    patch(&mut image, at, word.as_bytes())?;
    patch(&mut image, VERSION_AT, &text(version))?;
    if mark == Mark::CrashFirst {
        let entry = entry_in(&image).context("the firmware has an entry point")?;
        patch(&mut image, entry, &RESET.map(u32::to_le_bytes).concat())?;
    }
    fs::write(to, &image)?;
    Ok(sha256(&image))
}

/// Jumps to the function of the chip's ROM that resets it (`software_reset` at `0x4000_0090`): what a
/// crash comes to. `lui t0, 0x40000; jalr zero, 0x90(t0)`.
const RESET: [u32; 2] = [0x4000_02b7, 0x0902_8067];

/// Returns where in the file the first instruction is.
fn entry_in(image: &[u8]) -> Option<usize> {
    let word = |at: usize| {
        let bytes = image.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let entry = word(4)?;
    let mut at = HEADER_BYTES;
    for _ in 0..*image.get(1)? {
        let (address, length) = (word(at)?, word(at + 4)?);
        at += SEGMENT_HEADER_BYTES;
        if (address..address + length).contains(&entry) {
            return Some(at + entry - address);
        }
        at += length;
    }
    None
}

fn text(text: &str) -> [u8; TEXT_BYTES] {
    let mut field = [0; TEXT_BYTES];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}
