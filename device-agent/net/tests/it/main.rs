//! The network of a device on real sockets, against servers that behave and servers that do not.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "test code")]

mod broker;
mod chains;
mod forger;
mod network;
mod peer;
mod relay;
mod web;
mod wire;
