//! Waxwing's agent on a simulated ESP32: one device for a close look, or thousands in one process.
//!
//! ```text
//!  waxwing-agent ── ports ──▶ board: flash, boot records, boot loader, application
//!        │                    waxwing-agent-net ── network: sockets of this machine
//!        └─ the very code that ships; nothing in it knows that the board is simulated, or what
//!           goes wrong around it: that is in board and network (D21)
//! ```
//!
//! Futures here stay on one thread: a fleet gives each thread its share of devices.

pub mod board;
pub mod config;
pub mod credentials;
pub mod device;
pub mod flash;
pub mod fleet;
pub mod gateway;
pub mod happening;
pub mod kit;
pub mod line;
pub mod network;
pub mod pins;
pub mod profile;
pub mod random;
pub mod shared;
pub mod store;
pub mod time;
pub mod trouble;
pub mod uplink;

pub use config::Config;
pub use device::{Device, DeviceError};
pub use happening::{Happening, What};
pub use kit::Kit;
pub use trouble::Trouble;
