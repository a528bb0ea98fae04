//! Virtual time, in cycles of the core: it goes on with the instructions, and while the core waits
//! it is moved to the next event.

/// Cycles a second of the core as firmware usually runs it. The model's clock does not follow the
/// clock registers: a core at 20 MHz would only be slower.
pub(crate) const CYCLES_PER_SECOND: u64 = 160_000_000;

/// Cycles in a microsecond.
pub(crate) const CYCLES_PER_US: u64 = CYCLES_PER_SECOND / 1_000_000;

/// Bytes of code per cycle: an instruction takes 1.4 cycles on average on this core and, with
/// compressed ones among them, 2.9 bytes.
pub(crate) const CODE_BYTES_PER_CYCLE: u64 = 2;

/// Frequency of the slow clock of the low-power domain (`RC_SLOW`), in Hz.
pub(crate) const SLOW_CLOCK_HZ: u64 = 136_000;
