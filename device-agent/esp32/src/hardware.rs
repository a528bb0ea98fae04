//! Registers and memory that `esp-hal` has no name for: the Ethernet controller of emulated chips,
//! the page of flash that the running image is mapped from, and the stack.
//!
//! The only unsafe code of the firmware. Addresses and bits are from the OpenCores Ethernet MAC
//! specification (rev. 1.7) and the ESP32-C3 technical reference manual. One core, and nothing
//! here is called from an interrupt.

#![expect(unsafe_code, reason = "registers and buffers that hardware reads and writes")]

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{Ordering, fence};

use static_cell::ConstStaticCell;

/// First entry of the flash MMU: which page of flash is at the beginning of the data window.
const MMU_FIRST_ENTRY: usize = 0x600c_5000;
/// Bits of an entry that name the page.
const MMU_PAGE_MASK: u32 = 0xff;
const MMU_PAGE_BYTES: u32 = 0x1_0000;

/// Returns where in flash the running image begins: the boot loader maps its first page to the
/// beginning of the data window.
pub fn running_image_at() -> u32 {
    (read(MMU_FIRST_ENTRY) & MMU_PAGE_MASK) * MMU_PAGE_BYTES
}

/// What a word of the stack holds that was never used.
const PAINT: u32 = 0x5741_5853;
/// What is left unpainted below the frame that paints.
const PAINT_MARGIN_BYTES: usize = 256;

unsafe extern "C" {
    /// The lowest word of the stack, which hardware watches.
    static __stack_chk_guard: u32;
    /// Where the stack begins: it grows downwards.
    static _stack_start: u32;
}

/// Returns the lowest address the stack may use.
fn stack_floor() -> usize {
    (&raw const __stack_chk_guard).addr() + size_of::<u32>()
}

/// Returns how long the stack is, in bytes.
pub fn stack_bytes() -> usize {
    (&raw const _stack_start).addr().saturating_sub(stack_floor())
}

/// Paints what of the stack is not in use, so that [`unused_stack_bytes`] can tell what never was.
#[inline(never)]
pub fn paint_stack() {
    let here = 0_u32;
    let end = ptr::from_ref(&here).addr().saturating_sub(PAINT_MARGIN_BYTES);
    let mut at = stack_floor();
    while at < end {
        write(at, PAINT);
        at += size_of::<u32>();
    }
}

/// Returns how many bytes of the stack were never used since it was painted.
pub fn unused_stack_bytes() -> usize {
    let floor = stack_floor();
    let words = stack_bytes() / size_of::<u32>();
    let painted = (0..words).take_while(|word| read(floor + word * size_of::<u32>()) == PAINT);
    painted.count() * size_of::<u32>()
}

/// What ROM says of a call that is not in whole words.
#[cfg(feature = "agent")]
const MISALIGNED: i32 = -4;

/// Reads flash, in whole words. `esp-storage` does it with a sector of stack, for who has none aligned.
///
/// # Errors
///
/// The code of ROM, or [`MISALIGNED`].
#[cfg(feature = "agent")]
pub fn read_flash(offset: u32, bytes: &mut [u8]) -> Result<(), i32> {
    let length = whole_words(offset, bytes)?;
    // SAFETY: what is read to is a whole number of aligned words, borrowed for the call. An address
    // beyond the chip is one within it again.
    unsafe { esp_storage::ll::spiflash_read(offset, bytes.as_mut_ptr().cast(), length) }
}

/// Programs flash, in whole words, likewise. To be called when it is unlocked.
///
/// # Errors
///
/// As [`read_flash`].
#[cfg(feature = "agent")]
pub fn write_flash(offset: u32, bytes: &[u8]) -> Result<(), i32> {
    let length = whole_words(offset, bytes)?;
    // SAFETY: what is written from is a whole number of aligned words, borrowed for the call; callers
    // keep to partitions, in none of which is code that runs.
    unsafe { esp_storage::ll::spiflash_write(offset, bytes.as_ptr().cast(), length) }
}

/// Unlocks flash for writing.
///
/// # Errors
///
/// The code of ROM.
#[cfg(feature = "agent")]
pub fn unlock_flash() -> Result<(), i32> {
    // SAFETY: takes nothing, and changes only the chip's own protection.
    unsafe { esp_storage::ll::spiflash_unlock() }
}

#[cfg(feature = "agent")]
fn whole_words(offset: u32, bytes: &[u8]) -> Result<u32, i32> {
    let offset = usize::try_from(offset).map_err(|_| MISALIGNED)?;
    let is_whole = [offset, bytes.as_ptr().addr(), bytes.len()]
        .iter()
        .all(|it| it.is_multiple_of(size_of::<u32>()));
    if is_whole { u32::try_from(bytes.len()).map_err(|_| MISALIGNED) } else { Err(MISALIGNED) }
}

/// Reads a register, or a word of the stack.
fn read(address: usize) -> u32 {
    // SAFETY: only called with addresses of registers of this chip and of its stack, which is always
    // there; a read has no effect on memory.
    unsafe { ptr::with_exposed_provenance::<u32>(address).read_volatile() }
}

/// Writes a register, or a word of the stack that is not in use.
fn write(address: usize, value: u32) {
    // SAFETY: only called with addresses of registers of this chip, and with those of its stack that
    // lie below every frame; the registers that make hardware access memory are given buffers that
    // live for ever.
    unsafe { ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(value) }
}

/// The OpenCores Ethernet MAC (`open_eth`) as emulated ESP32-C3 have it.
const ETHERNET: usize = 0x600c_d000;
const MODER: usize = ETHERNET;
const INT_SOURCE: usize = ETHERNET + 0x04;
const INT_MASK: usize = ETHERNET + 0x08;
const PACKETLEN: usize = ETHERNET + 0x18;
const TX_BD_NUM: usize = ETHERNET + 0x20;
const MAC_ADDR0: usize = ETHERNET + 0x40;
const MAC_ADDR1: usize = ETHERNET + 0x44;
/// Two words per buffer: length and flags, address. First those to send, then those received.
const DESCRIPTORS: usize = ETHERNET + 0x400;

/// Receive, send, full duplex, append and strip checksums, pad short frames.
const MODER_ON: u32 = 1 | 1 << 1 | 1 << 10 | 1 << 13 | 1 << 15;
const MODER_RESET: u32 = 1 << 11;
/// Shortest and longest frame in bytes.
const PACKETLEN_VALUE: u32 = 64 << 16 | 1536;

/// The buffer is the controller's: ready to be sent, or empty.
const OWNED: u32 = 1 << 15;
/// The last buffer of its kind.
const WRAP: u32 = 1 << 13;
const TX_PAD: u32 = 1 << 12;
const TX_CHECKSUM: u32 = 1 << 11;

/// Frames that can be on their way out.
const TX_BUFFERS: usize = 2;
/// Frames that can wait to be read: a window of TCP.
const RX_BUFFERS: usize = 8;
/// Longest frame, with its checksum, in whole words.
pub const FRAME_BYTES_MAX: usize = 1536;

#[repr(align(4))]
struct Buffer(UnsafeCell<[u8; FRAME_BYTES_MAX]>);

// SAFETY: reached through the one `Sender` or the one `Receiver` only.
unsafe impl Sync for Buffer {}

impl Buffer {
    const EMPTY: Self = Self(UnsafeCell::new([0; FRAME_BYTES_MAX]));
}

static TX: ConstStaticCell<[Buffer; TX_BUFFERS]> =
    ConstStaticCell::new([const { Buffer::EMPTY }; TX_BUFFERS]);
static RX: ConstStaticCell<[Buffer; RX_BUFFERS]> =
    ConstStaticCell::new([const { Buffer::EMPTY }; RX_BUFFERS]);

/// Starts the Ethernet controller; `None` when it runs already.
pub fn start_ethernet(address: [u8; 6]) -> Option<(Sender, Receiver)> {
    let sender = Sender(Ring::new(TX.try_take()?, 0));
    let receiver = Receiver(Ring::new(RX.try_take()?, TX_BUFFERS));
    write(MODER, MODER_RESET);
    write(MODER, 0);
    write(INT_MASK, 0);
    write(PACKETLEN, PACKETLEN_VALUE);
    let [a, b, c, d, e, f] = address;
    write(MAC_ADDR0, u32::from_be_bytes([c, d, e, f]));
    write(MAC_ADDR1, u32::from_be_bytes([0, 0, a, b]));
    write(TX_BD_NUM, u32::try_from(TX_BUFFERS).unwrap_or(0));
    sender.0.fill(0);
    receiver.0.fill(OWNED);
    write(MODER, MODER_ON);
    Some((sender, receiver))
}

/// The sending half of the controller.
pub struct Sender(Ring);

impl Sender {
    /// Tells whether a frame can be sent.
    pub fn has_room(&self) -> bool {
        self.0.is_ours()
    }

    /// Makes a frame of `length` bytes and sends it. To be called when there is room.
    pub fn send<R>(&mut self, length: usize, make: impl FnOnce(&mut [u8]) -> R) -> R {
        let length = length.min(FRAME_BYTES_MAX);
        let result = make(self.0.bytes(length));
        let length = u32::try_from(length).unwrap_or(0);
        self.0.give(length << 16 | OWNED | TX_PAD | TX_CHECKSUM);
        result
    }
}

/// The receiving half of the controller.
pub struct Receiver(Ring);

impl Receiver {
    /// Tells whether a frame has come.
    pub fn has_frame(&self) -> bool {
        self.0.is_ours()
    }

    /// Looks at the frame that came first, and frees its buffer. To be called when there is one.
    pub fn receive<R>(&mut self, look: impl FnOnce(&mut [u8]) -> R) -> R {
        let length = usize::try_from(read(self.0.descriptor(self.0.next)) >> 16).unwrap_or(0);
        let result = look(self.0.bytes(length));
        self.0.give(OWNED);
        write(INT_SOURCE, u32::MAX);
        result
    }
}

/// Buffers that are used one after another.
struct Ring {
    buffers: &'static [Buffer],
    first_descriptor: usize,
    next: usize,
}

impl Ring {
    const fn new(buffers: &'static [Buffer], first_descriptor: usize) -> Self {
        Self { buffers, first_descriptor, next: 0 }
    }

    /// Tells the controller where the buffers are.
    fn fill(&self, flags: u32) {
        for (index, buffer) in self.buffers.iter().enumerate() {
            let address = u32::try_from(buffer.0.get().expose_provenance()).unwrap_or(0);
            write(self.descriptor(index) + 4, address);
            self.set_flags(index, flags);
        }
    }

    /// Tells whether the next buffer is ours: sent, or received.
    fn is_ours(&self) -> bool {
        read(self.descriptor(self.next)) & OWNED == 0
    }

    /// Returns the first bytes of the next buffer; none while it is not ours.
    fn bytes(&mut self, length: usize) -> &mut [u8] {
        let Some(buffer) = self.buffers.get(self.next).filter(|_| self.is_ours()) else {
            return &mut [];
        };
        fence(Ordering::Acquire);
        // SAFETY: the controller does not touch a buffer that is ours, and `&mut self` is the only
        // other way to it.
        let bytes = unsafe { &mut *buffer.0.get() };
        bytes.get_mut(..length).unwrap_or_default()
    }

    /// Gives the next buffer to the controller.
    fn give(&mut self, flags: u32) {
        fence(Ordering::Release);
        self.set_flags(self.next, flags);
        self.next = if self.is_last(self.next) { 0 } else { self.next + 1 };
    }

    fn set_flags(&self, index: usize, flags: u32) {
        let wrap = if self.is_last(index) { WRAP } else { 0 };
        write(self.descriptor(index), flags | wrap);
    }

    const fn is_last(&self, index: usize) -> bool {
        index + 1 == self.buffers.len()
    }

    const fn descriptor(&self, index: usize) -> usize {
        DESCRIPTORS + 8 * (self.first_descriptor + index)
    }
}
