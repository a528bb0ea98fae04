//! The agent's ports over any NOR flash that has an ESP-IDF partition table: simulated, or of a
//! real chip.
//!
//! Whoever has a [`Flash`](waxwing_esp_image::Flash) whose clones are the same chip gets slot, boot
//! records, journal and storage for what the device makes itself. Not here: drivers, and decisions
//! about updates.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod boot;
pub mod image;
mod journal;
pub mod layout;
mod region;
mod slot;
pub mod start;
mod state;

pub use boot::{BootPort, Restart, Started};
pub use journal::JournalPort;
pub use layout::{Layout, LayoutError};
pub use region::{Chip, Region};
pub use slot::SlotPort;
pub use state::{Drawer, FILE_BYTES_MAX, SECTORS_MIN, SECTORS_STANDARD, State, StateError};

#[cfg(test)]
mod fake;
