//! ESP32 app images, partition tables and otadata, as the ESP-IDF boot loader reads them.
//!
//! `no_std` without `alloc` (only [`mod@write`] allocates), no I/O but [`Flash`] as a port, no unsafe. Nothing in this crate
//! decides whether an image may be *trusted*: its checksum and its appended SHA-256 find damage,
//! not forgery. Trust comes from `waxwing-tuf`. Secure Boot v2 signature sectors are read; their
//! signatures are checked elsewhere.
//!
//! | module | what |
//! |---|---|
//! | [`app`] | parses and checks app images, whole or sector by sector |
//! | [`check`] | compares an image with what was expected |
//! | [`otadata`] | the two records that say which slot boots, and how to change them safely |
//! | [`partition`] | the partition table |
//! | `model` | feature `model`: what the boot loader would do with a flash |
//! | [`signature`] | Secure Boot v2 signature sectors |
//! | `write` | feature `write`: makes app images |
#![cfg_attr(not(test), no_std)]

#[cfg(feature = "write")]
extern crate alloc;

pub mod app;
mod bytes;
pub mod check;
mod chip;
mod crc;
mod flash;
#[cfg(feature = "model")]
pub mod model;
pub mod otadata;
pub mod partition;
pub mod signature;
#[cfg(feature = "write")]
pub mod write;

pub use app::{App, ImageError};
pub use chip::{Chip, SecureBoot, UnknownChip};
pub use flash::Flash;

/// Smallest unit that NOR flash erases, in bytes.
pub const SECTOR_BYTES: u32 = 4096;
