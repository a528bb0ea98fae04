//! Files as files: counted and copied.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Returns the version of the newest root in a folder.
pub(crate) fn newest_root(metadata: &Path) -> Result<u64> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(metadata)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        versions.extend(
            name.strip_suffix(".root.json").and_then(|version| version.parse::<u64>().ok()),
        );
    }
    versions.into_iter().max().context("the repository has a root")
}

/// Copies a folder with everything in it, and who may read it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let (path, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
