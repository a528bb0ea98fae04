//! The agent on an ESP32-C3: its ports over `esp-hal`, and [`Updater`], which puts them together.
//!
//! A product links this and writes its own `main`, as `src/main.rs` does: [`guard`] first, then
//! the network, then the updater beside its own work. Not here: decisions, and nothing that could be
//! tested on a computer; that is in `waxwing-agent`, `waxwing-agent-flash` and
//! `waxwing-agent-net`.
#![no_std]

extern crate alloc;

#[cfg(feature = "agent")]
mod account;
#[cfg(feature = "agent")]
mod clock;
#[cfg(feature = "agent")]
mod entropy;
#[cfg(feature = "agent")]
mod flash;
#[cfg(feature = "agent")]
mod guard;
pub mod hardware;
#[cfg(feature = "agent")]
mod keys;
mod memory;
pub mod network;
#[cfg(feature = "agent")]
mod reset;
#[cfg(feature = "agent")]
mod sockets;
#[cfg(feature = "agent")]
mod telemetry;
#[cfg(feature = "agent")]
mod updater;

#[cfg(feature = "agent")]
pub use agent::*;
pub use memory::Memory;

#[cfg(feature = "agent")]
mod agent {
    pub use crate::clock::Uptime;
    pub use crate::entropy::Noise;
    pub use crate::flash::FlashChip;
    pub use crate::guard::{Chip, Storage, Unusable, Watchdog, guard};
    pub use crate::keys::KnownServer;
    pub use crate::reset::{ResetLine, crash};
    pub use crate::sockets::Sockets;
    pub use crate::telemetry::Telemetry;
    pub use crate::updater::{Esp32, NotStarted, Product, Updater};
}

/// When this firmware was built, in Unix seconds: no time before it is believed (D5).
#[cfg(feature = "agent")]
pub const BUILT_AT_S: u64 = parse(env!("WAXWING_BUILT_AT_S"));

#[cfg(feature = "agent")]
const fn parse(digits: &str) -> u64 {
    match u64::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("the build script writes a number"),
    }
}
