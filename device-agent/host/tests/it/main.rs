//! The agent on a simulated board, without a network: answers are signed on the spot.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod https;
mod power_cut;
mod rollback;
mod world;
