//! NOR flash as it is: erasing sets a sector of bits to one, programming only ever clears them.
//!
//! Sectors are shared: a thousand devices that run the same image hold it once. A power cut can be
//! arranged for any operation, and can tear it in the middle; sectors can be worn out; what each
//! sector has endured is counted. Not here: what lies where.

mod file;
mod sectors;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use waxwing_esp_image::SECTOR_BYTES;

use crate::shared::Shared;
use sectors::{ERASED, SECTOR_LEN, Sectors};

pub use file::FlashFile;

/// Flash of a whole chip.
#[derive(Debug)]
pub struct Flash {
    sectors: Sectors,
    file: Option<FlashFile>,
    operations: u64,
    /// Sectors that keep nothing any more.
    worn_out: BTreeSet<usize>,
    /// Erases and writes that did nothing because of that.
    ignored: u64,
    cut: Option<PowerCut>,
    bytes_read: AtomicU64,
}

/// When the power goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PowerCut {
    /// During which erase or write, counted from the chip's first.
    pub operation: u64,
    /// How much of it happens.
    pub tear: Tear,
}

/// How much of an operation happens before the power is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tear {
    /// Its first bytes. Of an erase, what follows them is neither what it was nor erased, unless it
    /// did not begin at all.
    Bytes(usize),
    /// All of it but these four bytes: within a page, NOR flash promises no order. An erase is torn
    /// in the same place.
    AllBut(usize),
}

/// Bits that an erase sets first, where it is torn.
const HALF_ERASED: u8 = 0x5a;
/// Bytes that [`Tear::AllBut`] leaves out: a word.
const TORN_BYTES: usize = 4;

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
    pub fn erased(sectors: usize, shared: &Shared) -> Self {
        Self::of(Sectors::erased(sectors, shared))
    }

    /// Makes a chip with the same content, which it shares until it changes; a file is not copied.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { worn_out: self.worn_out.clone(), ..Self::of(self.sectors.clone()) }
    }

    /// Takes the chip's content from a file, and keeps it there.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn in_file(file: FlashFile, content: &[u8], shared: &Shared) -> Result<Self, FlashFault> {
        let mut flash = Self::erased(content.len() / SECTOR_LEN, shared);
        flash.burn(0, content)?;
        Ok(Self { file: Some(file), ..flash })
    }

    fn of(sectors: Sectors) -> Self {
        let (worn_out, ignored, bytes_read) = (BTreeSet::new(), 0, AtomicU64::new(0));
        Self { sectors, file: None, operations: 0, worn_out, ignored, cut: None, bytes_read }
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

    /// Returns the power cut that was arranged.
    pub const fn next_cut(&self) -> Option<PowerCut> {
        self.cut
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

    /// Returns how many bytes were read.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Returns how often each sector was erased.
    pub fn erases(&self) -> Vec<u16> {
        self.sectors.erases()
    }

    /// Lets a sector keep nothing from now on: erasing and programming do nothing, and say so to
    /// nobody.
    pub fn wear_out(&mut self, sector: usize) {
        self.worn_out.insert(sector);
    }

    /// Returns how many erases and writes did nothing because a sector was worn out.
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Returns the whole content.
    pub fn content(&self) -> Vec<u8> {
        self.sectors.all()
    }

    /// Reads so many bytes, one piece of a sector after another.
    pub(crate) fn each_piece(
        &self,
        offset: u32,
        bytes: u32,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), FlashFault> {
        self.bytes_read.fetch_add(bytes.into(), Ordering::Relaxed);
        let (mut at, end) = (length(offset)?, length(offset.saturating_add(bytes))?);
        while at < end {
            let within = at % SECTOR_LEN;
            let count = (end - at).min(SECTOR_LEN - within);
            let pieces = self.sectors.pieces(at / SECTOR_LEN, within, count)?;
            pieces.into_iter().for_each(&mut take);
            at += count;
        }
        Ok(())
    }

    /// Counts an operation and returns how it is torn, if the power goes during it.
    fn powered(&mut self) -> Result<Option<Tear>, FlashFault> {
        let operation = self.operations;
        let cut = self.cut.filter(|cut| operation >= cut.operation);
        if cut.is_some_and(|cut| operation > cut.operation) {
            return Err(FlashFault::PowerCut);
        }
        self.operations += 1;
        Ok(cut.map(|cut| cut.tear))
    }

    fn put(&mut self, index: usize, content: &[u8; SECTOR_LEN]) -> Result<(), FlashFault> {
        if let Some(file) = &mut self.file {
            file.put(index, content).map_err(|_| FlashFault::File)?;
        }
        self.sectors.put(index, content)
    }

    fn program(&mut self, at: usize, bytes: &[u8]) -> Result<(), FlashFault> {
        let (index, within) = (at / SECTOR_LEN, at % SECTOR_LEN);
        let mut sector = self.sectors.content(index)?;
        if self.ignores(index) {
            return Ok(());
        }
        if let Some(cells) = sector.get_mut(within..) {
            for (cell, byte) in cells.iter_mut().zip(bytes) {
                *cell &= byte;
            }
        }
        self.put(index, &sector)
    }

    /// Tells whether a sector keeps nothing, and counts that it did not.
    fn ignores(&mut self, index: usize) -> bool {
        let ignores = self.worn_out.contains(&index);
        self.ignored += u64::from(ignores);
        ignores
    }

    /// Programs bytes wherever they are, sector by sector.
    fn program_all(&mut self, mut at: usize, bytes: &[u8]) -> Result<(), FlashFault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(SECTOR_LEN - at % SECTOR_LEN));
            self.program(at, piece)?;
            at += piece.len();
            rest = behind;
        }
        Ok(())
    }

    fn erase(&mut self, index: usize, tear: Option<Tear>) -> Result<(), FlashFault> {
        if tear == Some(Tear::Bytes(0)) || self.ignores(index) {
            return Ok(());
        }
        self.sectors.count_erase(index)?;
        let Some(tear) = tear else { return self.put(index, &ERASED) };
        let before = self.sectors.content(index)?;
        let is_erased = |at: usize| match tear {
            Tear::Bytes(bytes) => at < bytes,
            Tear::AllBut(from) => !(from..from.saturating_add(TORN_BYTES)).contains(&at),
        };
        let mut sector = ERASED;
        for (at, (cell, was)) in sector.iter_mut().zip(before).enumerate() {
            if !is_erased(at) {
                *cell = was | HALF_ERASED;
            }
        }
        self.put(index, &sector)
    }
}

impl waxwing_esp_image::Flash for Flash {
    type Error = FlashFault;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashFault> {
        let count = u32::try_from(bytes.len()).map_err(|_| FlashFault::OutOfRange)?;
        let mut rest = bytes;
        self.each_piece(offset, count, |piece| {
            let (to, behind) = std::mem::take(&mut rest).split_at_mut(piece.len());
            to.copy_from_slice(piece);
            rest = behind;
        })
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashFault> {
        let index = sector_index(offset)?;
        self.sectors.pieces(index, 0, 0)?;
        let tear = self.powered()?;
        self.erase(index, tear)?;
        tear.map_or(Ok(()), |_| Err(FlashFault::PowerCut))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashFault> {
        let tear = self.powered()?;
        let at = length(offset)?;
        match tear {
            None => return self.program_all(at, bytes),
            Some(Tear::Bytes(happens)) => {
                self.program_all(at, bytes.get(..happens).unwrap_or(bytes))?;
            }
            Some(Tear::AllBut(from)) => {
                let (head, rest) = bytes.split_at(from.min(bytes.len()));
                let tail = rest.get(TORN_BYTES..).unwrap_or_default();
                self.program_all(at, head)?;
                self.program_all(at + head.len() + TORN_BYTES, tail)?;
            }
        }
        Err(FlashFault::PowerCut)
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
        let mut flash = Flash::erased(2, &Shared::default());
        flash.write(10, &[0b1100]).unwrap();
        flash.write(10, &[0b1010]).unwrap();
        assert_eq!(read(&mut flash, 10), 0b1000);
        flash.erase_sector(0).unwrap();
        assert_eq!(read(&mut flash, 10), 0xff);
    }

    #[test]
    fn a_power_cut_tears_the_operation_and_stops_the_rest() {
        let mut flash = Flash::erased(2, &Shared::default());
        flash.cut_power(Some(PowerCut { operation: 1, tear: Tear::Bytes(2) }));
        flash.write(0, &[1]).unwrap();
        assert_eq!(flash.write(4, &[2, 2, 2, 2]), Err(FlashFault::PowerCut));
        assert_eq!(flash.write(8, &[3]), Err(FlashFault::PowerCut));
        assert_eq!([4, 5, 6, 8].map(|at| read(&mut flash, at)), [2, 2, 0xff, 0xff]);
        flash.cut_power(None);
        flash.write(8, &[3]).unwrap();
    }

    #[test]
    fn an_erase_is_torn_too_and_a_write_may_lose_a_word_in_the_middle() {
        let mut flash = Flash::erased(2, &Shared::default());
        flash.write(0, &[0; 4096]).unwrap();
        flash.cut_power(Some(PowerCut { operation: 1, tear: Tear::Bytes(16) }));
        assert_eq!(flash.erase_sector(0), Err(FlashFault::PowerCut));
        assert_eq!([15, 16, 4095].map(|at| read(&mut flash, at)), [0xff, 0x5a, 0x5a]);
        flash.cut_power(Some(PowerCut { operation: 2, tear: Tear::AllBut(4) }));
        assert_eq!(flash.write(4096, &[0; 12]), Err(FlashFault::PowerCut));
        let kept = [4099, 4100, 4103, 4104].map(|at| read(&mut flash, at));
        assert_eq!(kept, [0, 0xff, 0xff, 0]);
        flash.cut_power(Some(PowerCut { operation: 3, tear: Tear::Bytes(0) }));
        assert_eq!(flash.erase_sector(4096), Err(FlashFault::PowerCut));
        assert_eq!(read(&mut flash, 4096), 0, "it had not begun");
    }

    #[test]
    fn erases_are_counted_and_a_worn_out_sector_keeps_nothing() {
        let mut flash = Flash::erased(2, &Shared::default());
        flash.erase_sector(4096).unwrap();
        flash.erase_sector(4096).unwrap();
        assert_eq!(flash.erases(), [0, 2]);
        flash.write(4096, &[0x0f]).unwrap();
        flash.wear_out(1);
        flash.erase_sector(4096).unwrap();
        flash.write(4096, &[0]).unwrap();
        assert_eq!((read(&mut flash, 4096), flash.ignored()), (0x0f, 2));
    }

    #[test]
    fn places_outside_are_refused() {
        let mut flash = Flash::erased(2, &Shared::default());
        assert_eq!(flash.erase_sector(8192), Err(FlashFault::OutOfRange));
        assert_eq!(flash.erase_sector(1), Err(FlashFault::OutOfRange));
        assert_eq!(flash.write(8191, &[0, 0]), Err(FlashFault::OutOfRange));
        assert_eq!(flash.read(8190, &mut [0; 3]), Err(FlashFault::OutOfRange));
    }

    #[test]
    fn two_devices_with_the_same_content_hold_it_once() {
        let shared = Shared::default();
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
        let shared = Shared::default();
        let file = FlashFile::create(&path, 2).unwrap();
        let mut flash = Flash::in_file(file, &[0xff; 8192], &shared).unwrap();
        flash.write(4096, b"kept").unwrap();
        drop(flash);
        let (file, content) = FlashFile::open(&path).unwrap();
        let mut flash = Flash::in_file(file, &content, &shared).unwrap();
        assert_eq!(read(&mut flash, 4096), b'k');
    }

    fn read(flash: &mut Flash, offset: u32) -> u8 {
        let mut byte = [0];
        flash.read(offset, &mut byte).unwrap();
        byte[0]
    }
}
