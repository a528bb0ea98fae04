//! Writing an update: in order, from the beginning, each byte once.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use waxwing_agent::ports::{FlashError, SECTOR_BYTES, SlotFlash};

use crate::ota::{Ota, OtaError, Update as _};
use crate::{Board, Open, Shared, code};

/// The slot that the next update goes to.
pub struct SlotPort<B, O: Ota> {
    shared: Rc<RefCell<Shared<B, O>>>,
}

impl<B: Board, O: Ota> SlotPort<B, O> {
    pub(crate) const fn new(shared: Rc<RefCell<Shared<B, O>>>) -> Self {
        Self { shared }
    }

    /// Gives access to what lies within the slot.
    fn within(&self, offset: u32, bytes: u32) -> Result<RefMut<'_, Shared<B, O>>, FlashError> {
        let shared = self.shared.borrow_mut();
        let end = offset.checked_add(bytes).ok_or(FlashError::OutOfSlot)?;
        if end > shared.board.slot_bytes() { Err(FlashError::OutOfSlot) } else { Ok(shared) }
    }
}

impl<B: Board, O: Ota> SlotFlash for SlotPort<B, O> {
    fn slot_bytes(&self) -> u32 {
        self.shared.borrow().board.slot_bytes()
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let mut shared = self.within(offset, len(bytes)?)?;
        shared.board.read_slot(offset, bytes).map_err(FlashError::Device)
    }

    /// Erases the whole slot when it begins at 0; the other sectors are erased by then.
    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError> {
        let mut shared = self.within(offset, SECTOR_BYTES)?;
        if offset == 0 {
            // Gives up an update that was open.
            shared.open = None;
            let update = shared.ota.begin().map_err(device)?;
            shared.open = Some(Open { update, written: 0 });
            return Ok(());
        }
        let in_order = shared.open.as_ref().is_some_and(|open| open.written == offset);
        if in_order { Ok(()) } else { Err(FlashError::Device(code::NOT_SEQUENTIAL)) }
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let len = len(bytes)?;
        let mut shared = self.within(offset, len)?;
        let open = shared.open.as_mut().filter(|open| open.written == offset);
        let open = open.ok_or(FlashError::Device(code::NOT_SEQUENTIAL))?;
        open.update.write(bytes).map_err(device)?;
        open.written += len;
        Ok(())
    }

    fn goes_on(&self) -> bool {
        false
    }
}

fn len(bytes: &[u8]) -> Result<u32, FlashError> {
    u32::try_from(bytes.len()).map_err(|_| FlashError::OutOfSlot)
}

const fn device(error: OtaError) -> FlashError {
    FlashError::Device(match error {
        OtaError::Flash => code::FLASH,
        OtaError::ImageRefused => code::IMAGE,
        OtaError::Memory => code::NO_MEMORY,
        OtaError::NoFallback | OtaError::NoSlot | OtaError::OnTrial => code::NO_SLOT,
        OtaError::Records => code::RECORDS,
        OtaError::Unknown => code::UNKNOWN,
    })
}
