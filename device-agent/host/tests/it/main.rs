//! The agent on a simulated board without a network, where answers are signed on the spot; and its
//! ways to the network on real sockets.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod backend;
mod cost;
mod est;
mod https;
mod listener;
mod numbers;
mod orders;
mod pins;
mod ports;
mod resume;
mod rollback;
mod roots;
mod world;
