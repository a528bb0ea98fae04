//! Flash as `sequential-storage` takes it. Not here: what is kept in it.

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_storage_async::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use waxwing_agent::ports::{FlashError, SECTOR_BYTES};

use super::StateError;
use crate::region::{Chip, Region};

/// Unit of programming, in bytes.
pub(super) const WORD_BYTES: usize = 4;
/// Unit of erasing, in bytes.
pub(super) const SECTOR_LEN: usize = 4096;

/// Flash as `sequential-storage` takes it. Nothing here ever waits.
#[derive(Debug)]
pub(super) struct Sectors<F>(pub(super) Region<F>);

#[derive(Debug)]
pub(super) struct Fault;

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl From<FlashError> for Fault {
    fn from(_: FlashError) -> Self {
        Self
    }
}

impl<F> ErrorType for Sectors<F> {
    type Error = Fault;
}

impl<F: Chip> ReadNorFlash for Sectors<F> {
    const READ_SIZE: usize = WORD_BYTES;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        Ok(self.0.read(offset, bytes)?)
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.0.bytes()).unwrap_or(0)
    }
}

impl<F: Chip> NorFlash for Sectors<F> {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = SECTOR_LEN;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        let mut at = from;
        while at < to {
            self.0.erase_sector(at)?;
            at += SECTOR_BYTES;
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.0.write(offset, bytes)?)
    }
}

/// Bits that are clear already may be cleared again: that is how an item is taken out.
impl<F: Chip> MultiwriteNorFlash for Sectors<F> {}

/// Runs a future that never waits.
pub(super) fn at_once<T>(
    future: impl Future<Output = Result<T, sequential_storage::Error<Fault>>>,
) -> Result<T, StateError> {
    use sequential_storage::Error;
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(value)) => Ok(value),
        Poll::Ready(Err(Error::FullStorage | Error::ItemTooBig)) => Err(StateError::Full),
        Poll::Pending | Poll::Ready(Err(Error::Storage { .. })) => Err(StateError::Flash),
        Poll::Ready(Err(_)) => Err(StateError::Corrupt),
    }
}
