//! The machine: start code, serial port, exit, heap, stack and instruction counter of QEMU's `virt`.
//!
//! The only unsafe code, because there is nothing below it that could be safe. One core, no
//! interrupts: nothing here is ever entered twice.

#![expect(unsafe_code, reason = "bare metal: registers, linker symbols and an allocator")]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The first UART's transmit register (`virt` machine, 16550).
const UART: *mut u8 = core::ptr::without_provenance_mut(0x1000_0000);
/// The test device that ends the emulation (`virt` machine, `sifive_test`).
const TEST: *mut u32 = core::ptr::without_provenance_mut(0x0010_0000);
const TEST_PASS: u32 = 0x5555;
const TEST_FAIL: u32 = 0x1_3333;
/// What untouched stack holds.
const PAINT: u32 = 0x5afe_5afe;
/// Bytes below the stack pointer that are not painted: the frames of the painting itself.
const UNPAINTED_BYTES: usize = 512;

global_asm!(
    ".section .init, \"ax\"",
    ".globl _start",
    "_start:",
    "la sp, __stack_high",
    "la t0, __bss_start",
    "la t1, __bss_end",
    "1: bgeu t0, t1, 2f",
    "sw zero, 0(t0)",
    "addi t0, t0, 4",
    "j 1b",
    "2: call started",
    "3: j 3b",
);

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __stack_low: u8;
    static __stack_high: u8;
    static __heap_start: u8;
    static __heap_end: u8;
    static __scenario: u8;
}

/// Lengths of the program's parts in bytes.
pub(crate) struct Sizes {
    pub(crate) text: u64,
    pub(crate) rodata: u64,
}

/// What a piece of work took.
pub(crate) struct Cost {
    /// Instructions retired.
    pub(crate) instructions: u64,
    /// Most bytes of heap in use at one time, beyond those in use before.
    pub(crate) heap: u64,
    /// Heap in use afterwards, beyond what was in use before.
    pub(crate) kept: u64,
    /// Stack in bytes.
    pub(crate) stack: u64,
}

// SAFETY: nothing else in the program has this name.
#[unsafe(no_mangle)]
extern "C" fn started() -> ! {
    exit(crate::run())
}

/// Returns the lengths of the program's parts.
pub(crate) fn sizes() -> Sizes {
    Sizes {
        text: bytes_between(&raw const __text_start, &raw const __text_end),
        rodata: bytes_between(&raw const __rodata_start, &raw const __rodata_end),
    }
}

/// Returns the scenario: a little-endian length, then so many bytes.
#[cfg_attr(not(feature = "tuf"), expect(dead_code, reason = "measured with the core only"))]
pub(crate) fn scenario() -> &'static [u8] {
    let start = &raw const __scenario;
    // SAFETY: QEMU put the file there before the start, and the heap ends below it.
    unsafe {
        let length = core::ptr::read_volatile(start.cast::<u32>());
        core::slice::from_raw_parts(start.add(4), usize::try_from(length).unwrap_or(0))
    }
}

/// Does a piece of work and measures it.
#[cfg_attr(not(feature = "tuf"), expect(dead_code, reason = "measured with the core only"))]
pub(crate) fn measure<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let before = HEAP.live.load(Relaxed);
    HEAP.peak.store(before, Relaxed);
    let top = paint_stack();
    let start = instructions();
    let done = work();
    let instructions = instructions().wrapping_sub(start);
    let since = |now: usize| u64::try_from(now.saturating_sub(before)).unwrap_or(0);
    let heap = since(HEAP.peak.load(Relaxed));
    let kept = since(HEAP.live.load(Relaxed));
    (done, Cost { instructions, heap, kept, stack: used_stack(top) })
}

/// Writes to the serial port.
pub(crate) fn print(text: &str) {
    for byte in text.bytes() {
        // SAFETY: the register takes any byte at any time.
        unsafe { core::ptr::write_volatile(UART, byte) }
    }
}

/// Writes a number to the serial port; without `core::fmt`, whose size would be counted as ours.
pub(crate) fn print_number(number: u64) {
    if let Some(rest) = number.checked_div(10).filter(|rest| *rest > 0) {
        print_number(rest);
    }
    let digit = u8::try_from(number % 10).unwrap_or(0);
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(UART, b'0' + digit) }
}

/// Ends the emulation; the exit code of QEMU is 0 when all went well.
pub(crate) fn exit(well: bool) -> ! {
    // SAFETY: the register is there on this machine, and nothing of us goes on.
    unsafe { core::ptr::write_volatile(TEST, if well { TEST_PASS } else { TEST_FAIL }) }
    loop {
        core::hint::spin_loop();
    }
}

fn bytes_between(start: *const u8, end: *const u8) -> u64 {
    u64::try_from(end.addr().saturating_sub(start.addr())).unwrap_or(0)
}

/// Reads the 64-bit counter in two halves, again if the lower one wrapped in between.
fn instructions() -> u64 {
    loop {
        let (high, low, again): (u32, u32, u32);
        // SAFETY: reading counters changes nothing.
        unsafe {
            asm!(
                "csrr {high}, minstreth",
                "csrr {low}, minstret",
                "csrr {again}, minstreth",
                high = out(reg) high,
                low = out(reg) low,
                again = out(reg) again,
            );
        }
        if high == again {
            return u64::from(high) << 32 | u64::from(low);
        }
    }
}

fn stack_pointer() -> usize {
    let sp: usize;
    // SAFETY: reading the register changes nothing.
    unsafe { asm!("mv {sp}, sp", sp = out(reg) sp) };
    sp
}

/// Paints the free stack, and returns where it begins.
#[inline(never)]
fn paint_stack() -> usize {
    let top = stack_pointer();
    let mut word = (&raw const __stack_low).cast::<u32>().cast_mut();
    while word.addr() < top - UNPAINTED_BYTES {
        // SAFETY: inside the stack, and below everything that lives on it.
        unsafe {
            core::ptr::write_volatile(word, PAINT);
            word = word.add(1);
        }
    }
    top
}

#[inline(never)]
fn used_stack(top: usize) -> u64 {
    let mut word = (&raw const __stack_low).cast::<u32>();
    // SAFETY: inside the stack.
    while word.addr() < top && unsafe { core::ptr::read_volatile(word) } == PAINT {
        // SAFETY: ends at `top`.
        word = unsafe { word.add(1) };
    }
    u64::try_from(top - word.addr()).unwrap_or(0)
}

/// Hands out memory from below to above and takes none back: what counts is what a device would
/// have in use, and an emulator has plenty.
struct Heap {
    next: AtomicUsize,
    live: AtomicUsize,
    peak: AtomicUsize,
}

#[global_allocator]
static HEAP: Heap =
    Heap { next: AtomicUsize::new(0), live: AtomicUsize::new(0), peak: AtomicUsize::new(0) };

// SAFETY: every block is handed out once, inside the heap, aligned as asked. Growing a block takes
// the default way: old and new are both in use until the copy is done.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let heap = &raw const __heap_start;
        let start = self.next.load(Relaxed).max(heap.addr());
        let start = start.next_multiple_of(layout.align());
        let next = start + layout.size();
        if next > (&raw const __heap_end).addr() {
            return core::ptr::null_mut();
        }
        self.next.store(next, Relaxed);
        let live = self.live.load(Relaxed) + layout.size();
        self.live.store(live, Relaxed);
        self.peak.store(live.max(self.peak.load(Relaxed)), Relaxed);
        heap.with_addr(start).cast_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, layout: Layout) {
        self.live.store(self.live.load(Relaxed) - layout.size(), Relaxed);
    }
}
