//! An Ethernet MAC as `OpenCores` publishes it, at the place where emulated ESP32 chips have one (the
//! chip itself has none): registers and buffer descriptors as in its specification. The receive
//! length includes the checksum.

use std::collections::VecDeque;

/// Where the buffer descriptors begin in the block.
const DESCRIPTORS: u32 = 0x400;

const MODE: u32 = 0x00;
const MODE_RESET: u32 = 0xa000;
const RECEIVE_ENABLE: u32 = 1 << 0;
const TRANSMIT_ENABLE: u32 = 1 << 1;
const INT_SOURCE: u32 = 0x04;
const INT_MASK: u32 = 0x08;
const TRANSMITTED: u32 = 1 << 0;
const RECEIVED: u32 = 1 << 2;
const BUSY: u32 = 1 << 4;
const TRANSMIT_COUNT: u32 = 0x20;
const TRANSMIT_COUNT_RESET: u32 = 0x40;
const PHY_COMMAND: u32 = 0x2c;
const PHY_ADDRESS: u32 = 0x30;
const PHY_RECEIVED: u32 = 0x38;
const PHY_STATUS: u32 = 0x3c;
#[cfg(test)]
const ADDRESS_LOW: u32 = 0x40;
#[cfg(test)]
const ADDRESS_HIGH: u32 = 0x44;

const READY: u32 = 1 << 15;
const INTERRUPT: u32 = 1 << 14;
const WRAP: u32 = 1 << 13;
const CHECKSUM_BYTES: usize = 4;
/// Shortest frame without its checksum.
const FRAME_BYTES_MIN: usize = 60;
/// Frames that wait for a descriptor: as many as a small switch would keep.
const BACKLOG_MAX: usize = 64;

/// State of the controller.
#[derive(Clone, Debug)]
pub(crate) struct Ethernet {
    registers: [u32; 32],
    descriptors: Vec<[u32; 2]>,
    transmit_next: usize,
    receive_next: usize,
    backlog: VecDeque<Vec<u8>>,
}

/// A buffer in the memory of the device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Buffer {
    descriptor: usize,
    /// Where it is.
    pub(crate) address: u32,
    /// Its length, in bytes.
    pub(crate) bytes: usize,
}

impl Default for Ethernet {
    fn default() -> Self {
        let (registers, descriptors) = ([0; 32], vec![[0; 2]; 128]);
        let (transmit_next, receive_next, backlog) = (0, 0, VecDeque::new());
        let mut mac = Self { registers, descriptors, transmit_next, receive_next, backlog };
        mac.set_register(MODE, MODE_RESET);
        mac.set_register(TRANSMIT_COUNT, TRANSMIT_COUNT_RESET);
        mac
    }
}

impl Ethernet {
    /// Returns whether the controller raises its interrupt.
    pub(crate) fn line(&self) -> bool {
        self.register(INT_SOURCE) & self.register(INT_MASK) != 0
    }

    /// Reads a register of the block.
    pub(crate) fn read(&self, offset: u32) -> u32 {
        match offset {
            PHY_STATUS => 0,
            PHY_RECEIVED => self.phy(),
            DESCRIPTORS.. => {
                let [control, address] = self.descriptor(index(offset - DESCRIPTORS) / 2);
                if offset & 4 == 0 { control } else { address }
            }
            _ => self.register(offset),
        }
    }

    /// Writes a register of the block.
    pub(crate) fn write(&mut self, offset: u32, value: u32) {
        match offset {
            INT_SOURCE => self.set_register(INT_SOURCE, self.register(INT_SOURCE) & !value),
            PHY_COMMAND => {}
            DESCRIPTORS.. => {
                let at = index(offset - DESCRIPTORS);
                if let Some(word) = self.descriptors.as_flattened_mut().get_mut(at) {
                    *word = value;
                }
            }
            _ => {
                let before = self.register(MODE);
                self.set_register(offset, value);
                let enabled = self.register(MODE) & !before;
                if enabled & TRANSMIT_ENABLE != 0 {
                    self.transmit_next = 0;
                }
                if enabled & RECEIVE_ENABLE != 0 {
                    self.receive_next = self.transmit_count();
                }
            }
        }
    }

    /// Returns the next frame that the program wants sent.
    pub(crate) fn next_to_transmit(&self) -> Option<Buffer> {
        let [control, address] = self.descriptor(self.transmit_next);
        let wanted = self.register(MODE) & TRANSMIT_ENABLE != 0 && control & READY != 0;
        let bytes = index_of(control >> 16);
        wanted.then_some(Buffer { descriptor: self.transmit_next, address, bytes })
    }

    /// Gives the buffer of a sent frame back.
    pub(crate) fn transmitted(&mut self, buffer: Buffer) {
        let wraps = self.finish(buffer, None, TRANSMITTED);
        let next = buffer.descriptor + 1;
        self.transmit_next = if wraps || next >= self.transmit_count() { 0 } else { next };
    }

    /// Takes a frame from the cable; drops it when nobody listens or too many wait.
    pub(crate) fn arrived(&mut self, mut frame: Vec<u8>) {
        if self.register(MODE) & RECEIVE_ENABLE == 0 || self.backlog.len() >= BACKLOG_MAX {
            return;
        }
        frame.resize(frame.len().max(FRAME_BYTES_MIN) + CHECKSUM_BYTES, 0);
        self.backlog.push_back(frame);
    }

    /// Returns a waiting frame and the buffer for it, if there are both.
    pub(crate) fn next_received(&mut self) -> Option<(Vec<u8>, Buffer)> {
        let [control, address] = self.descriptor(self.receive_next);
        if control & READY == 0 {
            if !self.backlog.is_empty() {
                self.raise(BUSY);
            }
            return None;
        }
        let frame = self.backlog.pop_front()?;
        let bytes = frame.len();
        Some((frame, Buffer { descriptor: self.receive_next, address, bytes }))
    }

    /// Gives the buffer of a received frame to the program.
    pub(crate) fn received(&mut self, buffer: Buffer) {
        let wraps = self.finish(buffer, Some(buffer.bytes), RECEIVED);
        let next = buffer.descriptor + 1;
        let first = self.transmit_count();
        self.receive_next = if wraps || next >= self.descriptors.len() { first } else { next };
    }

    /// Clears the descriptor's ready bit and errors; returns whether the ring wraps here.
    fn finish(&mut self, buffer: Buffer, length: Option<usize>, source: u32) -> bool {
        let Some([control, _]) = self.descriptors.get_mut(buffer.descriptor) else { return true };
        let length = length.and_then(|bytes| u32::try_from(bytes).ok());
        let length = length.unwrap_or(*control >> 16);
        *control = length << 16 | *control & (INTERRUPT | WRAP | 0x1800);
        let (interrupts, wraps) = (*control & INTERRUPT != 0, *control & WRAP != 0);
        if interrupts {
            self.raise(source);
        }
        wraps
    }

    /// The PHY: link up, 100 Mbit/s, full duplex, negotiated.
    fn phy(&self) -> u32 {
        match self.register(PHY_ADDRESS) >> 8 & 31 {
            0 => 0x3100,
            1 => 0x782d,
            4 => 0x01e1,
            5 => 0x45e1,
            _ => 0,
        }
    }

    fn register(&self, offset: u32) -> u32 {
        self.registers.get(index(offset)).copied().unwrap_or(0)
    }

    fn set_register(&mut self, offset: u32, value: u32) {
        if let Some(register) = self.registers.get_mut(index(offset)) {
            *register = value;
        }
    }

    fn raise(&mut self, source: u32) {
        self.set_register(INT_SOURCE, self.register(INT_SOURCE) | source);
    }

    fn descriptor(&self, at: usize) -> [u32; 2] {
        self.descriptors.get(at).copied().unwrap_or_default()
    }

    fn transmit_count(&self) -> usize {
        index_of(self.register(TRANSMIT_COUNT)).min(self.descriptors.len())
    }

    /// Returns the address that the program has set, as on the cable.
    #[cfg(test)]
    fn address(&self) -> [u8; 6] {
        let high = u64::from(self.register(ADDRESS_HIGH)) << 32;
        let [_, _, address @ ..] = (high | u64::from(self.register(ADDRESS_LOW))).to_be_bytes();
        address
    }
}

fn index(offset: u32) -> usize {
    index_of(offset / 4)
}

fn index_of(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One descriptor each way, at 0x1000 and 0x2000, both with interrupts.
    fn ready() -> Ethernet {
        let mut mac = Ethernet::default();
        mac.write(TRANSMIT_COUNT, 1);
        mac.write(INT_MASK, TRANSMITTED | RECEIVED);
        mac.write(DESCRIPTORS + 4, 0x1000);
        mac.write(DESCRIPTORS + 12, 0x2000);
        mac.write(DESCRIPTORS + 8, READY | INTERRUPT | WRAP);
        mac.write(MODE, MODE_RESET | RECEIVE_ENABLE | TRANSMIT_ENABLE);
        mac
    }

    #[test]
    fn a_ready_descriptor_is_sent_and_given_back() {
        let mut mac = ready();
        assert_eq!(mac.next_to_transmit(), None);
        mac.write(DESCRIPTORS, 100 << 16 | READY | INTERRUPT | WRAP);
        let buffer = mac.next_to_transmit().unwrap();
        assert_eq!((buffer.address, buffer.bytes), (0x1000, 100));
        mac.transmitted(buffer);
        assert_eq!(mac.read(DESCRIPTORS) & READY, 0);
        assert!(mac.line());
        mac.write(INT_SOURCE, TRANSMITTED);
        assert!(!mac.line());
    }

    #[test]
    fn a_frame_waits_for_a_buffer_and_comes_with_its_checksum() {
        let mut mac = ready();
        mac.arrived(vec![7; 10]);
        mac.arrived(vec![8; 100]);
        let (frame, buffer) = mac.next_received().unwrap();
        assert_eq!((frame.len(), buffer.address), (64, 0x2000));
        mac.received(buffer);
        assert_eq!(mac.read(DESCRIPTORS + 8) >> 16, 64);
        assert!(mac.line() && mac.next_received().is_none());
        mac.write(DESCRIPTORS + 8, READY | WRAP);
        assert_eq!(mac.next_received().unwrap().0.len(), 104);
    }

    #[test]
    fn a_controller_that_does_not_receive_drops() {
        let mut mac = Ethernet::default();
        mac.arrived(vec![1; 60]);
        mac.write(MODE, RECEIVE_ENABLE);
        assert!(mac.next_received().is_none());
    }

    #[test]
    fn the_address_is_set_in_two_halves() {
        let mut mac = ready();
        mac.write(ADDRESS_LOW, 0x0a0b_0c0d);
        mac.write(ADDRESS_HIGH, 0x0000_0809);
        assert_eq!(mac.address(), [8, 9, 10, 11, 12, 13]);
    }
}
