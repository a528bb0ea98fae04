//! The network of a device, from sockets up: TLS 1.3 with the server's pinned CA, HTTP for polls and
//! downloads, enrolment, and MQTT for messages.
//!
//! The same code runs in firmware and in the simulator (D21); what differs is the [`Network`] below
//! it, which opens sockets, tells time and draws random numbers. Every future here ends by itself.
//! Not here: decisions of the agent, storage, Wi-Fi, name look-ups.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod address;
mod asn1;
pub mod est;
pub mod http;
pub mod identity;
pub mod mqtt;
mod network;
mod random;
pub mod relay;
pub mod tls;

pub use address::Address;
pub use http::Https;
pub use identity::{DeviceKey, Identity};
pub use network::{Network, NoConnection};
pub use tls::{Client, ServerTrust, SharedClient};
