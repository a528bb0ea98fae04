//! NOR flash as it is: erasing sets a sector of bits to one, programming only ever clears them.
//!
//! Sectors are shared: a thousand devices that run the same image hold it once. A power cut can be
//! arranged for any operation, and can tear it in the middle. Not here: what lies where.

mod file;
mod shared;

use std::sync::Arc;

use waxwing_esp_image::SECTOR_BYTES;

pub use file::FlashFile;
pub use shared::SharedSectors;

/// [`SECTOR_BYTES`] as a length in memory.
const SECTOR_LEN: usize = 4096;

type Sector = [u8; SECTOR_LEN];

const ERASED: Sector = [0xff; SECTOR_LEN];

/// Flash of a whole chip.
#[derive(Debug)]
pub struct Flash {
    sectors: Vec<Arc<Sector>>,
    shared: SharedSectors,
    file: Option<FlashFile>,
    operations: u64,
    cut: Option<PowerCut>,
}

/// When the power goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PowerCut {
    /// During which erase or write, counted from the chip's first.
    pub operation: u64,
    /// After how many bytes of it. An erased sector counts as one.
    pub after_bytes: usize,
}

/// An operation did not happen, or not all of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FlashFault {
    /// The file behind the flash cannot be written.
    #[error("flash file cannot be written")]
    File,
    /// There is no such place.
    #[error("no such place in flash")]
    OutOfRange,
    /// The power is gone: nothing works until the next reset.
    #[error("power cut")]
    PowerCut,
}

impl Flash {
    /// Makes an erased chip.
    pub fn erased(sectors: usize, shared: &SharedSectors) -> Self {
        let sector = shared.get(&ERASED);
        Self {
            sectors: vec![sector; sectors],
            shared: shared.clone(),
            file: None,
            operations: 0,
            cut: None,
        }
    }

    /// Takes the chip's content from a file, and keeps it there.
    pub fn in_file(file: FlashFile, content: &[u8], shared: &SharedSectors) -> Self {
        let (sectors, _) = content.as_chunks::<SECTOR_LEN>();
        let sectors = sectors.iter().map(|sector| shared.get(sector)).collect();
        let (shared, file) = (shared.clone(), Some(file));
        Self { sectors, shared, file, operations: 0, cut: None }
    }

    /// Writes a chip's content before the device is first switched on, without the rules of NOR.
    pub fn burn(&mut self, offset: u32, content: &[u8]) -> Result<(), FlashFault> {
        for (index, piece) in content.chunks(SECTOR_LEN).enumerate() {
            let mut sector = ERASED;
            if let Some(begin) = sector.get_mut(..piece.len()) {
                begin.copy_from_slice(piece);
            }
            let index = sector_index(offset)?.saturating_add(index);
            self.put(index, &sector)?;
        }
        Ok(())
    }

    /// Arranges a power cut, or takes it back.
    pub const fn cut_power(&mut self, cut: Option<PowerCut>) {
        self.cut = cut;
    }

    /// Tells whether the power went and has not come back.
    pub const fn was_cut(&self) -> bool {
        match self.cut {
            Some(cut) => self.operations > cut.operation,
            None => false,
        }
    }

    /// Returns how many erases and writes there were.
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// Returns the whole content.
    pub fn content(&self) -> Vec<u8> {
        self.sectors.iter().flat_map(|sector| sector.iter().copied()).collect()
    }

    /// Counts an operation and returns how many bytes of it happen before the power goes.
    fn powered(&mut self, bytes: usize) -> Result<usize, FlashFault> {
        let operation = self.operations;
        match self.cut {
            Some(cut) if operation > cut.operation => Err(FlashFault::PowerCut),
            Some(cut) if operation == cut.operation => {
                self.operations += 1;
                Ok(cut.after_bytes.min(bytes))
            }
            Some(_) | None => {
                self.operations += 1;
                Ok(bytes)
            }
        }
    }

    /// Tells whether the power went during the operation that was counted last.
    fn survived(&self) -> Result<(), FlashFault> {
        let last = self.operations.saturating_sub(1);
        let cut = self.cut.is_some_and(|cut| cut.operation == last);
        if cut { Err(FlashFault::PowerCut) } else { Ok(()) }
    }

    fn sector(&self, index: usize) -> Result<&Sector, FlashFault> {
        self.sectors.get(index).map(|sector| &**sector).ok_or(FlashFault::OutOfRange)
    }

    fn put(&mut self, index: usize, content: &Sector) -> Result<(), FlashFault> {
        let place = self.sectors.get_mut(index).ok_or(FlashFault::OutOfRange)?;
        *place = self.shared.get(content);
        match &mut self.file {
            Some(file) => file.put(index, content).map_err(|_| FlashFault::File),
            None => Ok(()),
        }
    }

    fn program(&mut self, at: usize, bytes: &[u8]) -> Result<(), FlashFault> {
        let (index, within) = (at / SECTOR_LEN, at % SECTOR_LEN);
        let mut sector = *self.sector(index)?;
        let cells = sector.get_mut(within..).into_iter().flatten();
        for (cell, byte) in cells.zip(bytes) {
            *cell &= byte;
        }
        self.put(index, &sector)
    }
}

impl waxwing_esp_image::Flash for Flash {
    type Error = FlashFault;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashFault> {
        let mut at = length(offset)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = at % SECTOR_LEN;
            let (piece, behind) = rest.split_at_mut(rest.len().min(SECTOR_LEN - within));
            let sector = self.sector(at / SECTOR_LEN)?;
            let from = sector.get(within..within + piece.len()).ok_or(FlashFault::OutOfRange)?;
            piece.copy_from_slice(from);
            at += piece.len();
            rest = behind;
        }
        Ok(())
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashFault> {
        let index = sector_index(offset)?;
        self.sector(index)?;
        if self.powered(1)? == 1 {
            self.put(index, &ERASED)?;
        }
        self.survived()
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashFault> {
        let happens = self.powered(bytes.len())?;
        let mut at = length(offset)?;
        let mut rest = bytes.get(..happens).unwrap_or(bytes);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(SECTOR_LEN - at % SECTOR_LEN));
            self.program(at, piece)?;
            at += piece.len();
            rest = behind;
        }
        self.survived()
    }
}

fn sector_index(offset: u32) -> Result<usize, FlashFault> {
    if offset.is_multiple_of(SECTOR_BYTES) {
        length(offset / SECTOR_BYTES)
    } else {
        Err(FlashFault::OutOfRange)
    }
}

fn length(bytes: u32) -> Result<usize, FlashFault> {
    usize::try_from(bytes).map_err(|_| FlashFault::OutOfRange)
}

#[cfg(test)]
mod tests {
    use waxwing_esp_image::Flash as _;

    use super::*;

    #[test]
    fn programming_only_clears_bits() {
        let mut flash = Flash::erased(2, &SharedSectors::default());
        flash.write(10, &[0b1100]).unwrap();
        flash.write(10, &[0b1010]).unwrap();
        assert_eq!(read(&mut flash, 10), 0b1000);
        flash.erase_sector(0).unwrap();
        assert_eq!(read(&mut flash, 10), 0xff);
    }

    #[test]
    fn a_power_cut_tears_the_operation_and_stops_the_rest() {
        let mut flash = Flash::erased(2, &SharedSectors::default());
        flash.cut_power(Some(PowerCut { operation: 1, after_bytes: 2 }));
        flash.write(0, &[1]).unwrap();
        assert_eq!(flash.write(4, &[2, 2, 2, 2]), Err(FlashFault::PowerCut));
        assert_eq!(flash.write(8, &[3]), Err(FlashFault::PowerCut));
        assert_eq!([4, 5, 6, 8].map(|at| read(&mut flash, at)), [2, 2, 0xff, 0xff]);
        flash.cut_power(None);
        flash.write(8, &[3]).unwrap();
    }

    #[test]
    fn places_outside_are_refused() {
        let mut flash = Flash::erased(2, &SharedSectors::default());
        assert_eq!(flash.erase_sector(8192), Err(FlashFault::OutOfRange));
        assert_eq!(flash.erase_sector(1), Err(FlashFault::OutOfRange));
        assert_eq!(flash.write(8191, &[0, 0]), Err(FlashFault::OutOfRange));
        assert_eq!(flash.read(8190, &mut [0; 3]), Err(FlashFault::OutOfRange));
    }

    #[test]
    fn two_devices_with_the_same_content_hold_it_once() {
        let shared = SharedSectors::default();
        let mut flashes = [(); 2].map(|()| Flash::erased(4, &shared));
        for flash in &mut flashes {
            flash.write(4096, &[7; 4096]).unwrap();
        }
        assert_eq!(shared.distinct(), 2, "erased, and full of sevens");
        drop(flashes);
        assert_eq!(shared.distinct(), 0, "what nobody holds is let go");
    }

    #[test]
    fn a_file_keeps_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flash.bin");
        let shared = SharedSectors::default();
        let file = FlashFile::create(&path, 2).unwrap();
        let mut flash = Flash::in_file(file, &[0xff; 8192], &shared);
        flash.write(4096, b"kept").unwrap();
        drop(flash);
        let (file, content) = FlashFile::open(&path).unwrap();
        let mut flash = Flash::in_file(file, &content, &shared);
        assert_eq!(read(&mut flash, 4096), b'k');
    }

    fn read(flash: &mut Flash, offset: u32) -> u8 {
        let mut byte = [0];
        flash.read(offset, &mut byte).unwrap();
        byte[0]
    }
}
