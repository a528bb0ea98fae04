//! The NOR flash chip: bits go from 1 to 0 only, erasing takes a sector, power may fail inside an
//! operation, and a log tells what every operation did.
//!
//! Not here: the bus that commands arrive on (`board/spi1.rs`) and the ROM's functions (`rom`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Smallest unit that the chip erases, in bytes.
pub const SECTOR_BYTES: u32 = 4096;

/// Largest block that one command erases, in bytes.
pub const BLOCK_BYTES: u32 = 65536;

/// What one command programs at most; more wraps around inside the page.
pub const PAGE_BYTES: u32 = 256;

/// 64 KiB is one page of the memory map, 16 MiB what three address bytes reach.
const CAPACITY_RANGE_BYTES: std::ops::RangeInclusive<usize> = 0x1_0000..=0x100_0000;

/// One command that changed cells.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Operation {
    /// Sets whole sectors to ones.
    Erase {
        /// Where it begins.
        address: u32,
        /// How much: a sector or a block.
        bytes: u32,
    },
    /// Clears bits.
    Program {
        /// Where it begins.
        address: u32,
        /// What was on the bus.
        data: Vec<u8>,
    },
}

/// When during an operation the power fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Tear {
    /// It has not begun.
    Before,
    /// It is half done: some cells are changed, some are not, some are neither.
    Torn,
    /// It is complete, and nobody was told.
    After,
}

/// A power cut at one operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cut {
    /// The operation's number since power-on of the run, from 1.
    pub at: u64,
    /// When during it.
    pub tear: Tear,
}

/// The power failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PowerLost;

/// The chip with what is stored in it.
#[derive(Debug)]
pub struct Nor {
    cells: Vec<u8>,
    cut: Option<Cut>,
    operations: u64,
    erased_sectors: u64,
    programmed_bytes: u64,
    log: Option<Vec<Operation>>,
    file: Option<File>,
}

impl Nor {
    /// Makes a chip with this content.
    ///
    /// # Errors
    ///
    /// When no chip has this capacity.
    pub fn new(cells: Vec<u8>) -> io::Result<Self> {
        if !cells.len().is_power_of_two() || !CAPACITY_RANGE_BYTES.contains(&cells.len()) {
            return Err(io::Error::other("a flash has a power of two of bytes, 64 KiB to 16 MiB"));
        }
        let (cut, operations, erased_sectors, programmed_bytes) = (None, 0, 0, 0);
        let (log, file) = (None, None);
        Ok(Self { cells, cut, operations, erased_sectors, programmed_bytes, log, file })
    }

    /// Makes a chip from a file, which from then on changes as the chip does.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut nor = Self::new(std::fs::read(path)?)?;
        nor.file = Some(File::options().write(true).open(path)?);
        Ok(nor)
    }

    /// Plans a power cut.
    pub const fn plan(&mut self, cut: Cut) {
        self.cut = Some(cut);
    }

    /// Keeps what every operation does from now on.
    pub fn keep_log(&mut self) {
        self.log = Some(Vec::new());
    }

    /// Returns the operations since [`Self::keep_log`].
    pub fn log(&self) -> &[Operation] {
        self.log.as_deref().unwrap_or_default()
    }

    /// Returns how many operations there were.
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// Returns how many sectors were erased.
    pub const fn erased_sectors(&self) -> u64 {
        self.erased_sectors
    }

    /// Returns how many bytes were programmed.
    pub const fn programmed_bytes(&self) -> u64 {
        self.programmed_bytes
    }

    /// Returns the capacity, in bytes.
    pub fn capacity_bytes(&self) -> u32 {
        u32::try_from(self.cells.len()).unwrap_or(u32::MAX)
    }

    /// Reads; addresses wrap around at the capacity.
    pub fn read(&self, address: u32, length: usize) -> Vec<u8> {
        let at = index(address) & (self.cells.len() - 1);
        let until = at.saturating_add(length).min(self.cells.len());
        let mut bytes = self.cells.get(at..until).unwrap_or_default().to_vec();
        while bytes.len() < length {
            bytes.extend(&self.cells);
        }
        bytes.truncate(length);
        bytes
    }

    /// Returns the cells from an address on, without wrapping; empty beyond the end.
    pub fn cells(&self, address: u32, length: usize) -> &[u8] {
        let at = usize::try_from(address).unwrap_or(usize::MAX);
        let end = at.saturating_add(length).min(self.cells.len());
        self.cells.get(at..end).unwrap_or_default()
    }

    /// Does an operation, or loses power doing it.
    ///
    /// # Errors
    ///
    /// [`PowerLost`] if this is the operation of the planned cut.
    pub fn change(&mut self, operation: Operation) -> Result<(), PowerLost> {
        self.operations += 1;
        let cut = self.cut.filter(|cut| cut.at == self.operations);
        let range = operation.apply(&mut self.cells, cut.map(|cut| cut.tear));
        self.write_through(range);
        match &operation {
            Operation::Erase { bytes, .. } => {
                self.erased_sectors += u64::from(bytes / SECTOR_BYTES);
            }
            Operation::Program { data, .. } => self.programmed_bytes += length_u64(data),
        }
        if let Some(log) = &mut self.log {
            log.push(operation);
        }
        cut.map_or(Ok(()), |_| Err(PowerLost))
    }

    fn write_through(&self, range: std::ops::Range<usize>) {
        let (Some(file), Some(cells)) = (&self.file, self.cells.get(range.clone())) else { return };
        if let Err(error) = file.write_all_at(cells, length_u64_of(range.start)) {
            // The chip goes on; its file no longer tells the truth, which nobody may overlook.
            eprintln!("the flash file cannot be written: {error}");
            std::process::abort();
        }
    }
}

/// Returns what a flash would hold had the power failed at an operation of a log.
pub fn after_cut(mut cells: Vec<u8>, log: &[Operation], cut: Cut) -> Vec<u8> {
    for (number, operation) in (1..).zip(log).take_while(|(number, _)| *number <= cut.at) {
        operation.apply(&mut cells, (number == cut.at).then_some(cut.tear));
    }
    cells
}

impl Operation {
    /// Returns which pages of 64 KiB it touches.
    pub(crate) fn pages(&self) -> std::ops::RangeInclusive<u32> {
        let range = self.range(usize::MAX / 2 + 1);
        let page = |at: usize| u32::try_from(at / 0x1_0000).unwrap_or(u32::MAX);
        page(range.start)..=page(range.end.saturating_sub(1))
    }

    /// Changes the cells and returns which.
    fn apply(&self, cells: &mut [u8], tear: Option<Tear>) -> std::ops::Range<usize> {
        let range = self.range(cells.len());
        let Some(touched) = cells.get_mut(range.clone()) else { return 0..0 };
        match (self, tear) {
            (_, Some(Tear::Before)) => {}
            (Self::Erase { .. }, Some(Tear::Torn)) => tear_erase(touched),
            (Self::Erase { .. }, Some(Tear::After) | None) => touched.fill(0xff),
            (Self::Program { data, .. }, Some(Tear::Torn)) => tear_program(touched, data),
            (Self::Program { data, .. }, Some(Tear::After) | None) => program(touched, data),
        }
        range
    }

    fn range(&self, capacity: usize) -> std::ops::Range<usize> {
        let (address, length) = match self {
            Self::Erase { address, bytes } => (address & !(bytes - 1), index(*bytes)),
            Self::Program { address, data } => (*address, data.len()),
        };
        let start = index(address) & (capacity - 1);
        start..(start + length).min(capacity)
    }
}

fn program(cells: &mut [u8], data: &[u8]) {
    for (cell, byte) in cells.iter_mut().zip(data) {
        *cell &= byte;
    }
}

/// The first half is there, of the byte after it only some bits.
fn tear_program(cells: &mut [u8], data: &[u8]) {
    let half = data.len() / 2;
    for (at, (cell, byte)) in cells.iter_mut().zip(data).enumerate() {
        match at.cmp(&half) {
            std::cmp::Ordering::Less => *cell &= byte,
            std::cmp::Ordering::Equal => *cell &= byte | 0x5a,
            std::cmp::Ordering::Greater => {}
        }
    }
}

/// Half of the cells read as ones; of the rest, each byte has lost some of its zeros.
fn tear_erase(cells: &mut [u8]) {
    let half = cells.len() / 2;
    for (at, cell) in cells.iter_mut().enumerate() {
        *cell |= if at < half { 0xff } else { SOME_ONES.get(at % 7).copied().unwrap_or(0xff) };
    }
}

/// Which zeros a torn erase has turned, by position; seven of them, so that no two words are alike.
const SOME_ONES: [u8; 7] = [0x00, 0x81, 0x18, 0xff, 0x42, 0x24, 0x00];

fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn length_u64(data: &[u8]) -> u64 {
    length_u64_of(data.len())
}

fn length_u64_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nor() -> Nor {
        Nor::new(vec![0xff; 0x1_0000]).unwrap()
    }

    fn program_at(address: u32, data: &[u8]) -> Operation {
        Operation::Program { address, data: data.to_vec() }
    }

    const ERASE: Operation = Operation::Erase { address: 0x1234, bytes: SECTOR_BYTES };

    #[test]
    fn programming_only_clears_bits() {
        let mut nor = nor();
        nor.change(program_at(0x1000, &[0xf0])).unwrap();
        nor.change(program_at(0x1000, &[0x3c])).unwrap();
        assert_eq!(nor.read(0x1000, 2), [0x30, 0xff]);
    }

    #[test]
    fn erasing_takes_the_whole_sector_around_an_address_and_no_other() {
        let mut nor = nor();
        for address in [0x0fff, 0x1000, 0x1fff, 0x2000] {
            nor.change(program_at(address, &[0])).unwrap();
        }
        nor.change(ERASE).unwrap();
        let left = [0x0fff, 0x1000, 0x1fff, 0x2000].map(|address| nor.read(address, 1)[0]);
        assert_eq!(left, [0, 0xff, 0xff, 0]);
        assert_eq!((nor.operations(), nor.erased_sectors(), nor.programmed_bytes()), (5, 1, 4));
    }

    #[test]
    fn power_fails_before_inside_or_after_the_planned_operation() {
        for (tear, expected) in
            [(Tear::Before, [0xff; 4]), (Tear::Torn, [0, 0, 0x5a, 0xff]), (Tear::After, [0; 4])]
        {
            let mut nor = nor();
            nor.plan(Cut { at: 2, tear });
            nor.change(ERASE).unwrap();
            assert_eq!(nor.change(program_at(8, &[0; 4])), Err(PowerLost));
            assert_eq!(nor.read(8, 4), expected);
        }
    }

    #[test]
    fn a_torn_erase_leaves_neither_the_old_nor_the_erased_sector() {
        let mut nor = nor();
        nor.change(program_at(0x1000, &[0; 4096])).unwrap();
        nor.plan(Cut { at: 2, tear: Tear::Torn });
        nor.change(ERASE).unwrap_err();
        let sector = nor.read(0x1000, 4096);
        assert!(sector[..2048].iter().all(|byte| *byte == 0xff));
        assert!(sector[2048..].contains(&0) && sector[2048..].iter().any(|byte| *byte != 0));
    }

    #[test]
    fn the_log_gives_the_flash_of_any_cut_as_if_it_had_happened() {
        let story = [ERASE, program_at(0x1000, &[1, 2, 3, 4]), ERASE, program_at(0x1004, &[9; 8])];
        let mut whole = nor();
        whole.keep_log();
        for operation in &story {
            whole.change(operation.clone()).unwrap();
        }
        for at in 1..=4 {
            for tear in [Tear::Before, Tear::Torn, Tear::After] {
                let mut cut = nor();
                cut.plan(Cut { at, tear });
                for operation in &story {
                    if cut.change(operation.clone()).is_err() {
                        break;
                    }
                }
                let told = after_cut(vec![0xff; 0x1_0000], whole.log(), Cut { at, tear });
                assert!(told == cut.cells, "{at} {tear:?}");
            }
        }
    }

    #[test]
    fn the_file_is_what_the_chip_holds() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![0xff; 0x1_0000]).unwrap();
        let mut nor = Nor::open(file.path()).unwrap();
        nor.change(program_at(0x2000, b"kept")).unwrap();
        assert_eq!(&std::fs::read(file.path()).unwrap()[0x2000..0x2005], b"kept\xff");
    }

    #[test]
    fn no_chip_has_an_odd_capacity() {
        for bytes in [0, 4096, 0x1_0001, 0x200_0000] {
            assert!(Nor::new(vec![0xff; bytes]).is_err(), "{bytes}");
        }
    }
}
