//! The flash chip, as the agent's ports take it.

use alloc::rc::Rc;
use core::cell::RefCell;
use core::fmt;

use esp_hal::peripherals::FLASH;
use esp_storage::{FlashStorage, FlashStorageError};
use waxwing_agent::ports::FlashError;
use waxwing_esp_image::{Flash, SECTOR_BYTES};

use crate::hardware;

/// Unit of reading and programming, in bytes.
const WORD: usize = 4;
/// Bytes that are read or programmed at a time: interrupts wait for that long.
const PIECE_BYTES: usize = 4096;
/// The code for a chip that stays locked.
const CANNOT_UNLOCK: i32 = 3;
/// Bytes that are copied at a time when they do not lie as the hardware wants them.
const BOUNCE_BYTES: usize = 256;

/// The flash chip. Clones are the same one.
#[derive(Clone)]
pub struct FlashChip(Rc<RefCell<Chip>>);

struct Chip {
    storage: FlashStorage<'static>,
    is_unlocked: bool,
}

impl FlashChip {
    /// Takes the chip.
    pub fn new(flash: FLASH<'static>) -> Self {
        let storage = FlashStorage::new(flash);
        Self(Rc::new(RefCell::new(Chip { storage, is_unlocked: false })))
    }
}

impl Chip {
    /// Reads what lies as the hardware wants it, a sector at a time: interrupts wait for each.
    fn read(&self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.check_end(offset, bytes.len())?;
        let mut at = offset;
        for piece in bytes.chunks_mut(PIECE_BYTES) {
            hardware::read_flash(at, piece).map_err(FlashError::Device)?;
            at += u32_of(piece.len());
        }
        Ok(())
    }

    /// Programs what lies as the hardware wants it.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.check_end(offset, bytes.len())?;
        if !self.is_unlocked {
            hardware::unlock_flash().map_err(|_| FlashError::Device(CANNOT_UNLOCK))?;
            self.is_unlocked = true;
        }
        let mut at = offset;
        for piece in bytes.chunks(PIECE_BYTES) {
            hardware::write_flash(at, piece).map_err(FlashError::Device)?;
            at += u32_of(piece.len());
        }
        Ok(())
    }

    fn check_end(&self, offset: u32, length: usize) -> Result<(), FlashError> {
        let end = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(length));
        let is_there = end.is_some_and(|end| end <= self.storage.capacity());
        if is_there { Ok(()) } else { Err(FlashError::OutOfSlot) }
    }
}

impl Flash for FlashChip {
    type Error = FlashError;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let chip = self.0.borrow();
        if is_aligned(offset, bytes) {
            return chip.read(offset, bytes);
        }
        let mut bounce = Bounce([0; BOUNCE_BYTES]);
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let skipped = usize::try_from(at).unwrap_or(0) % WORD;
            let (piece, behind) = rest.split_at_mut(rest.len().min(BOUNCE_BYTES - skipped));
            let whole = (skipped + piece.len()).next_multiple_of(WORD);
            let from = bounce.0.get_mut(..whole).ok_or(FlashError::OutOfSlot)?;
            chip.read(at - u32_of(skipped), from)?;
            let wanted = from.get(skipped..skipped + piece.len()).ok_or(FlashError::OutOfSlot)?;
            piece.copy_from_slice(wanted);
            at += u32_of(piece.len());
            rest = behind;
        }
        Ok(())
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError> {
        let end = offset.checked_add(SECTOR_BYTES).ok_or(FlashError::OutOfSlot)?;
        self.0.borrow_mut().storage.erase(offset, end).map_err(fault)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut chip = self.0.borrow_mut();
        if is_aligned(offset, bytes) {
            return chip.write(offset, bytes);
        }
        let mut at = offset;
        for piece in bytes.chunks(BOUNCE_BYTES) {
            // What is not to be programmed is left as it is by ones.
            let mut bounce = Bounce([0xff; BOUNCE_BYTES]);
            let whole = piece.len().next_multiple_of(WORD);
            let padded = bounce.0.get_mut(..whole).ok_or(FlashError::OutOfSlot)?;
            padded.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
            chip.write(at, padded)?;
            at += u32_of(piece.len());
        }
        Ok(())
    }
}

impl fmt::Debug for FlashChip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlashChip").finish_non_exhaustive()
    }
}

#[repr(align(4))]
struct Bounce([u8; BOUNCE_BYTES]);

fn is_aligned(offset: u32, bytes: &[u8]) -> bool {
    let offset = usize::try_from(offset).unwrap_or(1);
    [offset, bytes.as_ptr().addr(), bytes.len()].iter().all(|it| it.is_multiple_of(WORD))
}

/// Lengths here are those of one operation.
fn u32_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

const fn fault(error: FlashStorageError) -> FlashError {
    FlashError::Device(match error {
        FlashStorageError::OutOfBounds => return FlashError::OutOfSlot,
        FlashStorageError::IoError => 1,
        FlashStorageError::IoTimeout => 2,
        FlashStorageError::CantUnlock => CANNOT_UNLOCK,
        FlashStorageError::NotAligned => 4,
        FlashStorageError::NotSupported => 5,
        FlashStorageError::Other(code) => code,
        _ => -1,
    })
}
