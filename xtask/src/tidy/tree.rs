//! The text files of the repository, read once. Not here: any rule.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::workspace::{command, root};

/// Longest file in bytes: the longest generated one has a sixth of that. What is longer is somebody
/// else's program, or an image of a device.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// All text files that are, or are about to be, in version control.
#[derive(Debug)]
pub(super) struct Tree {
    /// In the order of their paths.
    pub(super) files: Vec<File>,
}

/// One text file.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the root, with `/`.
    pub(super) path: String,
    /// What it contains.
    pub(super) text: String,
}

impl Tree {
    /// Reads the files that git knows or would add. A file that is not UTF-8 is no text.
    ///
    /// # Errors
    ///
    /// When git or the disk fails.
    pub(super) fn read() -> anyhow::Result<Self> {
        let listed = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let output = command("git").args(listed).output().context("cannot start git")?;
        if !output.status.success() {
            bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
        }
        let paths = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        let mut files = Vec::new();
        for path in paths.split_terminator('\0') {
            files.extend(File::read(path)?);
        }
        Ok(Self { files })
    }

    /// Returns the Rust sources.
    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.has_extension("rs"))
    }

    /// Returns the pages of documentation.
    pub(super) fn markdown(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.has_extension("md"))
    }
}

impl File {
    /// Returns `None` for a file that was deleted and not yet committed, and for binary ones.
    fn read(path: &str) -> anyhow::Result<Option<Self>> {
        let file = root().join(path);
        if !file.is_file() {
            return Ok(None);
        }
        let bytes = fs::read(&file).with_context(|| format!("cannot read {path}"))?;
        check_length(path, bytes.len())?;
        Ok(String::from_utf8(bytes).ok().map(|text| Self { path: path.to_owned(), text }))
    }

    /// Returns true when the name ends so.
    pub(super) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|ending| ending == extension)
    }

    /// Returns true when the whole file is test code, or only serves tests.
    pub(super) fn is_test(&self) -> bool {
        let name = self.path.trim_end_matches(".rs");
        name.split('/').any(|part| matches!(part, "testing" | "tests"))
    }

    /// Returns the lines with their numbers, counted from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Returns how many lines come before the tests at the end of a Rust file.
    pub(super) fn lines_before_tests(&self) -> usize {
        if self.is_test() {
            return 0;
        }
        let starts_tests = |line: &str| line.trim_start().starts_with("#[cfg(test)]");
        let lines: Vec<_> = self.text.lines().collect();
        let mut pairs = lines.windows(2);
        let before = pairs.position(|pair| {
            matches!(pair, [attribute, module] if starts_tests(attribute) && module.ends_with('{'))
        });
        before.unwrap_or(lines.len())
    }
}

/// Refuses files that nobody wrote.
fn check_length(path: &str, bytes: usize) -> anyhow::Result<()> {
    if bytes <= FILE_BYTES_MAX {
        return Ok(());
    }
    bail!("{path}: {bytes} bytes, {FILE_BYTES_MAX} allowed: does it belong into the repository?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nobody_can_have_written_is_refused() {
        assert!(check_length("a", FILE_BYTES_MAX).is_ok());
        assert!(check_length("pillow.whl", FILE_BYTES_MAX + 1).is_err());
    }
}
