//! The images that tests and the demo release: made by our own writer, or real ones from a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use waxwing_esp_image::write::AppBuilder;
use waxwing_esp_image::{App, Chip};

/// What the simulated application does, written into its image as real behaviour is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Behaviour {
    /// Resets before it confirms.
    Crash,
    /// Fails its self-test.
    FailSelfTest,
    /// Works.
    Work,
}

impl Behaviour {
    const fn marker(self) -> &'static str {
        match self {
            Self::Crash => "waxwing-sim:crash",
            Self::FailSelfTest => "waxwing-sim:self-test=fail",
            Self::Work => "",
        }
    }
}

/// An image to make.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Version in the descriptor.
    pub version: &'static str,
    /// What the application does.
    pub behaviour: Behaviour,
    /// Bytes of code, so that downloads take more than one range.
    pub code_bytes: usize,
}

/// Project name in the descriptors of our images.
pub const PROJECT: &str = "acme-th1";

/// Makes an image for the ESP32-C3.
///
/// # Errors
///
/// Fails when the parts do not fit the format.
pub fn make(recipe: Recipe) -> Result<Vec<u8>> {
    // Code that differs between versions and does not compress to nothing.
    let seed = recipe.version.bytes().fold(7_u32, |seed, byte| seed * 31 + u32::from(byte));
    let words = (0..recipe.code_bytes / 4).scan(seed, |state, _| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(*state)
    });
    let image = AppBuilder::new(Chip::Esp32c3)
        .version(recipe.version)
        .project(PROJECT)
        .rodata(recipe.behaviour.marker())
        .code(words.flat_map(u32::to_le_bytes).collect::<Vec<_>>())
        .build()?;
    Ok(image)
}

/// Returns a real ESP32-C3 application image from `WAXWING_IMAGES`, if there is one.
///
/// # Errors
///
/// Fails when the folder cannot be read.
pub fn real() -> Result<Option<PathBuf>> {
    let Some(folder) = std::env::var_os("WAXWING_IMAGES") else { return Ok(None) };
    let entries = std::fs::read_dir(&folder)
        .with_context(|| format!("cannot read WAXWING_IMAGES {}", Path::new(&folder).display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths.into_iter().rfind(|path| is_app(path)))
}

fn is_app(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    App::parse(&bytes).is_ok_and(|app| app.header.chip == Chip::Esp32c3 && bytes.len() > 100_000)
}
