//! The promises of the crate, each kept by a test of its own.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code stops at the first surprise"
)]

#[cfg(feature = "author")]
mod authored;
mod bins;
mod ceilings;
mod commands;
mod conformance;
mod contents;
mod delegations;
mod documents;
mod graphs;
mod limits;
mod mutants;
mod power_cuts;
mod properties;
mod recovery;
mod room;
mod roots;
mod rotations;
mod server_ca;
mod signatures;
mod strangers;
mod support;
mod uptane;
mod workflow;
mod world;
