//! One name for the sources, wherever they are.
//!
//! Cargo tells packages outside of a workspace apart by their path, and names what it makes of them
//! after it: the same source in two folders would become two programs.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The same on every machine, or images of two machines would differ: not where `TMPDIR` says.
const PLACE: &str = "/tmp";
/// A folder there, for the name and its lock.
const FOLDER: &str = "waxwing-firmware";

/// The name, given to one folder for as long as this is held.
#[derive(Debug)]
pub(super) struct Named {
    _lock: File,
}

impl Named {
    /// Gives a folder the name, once nobody else has it.
    ///
    /// # Errors
    ///
    /// When somebody else owns the place where the name is.
    pub(super) fn give(source: &Path) -> anyhow::Result<Self> {
        let folder = folder();
        let made = DirBuilder::new().mode(0o700).create(&folder);
        let found = fs::symlink_metadata(&folder)
            .with_context(|| format!("cannot make {}: {made:?}", folder.display()))?;
        let ours = fs::metadata("/proc/self")?.uid();
        if !found.is_dir() || found.uid() != ours || found.mode() & 0o077 != 0 {
            bail!("{} is not a folder of ours alone; remove it", folder.display());
        }
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        let named = Self { _lock: lock };
        let link = named.path();
        if fs::symlink_metadata(&link).is_ok() {
            fs::remove_file(&link)?;
        }
        symlink(source, &link)?;
        Ok(named)
    }

    /// Returns the name.
    #[expect(clippy::unused_self, reason = "only who holds it may use it")]
    pub(super) fn path(&self) -> PathBuf {
        folder().join("source")
    }
}

fn folder() -> PathBuf {
    Path::new(PLACE).join(FOLDER)
}
