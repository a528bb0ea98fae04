//! The SPI controller that programs use to speak to the flash chip, and the chip's commands
//! (technical reference manual, chapter "SPI Controller"; commands as in every SPI NOR data sheet).

use crate::flash::{BLOCK_BYTES, Nor, Operation, PAGE_BYTES, PowerLost, SECTOR_BYTES};

const CMD: u32 = 0x00;
const ADDRESS: u32 = 0x04;
const USER: u32 = 0x18;
const USER1: u32 = 0x1c;
const USER2: u32 = 0x20;
const WRITE_BITS: u32 = 0x24;
const READ_BITS: u32 = 0x28;
const READ_STATUS: u32 = 0x2c;
const BUFFER: u32 = 0x58;
const BUFFER_BYTES: usize = 64;

/// A manufacturer and a type that no boot loader knows special commands for; the third byte is the
/// logarithm of the capacity.
const IDENTITY: [u8; 2] = [0x20, 0x40];

/// Bits of `CMD` that stand for one command of the chip each.
const SHORTCUTS: [(u32, u8); 10] = [
    (1 << 22, 0xc7),
    (1 << 23, 0x52),
    (1 << 24, 0x20),
    (1 << 25, 0x02),
    (1 << 26, 0x01),
    (1 << 27, 0x05),
    (1 << 28, 0x9f),
    (1 << 29, 0x04),
    (1 << 30, 0x06),
    (1 << 31, 0x03),
];
const USER_COMMAND: u32 = 1 << 18;

/// State of the controller and of the chip's latches.
#[derive(Clone, Debug)]
pub(crate) struct Spi1 {
    address: u32,
    user: u32,
    user1: u32,
    user2: u32,
    write_bits: u32,
    read_bits: u32,
    status: u32,
    buffer: [u8; BUFFER_BYTES],
    write_enabled: bool,
    chip_status: [u8; 2],
}

impl Default for Spi1 {
    fn default() -> Self {
        Self {
            address: 0,
            user: 0x8000_0000,
            user1: 0x5c00_0007,
            user2: 0x7000_0000,
            write_bits: 0,
            read_bits: 0,
            status: 0,
            buffer: [0; BUFFER_BYTES],
            write_enabled: false,
            chip_status: [0; 2],
        }
    }
}

impl Spi1 {
    /// Reads a register of the block; nothing for those that are plain storage.
    pub(crate) fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            // Every operation is over at once.
            CMD => 0,
            ADDRESS => self.address,
            USER => self.user,
            USER1 => self.user1,
            USER2 => self.user2,
            WRITE_BITS => self.write_bits,
            READ_BITS => self.read_bits,
            READ_STATUS => self.status,
            _ => u32::from_le_bytes(*self.word(offset)?),
        })
    }

    /// Writes a register of the block; returns what the chip was told to change.
    pub(crate) fn write(&mut self, flash: &mut Nor, offset: u32, value: u32) -> Changed {
        match offset {
            CMD => return self.execute(flash, value),
            ADDRESS => self.address = value,
            USER => self.user = value,
            USER1 => self.user1 = value,
            USER2 => self.user2 = value,
            WRITE_BITS => self.write_bits = value,
            READ_BITS => self.read_bits = value,
            READ_STATUS => self.status = value,
            _ => {
                if let Some(word) = self.word_mut(offset) {
                    *word = value.to_le_bytes();
                }
            }
        }
        Ok(None)
    }

    fn execute(&mut self, flash: &mut Nor, command: u32) -> Changed {
        if command & USER_COMMAND != 0 {
            let [opcode, ..] = self.user2.to_le_bytes();
            return self.command(flash, opcode, self.user_address(), &self.user_data());
        }
        let Some((_, opcode)) = SHORTCUTS.iter().find(|(bit, _)| command & bit != 0) else {
            return Ok(None);
        };
        let length = match opcode {
            0x02 => usize::try_from(self.address >> 24).unwrap_or(0),
            _ => 2,
        };
        let data = self.buffer.get(..length.min(BUFFER_BYTES)).unwrap_or_default().to_vec();
        self.command(flash, *opcode, self.address & 0x00ff_ffff, &data)
    }

    /// What the chip does with a command.
    fn command(&mut self, flash: &mut Nor, opcode: u8, address: u32, data: &[u8]) -> Changed {
        match opcode {
            0x01 => {
                for (status, value) in self.chip_status.iter_mut().zip(data) {
                    *status = value & !WRITE_ENABLED;
                }
                self.write_enabled = false;
            }
            0x04 => self.write_enabled = false,
            0x06 => self.write_enabled = true,
            0x02 => {
                let page = usize::try_from(PAGE_BYTES).unwrap_or(0);
                let data = data.get(..data.len().min(page)).unwrap_or_default().to_vec();
                return self.change(flash, Operation::Program { address, data });
            }
            0x20 => return self.change(flash, Operation::Erase { address, bytes: SECTOR_BYTES }),
            0x52 => {
                return self.change(flash, Operation::Erase { address, bytes: BLOCK_BYTES / 2 });
            }
            0xd8 => return self.change(flash, Operation::Erase { address, bytes: BLOCK_BYTES }),
            0xc7 => {
                let bytes = flash.capacity_bytes();
                return self.change(flash, Operation::Erase { address: 0, bytes });
            }
            _ => self.answer(flash, opcode, address),
        }
        Ok(None)
    }

    /// The chip forgets that it may write after every write.
    fn change(&mut self, flash: &mut Nor, operation: Operation) -> Changed {
        if !std::mem::take(&mut self.write_enabled) {
            return Ok(None);
        }
        flash.change(operation.clone())?;
        Ok(Some(operation))
    }

    fn answer(&mut self, flash: &Nor, opcode: u8, address: u32) {
        let [low, high] = self.chip_status;
        let low = low | if self.write_enabled { WRITE_ENABLED } else { 0 };
        let answer = match opcode {
            0x03 | 0x0b | 0x3b | 0x6b | 0xbb | 0xeb => flash.read(address, BUFFER_BYTES),
            0x05 => vec![low, 0, 0, 0],
            0x35 => vec![high, 0, 0, 0],
            0x9f => vec![IDENTITY[0], IDENTITY[1], capacity_code(flash), 0],
            // Not understood: the lines stay high.
            _ => vec![0xff; BUFFER_BYTES],
        };
        if opcode == 0x05 {
            self.status = self.status & 0xffff_0000 | u32::from(low);
        }
        for (cell, byte) in self.buffer.iter_mut().zip(answer) {
            *cell = byte;
        }
    }

    /// Left-aligned in the register, as many bits as `USER1` says.
    fn user_address(&self) -> u32 {
        let bits = (self.user1 >> 26) + 1;
        if bits >= 32 { self.address } else { self.address & ((1 << bits) - 1) }
    }

    fn user_data(&self) -> Vec<u8> {
        if self.user & 1 << 27 == 0 {
            return Vec::new();
        }
        let bytes = usize::try_from((self.write_bits + 1) / 8).unwrap_or(0);
        self.buffer.get(..bytes.min(BUFFER_BYTES)).unwrap_or_default().to_vec()
    }

    fn word(&self, offset: u32) -> Option<&[u8; 4]> {
        let at = usize::try_from(offset.checked_sub(BUFFER)?).ok()?;
        self.buffer.get(at..)?.first_chunk()
    }

    fn word_mut(&mut self, offset: u32) -> Option<&mut [u8; 4]> {
        let at = usize::try_from(offset.checked_sub(BUFFER)?).ok()?;
        self.buffer.get_mut(at..)?.first_chunk_mut()
    }
}

/// What a write did to the chip: an operation, or the power went.
pub(crate) type Changed = Result<Option<Operation>, PowerLost>;

const WRITE_ENABLED: u8 = 1 << 1;

fn capacity_code(flash: &Nor) -> u8 {
    u8::try_from(flash.capacity_bytes().trailing_zeros()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chip() -> Nor {
        Nor::new(vec![0xff; 0x40_0000]).unwrap()
    }

    #[test]
    fn the_chip_tells_its_capacity() {
        let mut spi = Spi1::default();
        spi.write(&mut chip(), CMD, 1 << 28).unwrap();
        assert_eq!(spi.read(BUFFER).unwrap() >> 16, 0x16, "2 to the 22 is 4 MiB");
    }

    #[test]
    fn nothing_is_written_without_permission_and_permission_is_for_one_write() {
        let (mut spi, mut flash) = (Spi1::default(), chip());
        let program = |spi: &mut Spi1, flash: &mut Nor, address: u32| {
            spi.write(flash, ADDRESS, 4 << 24 | address).unwrap();
            spi.write(flash, BUFFER, 0x1234_5678).unwrap();
            spi.write(flash, CMD, 1 << 25).unwrap();
        };
        program(&mut spi, &mut flash, 0);
        assert_eq!(flash.operations(), 0);
        spi.write(&mut flash, CMD, 1 << 30).unwrap();
        program(&mut spi, &mut flash, 0);
        program(&mut spi, &mut flash, 16);
        assert_eq!((flash.operations(), flash.read(0, 4)), (1, vec![0x78, 0x56, 0x34, 0x12]));
    }

    #[test]
    fn a_user_command_erases_as_the_shortcut_does() {
        let (mut spi, mut flash) = (Spi1::default(), chip());
        spi.write(&mut flash, CMD, 1 << 30).unwrap();
        spi.write(&mut flash, USER2, 0x7000_0020).unwrap();
        spi.write(&mut flash, ADDRESS, 0x3000).unwrap();
        let changed = spi.write(&mut flash, CMD, USER_COMMAND).unwrap();
        assert_eq!(changed, Some(Operation::Erase { address: 0x3000, bytes: SECTOR_BYTES }));
    }

    #[test]
    fn an_erase_with_the_power_going_is_told() {
        let (mut spi, mut flash) = (Spi1::default(), chip());
        flash.plan(crate::flash::Cut { at: 1, tear: crate::flash::Tear::Torn });
        spi.write(&mut flash, CMD, 1 << 30).unwrap();
        assert_eq!(spi.write(&mut flash, CMD, 1 << 24), Err(PowerLost));
    }
}
