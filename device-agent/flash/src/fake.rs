//! A chip for tests: programming only clears bits, and the power can fail in any operation.

use std::cell::RefCell;
use std::rc::Rc;

use waxwing_agent::ports::FlashError;
use waxwing_esp_image::{Flash, SECTOR_BYTES};

const SECTOR_LEN: usize = 4096;

/// What an operation answers once the power is gone.
pub(crate) const NO_POWER: FlashError = FlashError::Device(-1);

#[derive(Clone, Debug)]
pub(crate) struct FakeChip(Rc<RefCell<Cells>>);

#[derive(Debug)]
struct Cells {
    bytes: Vec<u8>,
    operations: u64,
    /// During which operation the power fails, and after how many bytes of it.
    cut: Option<(u64, usize)>,
}

impl FakeChip {
    pub(crate) fn erased(sectors: usize) -> Self {
        let bytes = vec![0xff; sectors * SECTOR_LEN];
        Self(Rc::new(RefCell::new(Cells { bytes, operations: 0, cut: None })))
    }

    /// A chip of its own with the same content, powered.
    pub(crate) fn copy(&self) -> Self {
        let bytes = self.bytes();
        Self(Rc::new(RefCell::new(Cells { bytes, operations: 0, cut: None })))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.borrow().bytes.clone()
    }

    pub(crate) fn fill(&self, at: usize, bytes: &[u8]) {
        self.0.borrow_mut().bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn operations(&self) -> u64 {
        self.0.borrow().operations
    }

    pub(crate) fn cut_power(&self, operation: u64, after_bytes: usize) {
        self.0.borrow_mut().cut = Some((operation, after_bytes));
    }
}

impl Cells {
    /// Counts an operation; returns how many bytes of it happen.
    fn powered(&mut self, bytes: usize) -> Result<usize, FlashError> {
        let operation = self.operations;
        self.operations += 1;
        match self.cut {
            Some((cut, _)) if operation > cut => Err(NO_POWER),
            Some((cut, after)) if operation == cut => Ok(after.min(bytes)),
            _ => Ok(bytes),
        }
    }

    fn survived(&self) -> Result<(), FlashError> {
        let cut = self.cut.is_some_and(|(cut, _)| cut + 1 == self.operations);
        if cut { Err(NO_POWER) } else { Ok(()) }
    }
}

impl Flash for FakeChip {
    type Error = FlashError;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let at = usize::try_from(offset).unwrap();
        bytes.copy_from_slice(&self.0.borrow().bytes[at..at + bytes.len()]);
        Ok(())
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError> {
        assert!(offset.is_multiple_of(SECTOR_BYTES));
        let mut cells = self.0.borrow_mut();
        let happens = cells.powered(SECTOR_LEN)?;
        let at = usize::try_from(offset).unwrap();
        cells.bytes[at..at + happens].fill(0xff);
        cells.survived()
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut cells = self.0.borrow_mut();
        let happens = cells.powered(bytes.len())?;
        let at = usize::try_from(offset).unwrap();
        for (cell, byte) in cells.bytes[at..].iter_mut().zip(&bytes[..happens]) {
            *cell &= byte;
        }
        cells.survived()
    }
}
