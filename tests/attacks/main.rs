//! The attack matrix of `docs/threat-model.md`, one scenario or more for each numbered row.
//!
//! A test is called `row_NN_` and what it promises; `cargo xtask tidy` compares the names with the
//! page. Where a row is about the server, the real program is attacked over its sockets; where it
//! is about what a device believes, its verifier and its agent are given what an attacker could
//! make. Attackers hold what their row says they hold, signing keys included.
#![expect(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code"
)]

mod bytes;
mod compromise;
mod delegations;
mod hostile_server;
mod identity;
mod keys;
mod metadata;
mod network;
mod policy;
mod power_cut;
mod records;
mod support;
mod survival;
mod time;
mod transport;
mod uploads;

// A board, the agent on it and an honest server, as the tests of the simulator have them.

#[path = "../../device-agent/host/tests/it/backend.rs"]
#[expect(dead_code, reason = "tests of downloads use more of it")]
mod backend;
#[path = "../../device-agent/host/tests/it/ports.rs"]
mod ports;
#[path = "../../device-agent/host/tests/it/world.rs"]
#[expect(dead_code, reason = "tests of pins use more of it")]
mod world;
