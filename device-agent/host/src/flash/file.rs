//! Flash content in a file, as `esptool read_flash` would dump it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::{ERASED, SECTOR_LEN};

/// The file behind a chip.
#[derive(Debug)]
pub struct FlashFile(File);

impl FlashFile {
    /// Makes a file of an erased chip.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or exists already.
    pub fn create(path: &Path, sectors: usize) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        for _ in 0..sectors {
            file.write_all(&ERASED)?;
        }
        Ok(Self(file))
    }

    /// Opens a file and returns its content.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<u8>)> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok((Self(file), content))
    }

    pub(super) fn put(&mut self, index: usize, content: &[u8; SECTOR_LEN]) -> io::Result<()> {
        let at = u64::try_from(index * SECTOR_LEN).map_err(io::Error::other)?;
        self.0.seek(SeekFrom::Start(at))?;
        self.0.write_all(content)
    }
}
