//! The same source makes the same bytes, wherever it is built.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::Built;
use crate::workspace::{command, root};

/// Builds every image again in a folder of another name, with nothing built before, and compares.
///
/// # Errors
///
/// Names the images that differ.
pub(super) fn compare(python: &Path, all: &[Built]) -> anyhow::Result<()> {
    let folder = super::out()?.join("elsewhere");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let source = folder.join("a/folder/of/another/name");
    copy_sources(&source)?;
    let (target, out) = (folder.join("target"), folder.join("out"));
    fs::create_dir_all(&out)?;
    let mut different = Vec::new();
    for built in all {
        let again = super::build(python, &source, &target, &out, built.variant)?;
        if fs::read(&again.image)? != fs::read(&built.image)? {
            different.push(built.variant.name);
        }
    }
    if !different.is_empty() {
        bail!("not the same when built again: {}", different.join(", "));
    }
    fs::remove_dir_all(&folder)?;
    eprintln!("the same bytes when built again, elsewhere");
    Ok(())
}

/// Copies what git knows and does not ignore.
fn copy_sources(to: &Path) -> anyhow::Result<()> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = command("git").args(list).output().context("cannot start git")?;
    for path in output.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let path = Path::new(std::str::from_utf8(path)?);
        let (from, to) = (root().join(path), to.join(path));
        if from.is_file() {
            fs::create_dir_all(to.parent().unwrap_or(&to))?;
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}
