//! The real binary against a real TLS server whose answers are written down here.
//!
//! Not here: whether the real server answers like this; `waxwing-e2e` drives both.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod add;
mod alerts;
mod commands;
mod doctor;
mod gateways;
mod login;
mod readers;
mod requests;
mod server;
mod watch;
mod world;
