//! An ESP32-C3 that runs the real boot loader and the real firmware, with a flash that can lose
//! power inside an operation.
//!
//! Written from Espressif's technical reference manual, the register names of the `esp32c3` crate
//! and the ROM addresses of `esp-rom-sys`. It knows hardware and ROM only: no symbol, address or
//! state of any firmware (D21 of our design decisions). Not modelled: radio, caches, memory
//! protection, user mode, real timing of instructions, download mode, Secure Boot, flash encryption.
//!
//! | module | what |
//! |---|---|
//! | [`flash`] | the NOR chip, its power cuts and its log |
//! | [`machine`] | the whole, from power-on to the end of a run |
//! | [`net`] | the network on the other end of the cable |
//! | `core` | the processor: Unicorn, memory map, traps |
//! | `board` | the peripherals |
//! | `rom` | the functions of the mask ROM |

mod board;
mod cable;
mod core;
pub mod flash;
pub mod machine;
pub mod net;
pub mod random;
mod rom;
pub mod serial;
mod world;

pub use board::low_power::ResetReason;
